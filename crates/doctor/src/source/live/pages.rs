//! Reads a prefix page by page, all of it at one revision.
//!
//! How many keys a page has follows from how large the last one was: a page of small objects should not take a thousand
//! round trips, and one of values of a megabyte each must not take all memory. A page that is too large anyway is
//! refused before it is read, and asked for again with fewer keys.

use crate::source::{Entry, Result, Visit};
use bytes::{Bytes, BytesMut};
use client::pb::{RangeRequest, RangeResponse};
use client::{Client, Error, ErrorKind, KeyValue, range_of_prefix};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Keys of the first page, and of any.
const KEYS_FIRST: i64 = 400;
const KEYS_MAX: i64 = 8_000;
/// What a page should have.
const PAGE_BYTES: u64 = 8 << 20;
/// What a page of more than one key may have.
const PAGE_BYTES_MAX: usize = 64 << 20;

/// What one read leaves for the next.
#[derive(Debug, Default)]
pub struct Pages {
    /// At which everything is read; 0: nothing was read yet.
    revision: i64,
    /// No leader: what this one member has.
    is_local: bool,
}

impl Pages {
    pub async fn read(
        &mut self,
        client: &Client,
        prefix: &[u8],
        keys_only: bool,
        blind: &mut BTreeSet<String>,
        visit: Visit<'_, Entry>,
    ) -> Result<()> {
        let mut request = RangeRequest { keys_only, limit: KEYS_FIRST, ..range_of_prefix(prefix) };
        loop {
            let page = match self.page(client, &request).await {
                Ok(page) => page,
                Err(error) => {
                    self.recover(error, &mut request, blind)?;
                    continue;
                }
            };
            let header_revision = page.header.as_ref().map_or(0, |header| header.revision);
            if self.revision == 0 {
                self.revision = header_revision;
            }
            let bytes: u64 = page.kvs.iter().map(|kv| (kv.key.len() + kv.value.len()) as u64).sum();
            let next = page.kvs.last().map(|kv| behind(&kv.key));
            request.limit = keys_of_next_page(request.limit, page.kvs.len() as u64, bytes);
            for kv in page.kvs {
                if visit(&entry(kv)) == ControlFlow::Break(()) {
                    return Ok(());
                }
            }
            match next {
                Some(next) if page.more => request.key = next,
                _ => return Ok(()),
            }
        }
    }

    /// What has the revision of a linearizable read has everything up to it, so only the first page needs a leader.
    async fn page(&self, client: &Client, request: &RangeRequest) -> std::result::Result<RangeResponse, Error> {
        let serializable = self.is_local || self.revision != 0;
        let request = RangeRequest { revision: self.revision, serializable, ..request.clone() };
        let bytes_max = if request.limit == 1 { usize::MAX } else { PAGE_BYTES_MAX };
        client.range_within(request, bytes_max).await
    }

    /// Changes what made the page fail, or fails.
    fn recover(&mut self, error: Error, request: &mut RangeRequest, blind: &mut BTreeSet<String>) -> Result<()> {
        match error.kind() {
            ErrorKind::TooLarge if request.limit > 1 => request.limit = (request.limit / 8).max(1),
            ErrorKind::NoLeader | ErrorKind::Deadline if !self.is_local && self.revision == 0 => {
                self.is_local = true;
                blind.insert(format!(
                    "no leader answers: keys are what the member at this endpoint has by itself ({error})"
                ));
            }
            ErrorKind::Compacted if self.revision != 0 => {
                // What was visited cannot be taken back; to go on is what a reader of pages can do without it.
                blind.insert(format!(
                    "revision {} was compacted while it was read: keys from {} on are of a later revision",
                    self.revision,
                    request.key.escape_ascii()
                ));
                self.revision = 0;
            }
            _ => return Err(error.into()),
        }
        Ok(())
    }
}

/// The smallest key that is larger.
fn behind(key: &Bytes) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len().saturating_add(1));
    next.extend_from_slice(key);
    next.extend_from_slice(&[0]);
    next.freeze()
}

/// As many as give a page of the size that is wanted, but not many more than the last one had: the next keys may be
/// larger.
fn keys_of_next_page(limit: i64, keys: u64, bytes: u64) -> i64 {
    let average = (bytes / keys.max(1)).max(1);
    let wanted = i64::try_from(PAGE_BYTES / average).unwrap_or(KEYS_MAX);
    wanted.clamp(1, KEYS_MAX).min(limit.saturating_mul(4))
}

fn entry(kv: KeyValue) -> Entry {
    let KeyValue { key, value, create_revision, mod_revision, version, lease } = kv;
    Entry { key, value, create_revision, mod_revision, version, lease }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_the_size_of_what_they_hold() {
        assert_eq!(keys_of_next_page(400, 400, 400 * 2_000), 1_600);
        assert_eq!(keys_of_next_page(1_600, 1_600, 1_600 * 2_000), 4_194);
        assert_eq!(keys_of_next_page(8_000, 8_000, 8_000 * 100), 8_000);
        assert_eq!(keys_of_next_page(400, 30, 30 << 20), 8);
        assert_eq!(keys_of_next_page(8, 1, 1 << 30), 1);
        assert_eq!(keys_of_next_page(1, 0, 0), 4);
    }
}
