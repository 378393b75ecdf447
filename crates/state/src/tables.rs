//! The tables' bytes in a checkpoint. The format is `docs/formats/state-tables.md`.
//!
//! Equal tables have equal bytes. Reading trusts nothing: order, numbers and lengths are checked, and nothing is
//! allocated by a count that the input cannot hold.

use crate::alarm::{ActiveAlarm, AlarmTable};
use crate::budget::{Bucket, Kept};
use crate::lease_terms::{Terms, TermsTree};
use crate::membership::{Member, Membership};
use bytes::Bytes;
use model::{AlarmKind, Budget, ClusterId, LeaseId, LogIndex, MemberId, QuotaSet, Revision, Term};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use stdx::codec::{DecodeError, Reader, put_bool, put_bytes, put_signed, put_varint};

const FORMAT: u8 = 1;
/// The same with a list of budgets, which is not empty.
const FORMAT_BUDGETS: u8 = 2;
/// The same with a list of budgets, which may be empty, and unsettled bytes, which are not 0.
const FORMAT_UNSETTLED: u8 = 3;
/// The same, of which unsettled bytes may be 0, with the revision that was asked to be compacted.
const FORMAT_ASKED: u8 = 4;
/// The same, of which unsettled bytes may be 0 and the asked revision may be missing, with the quota.
const FORMAT_QUOTA: u8 = 5;

/// How far the log is in state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AppliedUpTo {
    /// Every entry up to this one is applied; 0 before the first.
    pub index: LogIndex,
    /// The term of that entry.
    pub term: Term,
    /// Highest leader time that an applied entry carried, in milliseconds.
    pub leader_time_ms: u64,
}

/// Everything that a checkpoint holds beside the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    pub(crate) applied: AppliedUpTo,
    pub(crate) membership: Membership,
    pub(crate) alarms: AlarmTable,
    pub(crate) leases: TermsTree,
    /// In order of their prefixes.
    pub(crate) budgets: Vec<Kept>,
    /// What compactions dropped and is counted still.
    pub(crate) unsettled_bytes: u64,
    /// How far history would be compacted without compactions for space, if those went further.
    pub(crate) compacted_asked: Option<Revision>,
    /// What apply goes by; `None` in tables of an older release, until it is set.
    pub(crate) quota: Option<QuotaSet>,
}

impl Tables {
    /// Reads the tables' bytes.
    pub fn decode(input: Bytes) -> std::result::Result<Tables, TablesError> {
        decode(input)
    }

    /// The tables' bytes, the same for equal tables.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + 16 * self.leases.len());
        encode(&mut out, self);
        out
    }
}

/// Bytes that are not tables as this release writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TablesError {
    Decode(DecodeError),
    /// A list out of order or with the same element twice.
    Unordered {
        what: &'static str,
    },
    /// Something that never is so.
    Unexpected {
        what: &'static str,
    },
    /// A number outside its bounds.
    OutOfBounds {
        what: &'static str,
        value: u64,
    },
}

impl fmt::Display for TablesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TablesError::Decode(error) => write!(f, "read state tables: {error}"),
            TablesError::Unordered { what } => write!(f, "read state tables: {what} out of order"),
            TablesError::Unexpected { what } => write!(f, "read state tables: unexpected {what}"),
            TablesError::OutOfBounds { what, value } => write!(f, "read state tables: {what} {value} is out of bounds"),
        }
    }
}

impl std::error::Error for TablesError {}

impl From<DecodeError> for TablesError {
    fn from(error: DecodeError) -> TablesError {
        TablesError::Decode(error)
    }
}

type Result<T> = std::result::Result<T, TablesError>;

fn encode(out: &mut Vec<u8>, tables: &Tables) {
    let format = match (tables.quota, tables.compacted_asked, tables.unsettled_bytes, tables.budgets.is_empty()) {
        (Some(_), ..) => FORMAT_QUOTA,
        (None, Some(_), ..) => FORMAT_ASKED,
        (None, None, 0, true) => FORMAT,
        (None, None, 0, false) => FORMAT_BUDGETS,
        _ => FORMAT_UNSETTLED,
    };
    out.push(format);
    put_varint(out, tables.applied.index.0);
    put_varint(out, tables.applied.term.0);
    put_varint(out, tables.applied.leader_time_ms);
    put_membership(out, &tables.membership);
    put_varint(out, tables.alarms.len() as u64);
    for alarm in tables.alarms.iter() {
        out.push(match alarm.kind {
            AlarmKind::None => unreachable!("no alarm of kind none is ever up"),
            AlarmKind::NoSpace => 1,
            AlarmKind::Corrupt => 2,
        });
        put_varint(out, alarm.member.0);
        put_bool(out, tables.alarms.is_by_quota(alarm));
    }
    put_varint(out, tables.leases.len() as u64);
    for (id, terms) in tables.leases.iter() {
        put_signed(out, id.0);
        terms.encode(out);
    }
    if format != FORMAT {
        put_budgets(out, &tables.budgets);
    }
    if format >= FORMAT_UNSETTLED {
        put_varint(out, tables.unsettled_bytes);
    }
    if format == FORMAT_QUOTA {
        put_bool(out, tables.compacted_asked.is_some());
    }
    if let Some(revision) = tables.compacted_asked {
        put_signed(out, revision.0);
    }
    if let Some(quota) = tables.quota {
        model::encode_quota(out, quota);
    }
}

fn put_budgets(out: &mut Vec<u8>, budgets: &[Kept]) {
    put_varint(out, budgets.len() as u64);
    for Kept { budget, bucket } in budgets {
        model::encode_budget(out, budget);
        if let Some(bucket) = bucket {
            put_varint(out, bucket.tokens);
            put_varint(out, bucket.filled_at_ms);
        }
    }
}

fn put_membership(out: &mut Vec<u8>, membership: &Membership) {
    put_varint(out, membership.cluster.0);
    put_bytes(out, membership.cluster_version.as_bytes());
    put_varint(out, membership.members.len() as u64);
    for member in membership.members.values() {
        put_varint(out, member.id.0);
        put_bytes(out, member.name.as_bytes());
        for urls in [&member.peer_urls, &member.client_urls] {
            put_varint(out, urls.len() as u64);
            for url in urls {
                put_bytes(out, url.as_bytes());
            }
        }
        put_bool(out, member.is_learner);
    }
    put_varint(out, membership.removed.len() as u64);
    for id in &membership.removed {
        put_varint(out, id.0);
    }
}

fn decode(input: Bytes) -> Result<Tables> {
    let mut reader = Reader::new(input);
    let format = reader.u8()?;
    match format {
        FORMAT | FORMAT_BUDGETS | FORMAT_UNSETTLED | FORMAT_ASKED | FORMAT_QUOTA => {}
        tag => return Err(DecodeError::UnknownTag { what: "state tables format", tag: u64::from(tag) }.into()),
    }
    let applied = AppliedUpTo {
        index: LogIndex(reader.varint()?),
        term: Term(reader.varint()?),
        leader_time_ms: reader.varint()?,
    };
    let membership = membership(&mut reader)?;
    let alarms = alarms(&mut reader)?;
    let leases = leases(&mut reader)?;
    let budgets = match format {
        FORMAT => Vec::new(),
        FORMAT_BUDGETS => budgets(&mut reader, 1)?,
        _ => budgets(&mut reader, 0)?,
    };
    let (mut unsettled, mut compacted_asked, mut quota) = (0, None, None);
    match format {
        FORMAT_UNSETTLED => unsettled = unsettled_bytes(&mut reader)?,
        FORMAT_ASKED => {
            unsettled = reader.varint()?;
            compacted_asked = Some(Revision(reader.signed()?));
        }
        FORMAT_QUOTA => {
            unsettled = reader.varint()?;
            compacted_asked = reader.bool("asked revision")?.then(|| reader.signed().map(Revision)).transpose()?;
            quota = Some(model::decode_quota(&mut reader)?);
        }
        _ => {}
    }
    reader.finish("state tables")?;
    Ok(Tables { applied, membership, alarms, leases, budgets, unsettled_bytes: unsettled, compacted_asked, quota })
}

fn unsettled_bytes(reader: &mut Reader) -> Result<u64> {
    match reader.varint()? {
        0 => Err(TablesError::OutOfBounds { what: "number of unsettled bytes", value: 0 }),
        bytes => Ok(bytes),
    }
}

fn budgets(reader: &mut Reader, count_min: usize) -> Result<Vec<Kept>> {
    let count = reader.count(8)?;
    if !(count_min..=Budget::COUNT_MAX).contains(&count) {
        return Err(TablesError::OutOfBounds { what: "number of budgets", value: count as u64 });
    }
    let mut budgets = Vec::with_capacity(count);
    let mut order = Ascending::new("budgets");
    for _ in 0..count {
        let budget = model::decode_budget(reader)?;
        budget.check().map_err(|_| TablesError::Unexpected { what: "budget" })?;
        order.next(budget.prefix.clone())?;
        let bucket = budget.hard.writes_per_second.map(|limit| bucket(reader, limit)).transpose()?;
        budgets.push(Kept { budget, bucket });
    }
    Ok(budgets)
}

fn bucket(reader: &mut Reader, limit: u64) -> Result<Bucket> {
    let bucket = Bucket { tokens: reader.varint()?, filled_at_ms: reader.varint()? };
    if bucket.tokens > Bucket::capacity(limit) {
        return Err(TablesError::OutOfBounds { what: "tokens of a budget", value: bucket.tokens });
    }
    Ok(bucket)
}

fn membership(reader: &mut Reader) -> Result<Membership> {
    let cluster = ClusterId(reader.varint()?);
    let cluster_version = reader.text("cluster version")?;
    let mut members = BTreeMap::new();
    let mut order = Ascending::new("members");
    for _ in 0..reader.count(5)? {
        let member = member(reader)?;
        order.next(member.id)?;
        members.insert(member.id, member);
    }
    let mut removed = BTreeSet::new();
    let mut order = Ascending::new("removed members");
    for _ in 0..reader.count(1)? {
        let id = MemberId(reader.varint()?);
        order.next(id)?;
        removed.insert(id);
    }
    Ok(Membership { cluster, members, removed, cluster_version })
}

fn member(reader: &mut Reader) -> Result<Member> {
    let id = MemberId(reader.varint()?);
    let name = reader.text("member name")?;
    let mut urls = || -> std::result::Result<Vec<String>, DecodeError> {
        (0..reader.count(1)?).map(|_| reader.text("member url")).collect()
    };
    let peer_urls = urls()?;
    let client_urls = urls()?;
    Ok(Member { id, name, peer_urls, client_urls, is_learner: reader.bool("member learner")? })
}

fn alarms(reader: &mut Reader) -> Result<AlarmTable> {
    let mut alarms = AlarmTable::default();
    let mut order = Ascending::new("alarms");
    for _ in 0..reader.count(3)? {
        let kind = match reader.u8()? {
            1 => AlarmKind::NoSpace,
            2 => AlarmKind::Corrupt,
            tag => return Err(DecodeError::UnknownTag { what: "alarm kind", tag: u64::from(tag) }.into()),
        };
        let alarm = ActiveAlarm { kind, member: MemberId(reader.varint()?) };
        order.next(alarm)?;
        if !reader.bool("alarm raised by the quota")? {
            alarms.activate(alarm);
        } else if alarm.kind == AlarmKind::NoSpace && alarms.by_quota().is_none() {
            alarms.raise_by_quota(alarm.member);
        } else {
            return Err(TablesError::Unexpected { what: "alarm raised by the quota" });
        }
    }
    Ok(alarms)
}

fn leases(reader: &mut Reader) -> Result<TermsTree> {
    let mut leases = TermsTree::default();
    let mut order = Ascending::new("leases");
    for _ in 0..reader.count(4)? {
        let id = LeaseId(reader.signed()?);
        if id.is_none() {
            return Err(TablesError::OutOfBounds { what: "lease id", value: 0 });
        }
        order.next(id)?;
        leases.set(id, Terms::decode(reader)?);
    }
    Ok(leases)
}

/// Checks that a list strictly ascends.
struct Ascending<T> {
    what: &'static str,
    last: Option<T>,
}

impl<T: PartialOrd> Ascending<T> {
    fn new(what: &'static str) -> Ascending<T> {
        Ascending { what, last: None }
    }

    fn next(&mut self, element: T) -> Result<()> {
        if self.last.as_ref().is_some_and(|last| *last >= element) {
            return Err(TablesError::Unordered { what: self.what });
        }
        self.last = Some(element);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::LEASE_TTL_S_MAX;
    use model::Limits;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = String> {
        "[a-z:/.]{0,12}"
    }

    fn urls() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec(text(), 0..3)
    }

    fn tables() -> impl Strategy<Value = Tables> {
        let member = (any::<u64>(), text(), urls(), urls(), any::<bool>()).prop_map(
            |(id, name, peer_urls, client_urls, is_learner)| Member {
                id: MemberId(id),
                name,
                peer_urls,
                client_urls,
                is_learner,
            },
        );
        let membership = (
            any::<u64>(),
            text(),
            proptest::collection::vec(member, 0..4),
            proptest::collection::btree_set(any::<u64>().prop_map(MemberId), 0..4),
        )
            .prop_map(|(cluster, cluster_version, members, removed)| Membership {
                cluster: ClusterId(cluster),
                cluster_version,
                members: members.into_iter().map(|member| (member.id, member)).collect(),
                removed,
            });
        let alarm = (any::<bool>(), any::<u64>()).prop_map(|(no_space, member)| ActiveAlarm {
            kind: if no_space { AlarmKind::NoSpace } else { AlarmKind::Corrupt },
            member: MemberId(member),
        });
        let lease = (any::<i64>(), 1..=LEASE_TTL_S_MAX, any::<u64>(), any::<bool>());
        let applied = (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(index, term, leader_time_ms)| {
            AppliedUpTo { index: LogIndex(index), term: Term(term), leader_time_ms }
        });
        let lists = (proptest::collection::vec(alarm, 0..4), proptest::collection::vec(lease, 0..6));
        let budgets = proptest::collection::btree_map("[a-z]{1,3}", any::<(Option<u64>, Option<u64>, u64)>(), 0..4);
        let unsettled = (prop_oneof![Just(0), any::<u64>()], any::<Option<i64>>());
        let quota = any::<Option<(Option<u64>, bool)>>();
        (applied, membership, lists, budgets, (unsettled, quota)).prop_map(
            |(applied, membership, (alarm_list, lease_list), budgets, ((unsettled_bytes, asked), quota))| {
                let mut alarms = AlarmTable::default();
                for alarm in alarm_list {
                    alarms.activate(alarm);
                }
                let mut leases = TermsTree::default();
                for (id, ttl_s, ends_at_ms, renewing) in lease_list {
                    if id != 0 {
                        leases.set(LeaseId(id), Terms { ttl_s, ends_at_ms, renewing });
                    }
                }
                let budgets = budgets.into_iter().map(|(prefix, (bytes, writes_per_second, filled_at_ms))| Kept {
                    budget: Budget {
                        prefix: prefix.into(),
                        soft: Limits { keys: Some(filled_at_ms), ..Limits::default() },
                        hard: Limits { bytes, writes_per_second, ..Limits::default() },
                    },
                    bucket: writes_per_second.map(|limit| Bucket { tokens: limit / 2, filled_at_ms }),
                });
                let (budgets, compacted_asked) = (budgets.collect(), asked.map(Revision));
                let quota = quota.map(|(bytes, strict_latch)| QuotaSet { bytes, strict_latch });
                Tables { applied, membership, alarms, leases, budgets, unsettled_bytes, compacted_asked, quota }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(tables in tables()) {
            let out = tables.encode();
            let read = decode(out.clone().into());
            prop_assert_eq!(read.as_ref(), Ok(&tables));
            for end in 0..out.len() {
                prop_assert!(decode(Bytes::copy_from_slice(&out[..end])).is_err());
            }
        }

        #[test]
        fn flipped_bytes_never_panic_and_read_back_alike(tables in tables(), at: prop::sample::Index, byte: u8) {
            let mut out = tables.encode();
            let at = at.index(out.len());
            out[at] = byte;
            if let Ok(read) = decode(out.clone().into()) {
                prop_assert_eq!(decode(read.encode().into()), Ok(read));
            }
        }
    }

    #[test]
    fn another_format_is_named() {
        let error = decode(Bytes::from_static(&[6])).expect_err("unknown");
        assert_eq!(error.to_string(), "read state tables: decode state tables format: unknown tag 6");
    }

    /// A release that knows no budgets opens what was written without them, and its bytes open here.
    #[test]
    fn without_budgets_the_bytes_are_those_of_the_first_format() {
        let mut tables = decode(Bytes::from_static(&[1, 5, 2, 9, 7, 0, 0, 0, 0, 0])).expect("format 1");
        assert_eq!(tables.encode(), [1, 5, 2, 9, 7, 0, 0, 0, 0, 0]);
        let hard = Limits { bytes: Some(1), keys: None, writes_per_second: Some(1) };
        let budget = Budget { prefix: "p".into(), soft: Limits::default(), hard };
        tables.budgets.push(Kept { budget, bucket: Some(Bucket { tokens: 1000, filled_at_ms: 0 }) });
        let mut out = tables.encode();
        assert_eq!(out, [2, 5, 2, 9, 7, 0, 0, 0, 0, 0, 1, 1, b'p', 0, 0, 0, 1, 1, 0, 1, 1, 0xe8, 7, 0]);
        assert_eq!(decode(out.clone().into()), Ok(tables));
        out[21] += 1;
        assert!(decode(out.into()).is_err(), "a bucket that holds more than a second's worth");
        assert!(decode(Bytes::from_static(&[2, 5, 2, 9, 7, 0, 0, 0, 0, 0, 0])).is_err(), "format 2 without budgets");
    }

    #[test]
    fn unsettled_bytes_have_a_format_of_their_own() {
        let tables = decode(Bytes::from_static(&[3, 5, 2, 9, 7, 0, 0, 0, 0, 0, 0, 8])).expect("format 3");
        assert_eq!((tables.unsettled_bytes, tables.budgets.len()), (8, 0));
        assert_eq!(tables.encode(), [3, 5, 2, 9, 7, 0, 0, 0, 0, 0, 0, 8]);
        assert!(decode(Bytes::from_static(&[3, 5, 2, 9, 7, 0, 0, 0, 0, 0, 0, 0])).is_err(), "format 3 without them");
    }

    #[test]
    fn the_revision_that_was_asked_for_has_a_format_of_its_own() {
        let tables = decode(Bytes::from_static(&[4, 5, 2, 9, 7, 0, 0, 0, 0, 0, 0, 0, 16])).expect("format 4");
        assert_eq!((tables.unsettled_bytes, tables.compacted_asked), (0, Some(Revision(8))));
        assert_eq!(tables.encode(), [4, 5, 2, 9, 7, 0, 0, 0, 0, 0, 0, 0, 16]);
    }

    /// A start reads what was written before there was a quota in it, and then goes by the flags.
    #[test]
    fn the_quota_has_a_format_of_its_own() {
        let old = decode(Bytes::from_static(&[1, 5, 2, 9, 7, 0, 0, 0, 0, 0])).expect("format 1");
        assert_eq!(old.quota, None);
        let with = |bytes, strict_latch, asked: Option<i64>| Tables {
            quota: Some(QuotaSet { bytes, strict_latch }),
            compacted_asked: asked.map(Revision),
            ..old.clone()
        };
        for (tables, end) in [
            (with(None, true, None), &[0, 0, 0, 0, 1][..]),
            (with(Some(128), false, None), &[0, 0, 0, 1, 0x80, 1, 0]),
            (with(Some(0), true, Some(8)), &[0, 0, 1, 16, 1, 0, 1]),
        ] {
            let out = tables.encode();
            assert_eq!(out, [&[5, 5, 2, 9, 7, 0, 0, 0, 0, 0], end].concat());
            assert_eq!(decode(out.into()), Ok(tables));
        }
        assert!(decode(Bytes::from_static(&[5, 5, 2, 9, 7, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0])).is_err(), "no flag");
    }
}
