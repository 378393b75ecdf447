//! The bytes of a raft log entry's payload. The format is `docs/formats/log-entry.md`; numbers are never reused.
//!
//! Decoding is for bytes that passed the log's checksum, but trusts them no further: every length is checked, nesting
//! is bounded, and keys and values share the input's buffer instead of being copied.

use crate::command::*;
use crate::{Budget, KeyRange, LeaseId, Limits, MemberId, RangeEnd, RequestId, Revision};
use stdx::codec::{DecodeError, Reader, put_bool, put_bytes, put_signed, put_varint};

/// Deepest nesting of txns that is encoded, read or executed. The edge refuses deeper requests; etcd bounds it only by
/// the number of operations. A level is two protobuf messages, and decoders outside of Go stop at 100 of them.
pub const TXN_DEPTH_MAX: usize = 50;

/// First byte of every payload; another value is a format that this release does not know.
const FORMAT: u8 = 1;

/// The payload of `entry`.
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + size_hint(&entry.command));
    out.push(FORMAT);
    put_varint(&mut out, entry.request.0);
    put_varint(&mut out, entry.leader_time_ms);
    put_command(&mut out, &entry.command);
    out
}

/// Reads a payload. Fails on anything that `encode_entry` does not write.
pub fn decode_entry(payload: bytes::Bytes) -> Result<Entry, DecodeError> {
    let mut reader = Reader::new(payload);
    match reader.u8()? {
        FORMAT => {}
        tag => return Err(DecodeError::UnknownTag { what: "entry format", tag: u64::from(tag) }),
    }
    let request = RequestId(reader.varint()?);
    let leader_time_ms = reader.varint()?;
    let command = command(&mut reader)?;
    reader.finish("entry")?;
    Ok(Entry { request, leader_time_ms, command })
}

fn size_hint(command: &Command) -> usize {
    match command {
        Command::Put(put) => put_size_hint(put),
        Command::Txn(txn) => txn
            .success
            .iter()
            .chain(&txn.failure)
            .map(|op| if let Operation::Put(put) = op { put_size_hint(put) } else { 128 })
            .sum(),
        _ => 64,
    }
}

fn put_size_hint(put: &Put) -> usize {
    let value = if let PutValue::Set(value) = &put.value { value.len() } else { 0 };
    32 + put.key.len() + value
}

const PUT: u8 = 1;
const DELETE_RANGE: u8 = 2;
const TXN: u8 = 3;
const COMPACT: u8 = 4;
const LEASE_GRANT: u8 = 5;
const LEASE_REVOKE: u8 = 6;
const LEASE_CHECKPOINT: u8 = 7;
const ALARM: u8 = 8;
const MEMBER_PUBLISH: u8 = 9;
const CLUSTER_VERSION_SET: u8 = 10;
/// An operation of a txn that reads; never a command of its own.
const RANGE: u8 = 11;
const BUDGET_SET: u8 = 12;
const BUDGET_REMOVE: u8 = 13;
const SPACE_SETTLE: u8 = 14;
const SPACE_COMPACT: u8 = 15;
const QUOTA_SET: u8 = 16;

fn put_command(out: &mut Vec<u8>, command: &Command) {
    match command {
        Command::Put(put) => {
            out.push(PUT);
            put_put(out, put);
        }
        Command::DeleteRange(delete) => {
            out.push(DELETE_RANGE);
            put_delete_range(out, delete);
        }
        Command::Txn(txn) => {
            out.push(TXN);
            put_txn(out, txn);
        }
        Command::Compact(compact) => {
            out.push(COMPACT);
            put_signed(out, compact.revision.0);
            put_bool(out, compact.physical);
        }
        Command::SpaceCompact(revision) => {
            out.push(SPACE_COMPACT);
            put_signed(out, revision.0);
        }
        Command::LeaseGrant(grant) => {
            out.push(LEASE_GRANT);
            put_signed(out, grant.id.0);
            put_signed(out, grant.ttl_s);
        }
        Command::LeaseRevoke(id) => {
            out.push(LEASE_REVOKE);
            put_signed(out, id.0);
        }
        Command::LeaseCheckpoint(checkpoint) => {
            out.push(LEASE_CHECKPOINT);
            put_varint(out, checkpoint.remaining.len() as u64);
            for (id, remaining_ms) in &checkpoint.remaining {
                put_signed(out, id.0);
                put_varint(out, *remaining_ms);
            }
        }
        Command::Alarm(alarm) => {
            out.push(ALARM);
            out.push(match alarm.action {
                AlarmAction::Activate => 1,
                AlarmAction::Deactivate => 2,
            });
            put_varint(out, alarm.member.0);
            out.push(match alarm.kind {
                AlarmKind::None => 0,
                AlarmKind::NoSpace => 1,
                AlarmKind::Corrupt => 2,
            });
        }
        Command::MemberPublish(publish) => {
            out.push(MEMBER_PUBLISH);
            put_varint(out, publish.member.0);
            put_bytes(out, publish.name.as_bytes());
            put_varint(out, publish.client_urls.len() as u64);
            for url in &publish.client_urls {
                put_bytes(out, url.as_bytes());
            }
        }
        Command::ClusterVersionSet(version) => {
            out.push(CLUSTER_VERSION_SET);
            put_bytes(out, version.as_bytes());
        }
        Command::BudgetSet(budget) => {
            out.push(BUDGET_SET);
            put_budget(out, budget);
        }
        Command::BudgetRemove(prefix) => {
            out.push(BUDGET_REMOVE);
            put_bytes(out, prefix);
        }
        Command::SpaceSettle(settle) => {
            out.push(SPACE_SETTLE);
            put_signed(out, settle.compacted.0);
            put_varint(out, settle.unsettled_bytes);
        }
        Command::QuotaSet(quota) => {
            out.push(QUOTA_SET);
            put_quota(out, *quota);
        }
    }
}

fn command(reader: &mut Reader) -> Result<Command, DecodeError> {
    Ok(match reader.u8()? {
        PUT => Command::Put(put(reader)?),
        DELETE_RANGE => Command::DeleteRange(delete_range(reader)?),
        TXN => Command::Txn(txn(reader, 0)?),
        COMPACT => Command::Compact(Compact {
            revision: Revision(reader.signed()?),
            physical: reader.bool("compact physical")?,
        }),
        SPACE_COMPACT => Command::SpaceCompact(Revision(reader.signed()?)),
        LEASE_GRANT => Command::LeaseGrant(LeaseGrant { id: LeaseId(reader.signed()?), ttl_s: reader.signed()? }),
        LEASE_REVOKE => Command::LeaseRevoke(LeaseId(reader.signed()?)),
        LEASE_CHECKPOINT => {
            let count = reader.count(2)?;
            let mut remaining = Vec::with_capacity(count);
            for _ in 0..count {
                remaining.push((LeaseId(reader.signed()?), reader.varint()?));
            }
            Command::LeaseCheckpoint(LeaseCheckpoint { remaining })
        }
        ALARM => Command::Alarm(alarm(reader)?),
        MEMBER_PUBLISH => {
            let member = MemberId(reader.varint()?);
            let name = reader.text("member name")?;
            let count = reader.count(1)?;
            let client_urls = (0..count).map(|_| reader.text("client url")).collect::<Result<_, _>>()?;
            Command::MemberPublish(MemberPublish { member, name, client_urls })
        }
        CLUSTER_VERSION_SET => Command::ClusterVersionSet(reader.text("cluster version")?),
        BUDGET_SET => Command::BudgetSet(budget(reader)?),
        BUDGET_REMOVE => Command::BudgetRemove(reader.bytes()?),
        SPACE_SETTLE => Command::SpaceSettle(SpaceSettle {
            compacted: Revision(reader.signed()?),
            unsettled_bytes: reader.varint()?,
        }),
        QUOTA_SET => Command::QuotaSet(quota(reader)?),
        tag => return Err(DecodeError::UnknownTag { what: "command", tag: u64::from(tag) }),
    })
}

/// Also the form of the quota in state's tables.
pub fn put_quota(out: &mut Vec<u8>, quota: QuotaSet) {
    put_bool(out, quota.bytes.is_some());
    if let Some(bytes) = quota.bytes {
        put_varint(out, bytes);
    }
    put_bool(out, quota.strict_latch);
}

/// Reads what `put_quota` wrote.
pub fn quota(reader: &mut Reader) -> Result<QuotaSet, DecodeError> {
    let bytes = reader.bool("quota")?.then(|| reader.varint()).transpose()?;
    Ok(QuotaSet { bytes, strict_latch: reader.bool("strict latch")? })
}

/// Also the form of a budget in state's tables.
pub fn put_budget(out: &mut Vec<u8>, budget: &Budget) {
    put_bytes(out, &budget.prefix);
    for limit in [&budget.soft, &budget.hard].into_iter().flat_map(Limits::each) {
        put_bool(out, limit.1.is_some());
        if let Some(limit) = limit.1 {
            put_varint(out, limit);
        }
    }
}

/// Reads what `put_budget` wrote. It is as it was asked for, not checked.
pub fn budget(reader: &mut Reader) -> Result<Budget, DecodeError> {
    let prefix = reader.bytes()?;
    let mut limit = || reader.bool("budget limit")?.then(|| reader.varint()).transpose();
    let mut limits = || Ok::<_, DecodeError>(Limits { bytes: limit()?, keys: limit()?, writes_per_second: limit()? });
    Ok(Budget { prefix, soft: limits()?, hard: limits()? })
}

fn alarm(reader: &mut Reader) -> Result<Alarm, DecodeError> {
    let action = match reader.u8()? {
        1 => AlarmAction::Activate,
        2 => AlarmAction::Deactivate,
        tag => return Err(DecodeError::UnknownTag { what: "alarm action", tag: u64::from(tag) }),
    };
    let member = MemberId(reader.varint()?);
    let kind = match reader.u8()? {
        0 => AlarmKind::None,
        1 => AlarmKind::NoSpace,
        2 => AlarmKind::Corrupt,
        tag => return Err(DecodeError::UnknownTag { what: "alarm kind", tag: u64::from(tag) }),
    };
    Ok(Alarm { action, member, kind })
}

fn put_range(out: &mut Vec<u8>, range: &KeyRange) {
    put_bytes(out, &range.start);
    match &range.end {
        RangeEnd::Single => out.push(0),
        RangeEnd::Before(end) => {
            out.push(1);
            put_bytes(out, end);
        }
        RangeEnd::Unbounded => out.push(2),
    }
}

fn key_range(reader: &mut Reader) -> Result<KeyRange, DecodeError> {
    let start = reader.bytes()?;
    let end = match reader.u8()? {
        0 => RangeEnd::Single,
        1 => RangeEnd::Before(reader.bytes()?),
        2 => RangeEnd::Unbounded,
        tag => return Err(DecodeError::UnknownTag { what: "range end", tag: u64::from(tag) }),
    };
    Ok(KeyRange { start, end })
}

fn put_put(out: &mut Vec<u8>, put: &Put) {
    put_bytes(out, &put.key);
    match &put.value {
        PutValue::Keep => out.push(0),
        PutValue::Set(value) => {
            out.push(1);
            put_bytes(out, value);
        }
    }
    match put.lease {
        PutLease::Keep => out.push(0),
        PutLease::Set(lease) => {
            out.push(1);
            put_signed(out, lease.0);
        }
    }
    put_bool(out, put.prev_kv);
}

fn put(reader: &mut Reader) -> Result<Put, DecodeError> {
    let key = reader.bytes()?;
    let value = if reader.bool("put value")? { PutValue::Set(reader.bytes()?) } else { PutValue::Keep };
    let lease = if reader.bool("put lease")? { PutLease::Set(LeaseId(reader.signed()?)) } else { PutLease::Keep };
    Ok(Put { key, value, lease, prev_kv: reader.bool("put prev_kv")? })
}

fn put_delete_range(out: &mut Vec<u8>, delete: &DeleteRange) {
    put_range(out, &delete.range);
    put_bool(out, delete.prev_kv);
}

fn delete_range(reader: &mut Reader) -> Result<DeleteRange, DecodeError> {
    Ok(DeleteRange { range: key_range(reader)?, prev_kv: reader.bool("delete prev_kv")? })
}

fn put_txn(out: &mut Vec<u8>, txn: &Txn) {
    put_varint(out, txn.compares.len() as u64);
    for compare in &txn.compares {
        put_compare(out, compare);
    }
    for branch in [&txn.success, &txn.failure] {
        put_varint(out, branch.len() as u64);
        for operation in branch {
            put_operation(out, operation);
        }
    }
}

fn txn(reader: &mut Reader, depth: usize) -> Result<Txn, DecodeError> {
    if depth >= TXN_DEPTH_MAX {
        return Err(DecodeError::TooDeep { limit: TXN_DEPTH_MAX });
    }
    let count = reader.count(4)?;
    let compares = (0..count).map(|_| compare(reader)).collect::<Result<_, _>>()?;
    let success = operations(reader, depth)?;
    let failure = operations(reader, depth)?;
    Ok(Txn { compares, success, failure })
}

fn operations(reader: &mut Reader, depth: usize) -> Result<Vec<Operation>, DecodeError> {
    let count = reader.count(2)?;
    (0..count).map(|_| operation(reader, depth)).collect()
}

fn put_operation(out: &mut Vec<u8>, operation: &Operation) {
    match operation {
        Operation::Range(range) => {
            out.push(RANGE);
            put_range_request(out, range);
        }
        Operation::Put(put) => {
            out.push(PUT);
            put_put(out, put);
        }
        Operation::DeleteRange(delete) => {
            out.push(DELETE_RANGE);
            put_delete_range(out, delete);
        }
        Operation::Txn(txn) => {
            out.push(TXN);
            put_txn(out, txn);
        }
    }
}

fn operation(reader: &mut Reader, depth: usize) -> Result<Operation, DecodeError> {
    Ok(match reader.u8()? {
        RANGE => Operation::Range(range_request(reader)?),
        PUT => Operation::Put(put(reader)?),
        DELETE_RANGE => Operation::DeleteRange(delete_range(reader)?),
        TXN => Operation::Txn(txn(reader, depth + 1)?),
        tag => return Err(DecodeError::UnknownTag { what: "operation", tag: u64::from(tag) }),
    })
}

fn put_compare(out: &mut Vec<u8>, compare: &Compare) {
    put_range(out, &compare.range);
    out.push(match compare.result {
        CompareResult::Equal => 0,
        CompareResult::Greater => 1,
        CompareResult::Less => 2,
        CompareResult::NotEqual => 3,
    });
    let (tag, number) = match &compare.target {
        CompareTarget::Version(version) => (0, *version),
        CompareTarget::Create(revision) => (1, revision.0),
        CompareTarget::Mod(revision) => (2, revision.0),
        CompareTarget::Value(value) => {
            out.push(3);
            put_bytes(out, value);
            return;
        }
        CompareTarget::Lease(lease) => (4, lease.0),
    };
    out.push(tag);
    put_signed(out, number);
}

fn compare(reader: &mut Reader) -> Result<Compare, DecodeError> {
    let range = key_range(reader)?;
    let result = match reader.u8()? {
        0 => CompareResult::Equal,
        1 => CompareResult::Greater,
        2 => CompareResult::Less,
        3 => CompareResult::NotEqual,
        tag => return Err(DecodeError::UnknownTag { what: "compare result", tag: u64::from(tag) }),
    };
    let target = match reader.u8()? {
        0 => CompareTarget::Version(reader.signed()?),
        1 => CompareTarget::Create(Revision(reader.signed()?)),
        2 => CompareTarget::Mod(Revision(reader.signed()?)),
        3 => CompareTarget::Value(reader.bytes()?),
        4 => CompareTarget::Lease(LeaseId(reader.signed()?)),
        tag => return Err(DecodeError::UnknownTag { what: "compare target", tag: u64::from(tag) }),
    };
    Ok(Compare { range, result, target })
}

fn put_range_request(out: &mut Vec<u8>, range: &Range) {
    put_range(out, &range.range);
    put_signed(out, range.revision.0);
    put_varint(out, range.limit);
    out.push(range.sort.map_or(0, |sort| {
        let target = match sort.target {
            SortTarget::Key => 0,
            SortTarget::Version => 1,
            SortTarget::Create => 2,
            SortTarget::Mod => 3,
            SortTarget::Value => 4,
        };
        let order = match sort.order {
            SortOrder::Ascend => 0,
            SortOrder::Descend => 1,
            SortOrder::Unspecified => 2,
        };
        1 + target * 3 + order
    }));
    put_bool(out, range.keys_only);
    put_bool(out, range.count_only);
    for bound in [range.mod_bounds.min, range.mod_bounds.max, range.create_bounds.min, range.create_bounds.max] {
        put_signed(out, bound.0);
    }
}

fn range_request(reader: &mut Reader) -> Result<Range, DecodeError> {
    let range = key_range(reader)?;
    let revision = Revision(reader.signed()?);
    let limit = reader.varint()?;
    let sort = sort(reader.u8()?)?;
    let keys_only = reader.bool("range keys_only")?;
    let count_only = reader.bool("range count_only")?;
    let mut bounds = || Ok(RevisionBounds { min: Revision(reader.signed()?), max: Revision(reader.signed()?) });
    let mod_bounds = bounds()?;
    let create_bounds = bounds()?;
    Ok(Range { range, revision, limit, sort, keys_only, count_only, mod_bounds, create_bounds })
}

fn sort(code: u8) -> Result<Option<Sort>, DecodeError> {
    let Some(code) = code.checked_sub(1) else { return Ok(None) };
    let target = match code / 3 {
        0 => SortTarget::Key,
        1 => SortTarget::Version,
        2 => SortTarget::Create,
        3 => SortTarget::Mod,
        4 => SortTarget::Value,
        _ => return Err(DecodeError::UnknownTag { what: "sort", tag: u64::from(code) }),
    };
    let order = match code % 3 {
        0 => SortOrder::Ascend,
        1 => SortOrder::Descend,
        _ => SortOrder::Unspecified,
    };
    Ok(Some(Sort { target, order }))
}

#[cfg(test)]
#[path = "command_codec_tests.rs"]
mod tests;
