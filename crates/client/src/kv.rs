//! Keys: reads, transactions, deletions, compaction.

use crate::call::{ANSWER_BYTES_MAX, WHOLE_STORE_TIMEOUT};
use crate::{Bytes, Client, KeyValue, Result, pb};
use pb::kv_client::KvClient;
use tonic::transport::Channel;

/// End of a range that has no end.
const NO_END: &[u8] = &[0];

/// The first key behind all that begin with `prefix`, as a range end; for an empty prefix and one of bytes 0xff alone
/// that is the end of all keys.
pub(crate) fn end_of_prefix(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last.saturating_add(1));
            return end.into();
        }
    }
    NO_END.into()
}

/// A read of all keys that begin with `prefix`; empty: of all keys.
pub fn range_of_prefix(prefix: &[u8]) -> pb::RangeRequest {
    // No key is empty, and a range cannot begin with nothing.
    let key = if prefix.is_empty() { NO_END.into() } else { Bytes::copy_from_slice(prefix) };
    pb::RangeRequest { key, range_end: end_of_prefix(prefix), ..pb::RangeRequest::default() }
}

fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX).max_encoding_message_size(ANSWER_BYTES_MAX)
}

impl Client {
    /// Any read. An answer takes as much memory as it has bytes: give a limit unless the range is known to be small.
    ///
    /// Fails: `Compacted` and `FutureRevision` if it names a revision, `NoLeader` unless it is serializable.
    pub async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse> {
        self.range_within(request, ANSWER_BYTES_MAX).await
    }

    /// The same, but an answer of more than `bytes_max` is refused before it is read.
    ///
    /// Fails: `TooLarge`; ask for fewer keys.
    pub async fn range_within(&self, request: pb::RangeRequest, bytes_max: usize) -> Result<pb::RangeResponse> {
        let bytes_max = bytes_max.min(ANSWER_BYTES_MAX);
        let call =
            |channel, request| async move { kv(channel).max_decoding_message_size(bytes_max).range(request).await };
        self.call("range", request, self.timeout(), call).await
    }

    /// The newest version of one key, linearizably; none if it is not there.
    pub async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>> {
        let request = pb::RangeRequest { key: Bytes::copy_from_slice(key), limit: 1, ..pb::RangeRequest::default() };
        Ok(self.range(request).await?.kvs.into_iter().next())
    }

    /// How many keys begin with `prefix`.
    pub async fn count(&self, prefix: &[u8]) -> Result<i64> {
        let request = pb::RangeRequest { count_only: true, ..range_of_prefix(prefix) };
        Ok(self.range(request).await?.count)
    }

    /// An unguarded put. What somebody else may write too is put by [`Client::change`].
    pub async fn put(&self, request: pb::PutRequest) -> Result<pb::PutResponse> {
        let call = |channel, request| async { kv(channel).put(request).await };
        self.call("put", request, self.timeout(), call).await
    }

    /// An unguarded deletion of one key or of a range.
    pub async fn delete_range(&self, request: pb::DeleteRangeRequest) -> Result<pb::DeleteRangeResponse> {
        let call = |channel, request| async { kv(channel).delete_range(request).await };
        self.call("delete range", request, self.timeout(), call).await
    }

    /// Any transaction. Its comparisons are of one instant, and so are its operations.
    pub async fn txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse> {
        let call = |channel, request| async { kv(channel).txn(request).await };
        self.call("txn", request, self.timeout(), call).await
    }

    /// Drops the history below `revision`. `physical` waits until it is gone from the disk, up to 10 minutes.
    ///
    /// Fails: `Compacted` if that was done before, `FutureRevision`.
    pub async fn compact(&self, revision: i64, physical: bool) -> Result<pb::CompactionResponse> {
        let request = pb::CompactionRequest { revision, physical };
        let timeout = if physical { WHOLE_STORE_TIMEOUT } else { self.timeout() };
        let call = |channel, request| async { kv(channel).compact(request).await };
        self.call("compact", request, timeout, call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        let cases: [(&[u8], &[u8]); 6] =
            [(b"/a/", b"/a0"), (b"a", b"b"), (b"a\xff", b"b"), (b"\xff\xff", b"\0"), (b"", b"\0"), (b"\0", b"\x01")];
        for (prefix, end) in cases {
            assert_eq!(end_of_prefix(prefix), end, "{prefix:?}");
        }
    }

    #[test]
    fn an_empty_prefix_is_every_key() {
        let all = range_of_prefix(b"");
        assert_eq!((&all.key[..], &all.range_end[..]), (NO_END, NO_END));
    }
}
