//! A request as a line of the log names it: its keys and what else it asks for, without its values, in the text that
//! etcd's lines have.

use crate::method::Method;
use pb::request_op::Request;
use prost::Message;
use proto::etcdserverpb as pb;
use std::fmt::Write;

/// Keys are cut to this length, and a txn to this many operations.
const KEY_BYTES_MAX: usize = 256;
const OPERATIONS_MAX: usize = 8;

/// Of a request of which `bytes` are there, of `whole` bytes.
pub(super) fn of(method: Method, bytes: &[u8], whole: usize) -> String {
    let mut out = String::new();
    if bytes.len() < whole {
        // A put's key is its first field.
        if let (Method::Put, Some(key)) = (method, first_field(bytes)) {
            put_bytes(&mut out, "key", key);
        }
        let _ = write!(out, "({whole} bytes)");
        return out;
    }
    match method {
        Method::Range | Method::RangeStream => text(&mut out, bytes, range),
        Method::Put => text(&mut out, bytes, put),
        Method::DeleteRange => text(&mut out, bytes, delete),
        Method::Txn => text(&mut out, bytes, txn),
        Method::Compact => text(&mut out, bytes, |out, compact: &pb::CompactionRequest| {
            put_number(out, "revision", compact.revision);
            put_flag(out, "physical", compact.physical);
        }),
        Method::LeaseGrant => text(&mut out, bytes, |out, grant: &pb::LeaseGrantRequest| {
            put_number(out, "TTL", grant.ttl);
            put_number(out, "ID", grant.id);
        }),
        Method::LeaseRevoke => {
            text(&mut out, bytes, |out, revoke: &pb::LeaseRevokeRequest| put_number(out, "ID", revoke.id))
        }
        _ => {}
    }
    out.truncate(out.trim_end().len());
    out
}

fn text<M: Message + Default>(out: &mut String, bytes: &[u8], write: impl Fn(&mut String, &M)) {
    // What cannot be decoded was refused for that.
    if let Ok(message) = M::decode(bytes) {
        write(out, &message);
    }
}

fn range(out: &mut String, range: &pb::RangeRequest) {
    put_bytes(out, "key", &range.key);
    put_bytes(out, "range_end", &range.range_end);
    put_number(out, "limit", range.limit);
    put_number(out, "revision", range.revision);
    if range.sort_order != 0 {
        let _ = write!(out, "sort_order:{} ", range.sort_order().as_str_name());
    }
    if range.sort_target != 0 {
        let _ = write!(out, "sort_target:{} ", range.sort_target().as_str_name());
    }
    put_flag(out, "serializable", range.serializable);
    put_flag(out, "keys_only", range.keys_only);
    put_flag(out, "count_only", range.count_only);
    put_number(out, "min_mod_revision", range.min_mod_revision);
    put_number(out, "max_mod_revision", range.max_mod_revision);
    put_number(out, "min_create_revision", range.min_create_revision);
    put_number(out, "max_create_revision", range.max_create_revision);
}

fn put(out: &mut String, put: &pb::PutRequest) {
    put_bytes(out, "key", &put.key);
    put_number(out, "value_size", put.value.len() as i64);
    put_number(out, "lease", put.lease);
    put_flag(out, "prev_kv", put.prev_kv);
    put_flag(out, "ignore_value", put.ignore_value);
    put_flag(out, "ignore_lease", put.ignore_lease);
}

fn delete(out: &mut String, delete: &pb::DeleteRangeRequest) {
    put_bytes(out, "key", &delete.key);
    put_bytes(out, "range_end", &delete.range_end);
    put_flag(out, "prev_kv", delete.prev_kv);
}

fn txn(out: &mut String, txn: &pb::TxnRequest) {
    for compare in txn.compare.iter().take(OPERATIONS_MAX) {
        let _ = write!(
            out,
            "compare:<target:{} result:{} ",
            compare.target().as_str_name(),
            compare.result().as_str_name()
        );
        put_bytes(out, "key", &compare.key);
        put_bytes(out, "range_end", &compare.range_end);
        end(out);
    }
    for (name, branch) in [("success", &txn.success), ("failure", &txn.failure)] {
        for operation in branch.iter().take(OPERATIONS_MAX) {
            let _ = write!(out, "{name}:<");
            match &operation.request {
                Some(Request::RequestRange(request)) => named(out, "request_range", |out| range(out, request)),
                Some(Request::RequestPut(request)) => named(out, "request_put", |out| put(out, request)),
                Some(Request::RequestDeleteRange(request)) => {
                    named(out, "request_delete_range", |out| delete(out, request));
                }
                // How many are in it says enough.
                Some(Request::RequestTxn(request)) => named(out, "request_txn", |out| {
                    put_number(out, "success", request.success.len() as i64);
                    put_number(out, "failure", request.failure.len() as i64);
                }),
                None => {}
            }
            end(out);
        }
    }
    let most = txn.compare.len().max(txn.success.len()).max(txn.failure.len());
    if most > OPERATIONS_MAX {
        let _ = write!(out, "(up to {most} each)");
    }
}

fn named(out: &mut String, name: &str, inner: impl FnOnce(&mut String)) {
    let _ = write!(out, "{name}:<");
    inner(out);
    end(out);
}

fn end(out: &mut String) {
    out.truncate(out.trim_end().len());
    out.push_str("> ");
}

fn put_bytes(out: &mut String, name: &str, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let cut = bytes.get(..KEY_BYTES_MAX).unwrap_or(bytes);
    let more = if cut.len() < bytes.len() { "…" } else { "" };
    let _ = write!(out, "{name}:\"{}{more}\" ", cut.escape_ascii());
}

fn put_number(out: &mut String, name: &str, number: i64) {
    if number != 0 {
        let _ = write!(out, "{name}:{number} ");
    }
}

fn put_flag(out: &mut String, name: &str, flag: bool) {
    if flag {
        let _ = write!(out, "{name}:true ");
    }
}

/// The bytes of field 1, if the message begins with it.
fn first_field(bytes: &[u8]) -> Option<&[u8]> {
    const KEY_TAG: u8 = 1 << 3 | 2;
    let mut rest = bytes.strip_prefix(&[KEY_TAG])?;
    let length = prost::encoding::decode_varint(&mut rest).ok()?;
    rest.get(..usize::try_from(length).ok()?.min(rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(method: Method, message: &impl Message) -> String {
        let bytes = message.encode_to_vec();
        of(method, &bytes, bytes.len())
    }

    #[test]
    fn keys_are_named_and_values_are_not() {
        let list = pb::RangeRequest { key: "/a".into(), range_end: "/b".into(), limit: 500, ..Default::default() };
        assert_eq!(text_of(Method::Range, &list), r#"key:"/a" range_end:"/b" limit:500"#);
        let put = pb::PutRequest { key: "k\n\"".into(), value: "secret".into(), lease: 7, ..Default::default() };
        assert_eq!(text_of(Method::Put, &put), r#"key:"k\n\"" value_size:6 lease:7"#);
        let compare = pb::Compare { key: "k".into(), target: 2, ..Default::default() };
        let success = pb::RequestOp { request: Some(Request::RequestPut(put)) };
        let failure = pb::RequestOp { request: Some(Request::RequestRange(list)) };
        let txn = pb::TxnRequest { compare: vec![compare], success: vec![success], failure: vec![failure] };
        let expected = r#"compare:<target:MOD result:EQUAL key:"k"> success:<request_put:<key:"k\n\"" value_size:6 lease:7>> failure:<request_range:<key:"/a" range_end:"/b" limit:500>>"#;
        assert_eq!(text_of(Method::Txn, &txn), expected);
        assert_eq!(text_of(Method::Status, &pb::StatusRequest {}), "");
    }

    #[test]
    fn of_a_large_put_the_key_is_told() {
        let put = pb::PutRequest { key: "/large".into(), value: vec![7; 1000].into(), ..Default::default() };
        let bytes = put.encode_to_vec();
        assert_eq!(of(Method::Put, &bytes[..100], bytes.len()), format!(r#"key:"/large" ({} bytes)"#, bytes.len()));
        assert_eq!(of(Method::Txn, &bytes[..100], bytes.len()), format!("({} bytes)", bytes.len()));
        assert_eq!(of(Method::Put, &[0xff; 3], 3), "");
    }
}
