//! What etcd's rules say, written down as plainly as possible: every revision is a whole map, a txn works on a copy.

use crate::world::{RangeSaid, Said};
use bytes::Bytes;
use model::{
    Compare, CompareResult, CompareTarget, KeyRange, KeyValue, LeaseId, Operation, Put, PutLease, PutValue, Range,
    Rejection, Revision, SortOrder, SortTarget, Txn,
};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

type Pairs = BTreeMap<Bytes, KeyValue>;

#[derive(Debug, Clone, Default)]
pub struct ModelState {
    /// Every state of the keys so far; the last one is current, and position 0 stands for revision 1.
    history: Vec<Pairs>,
    compacted: i64,
    /// Without compactions for space.
    compacted_asked: i64,
    pub leases: BTreeSet<i64>,
}

/// A txn at work.
struct Work<'m> {
    model: &'m ModelState,
    pairs: Pairs,
    wrote: bool,
}

impl ModelState {
    pub fn new() -> ModelState {
        ModelState { history: vec![Pairs::new()], compacted: -1, compacted_asked: -1, leases: BTreeSet::new() }
    }

    pub fn revision(&self) -> i64 {
        self.history.len() as i64
    }

    fn current(&self) -> &Pairs {
        self.history.last().expect("revision 1 is there")
    }

    pub fn keys_of(&self, lease: i64) -> Vec<Bytes> {
        self.current().values().filter(|kv| kv.lease.0 == lease).map(|kv| kv.key.clone()).collect()
    }

    pub fn compact(&mut self, at: i64) -> Result<(), Rejection> {
        if at <= self.compacted_asked {
            return Err(Rejection::Compacted);
        }
        if at > self.revision() {
            return Err(Rejection::FutureRevision);
        }
        self.compacted_asked = at;
        self.compacted = self.compacted.max(at);
        Ok(())
    }

    pub fn compact_for_space(&mut self, at: i64) -> Result<(), Rejection> {
        if at <= self.compacted {
            return Err(Rejection::Compacted);
        }
        if at > self.revision() {
            return Err(Rejection::FutureRevision);
        }
        self.compacted = at;
        Ok(())
    }

    pub fn revoke(&mut self, lease: i64) -> Result<(), Rejection> {
        if !self.leases.remove(&lease) {
            return Err(Rejection::LeaseNotFound);
        }
        let mut pairs = self.current().clone();
        pairs.retain(|_, kv| kv.lease.0 != lease);
        if pairs.len() < self.current().len() {
            self.history.push(pairs);
        }
        Ok(())
    }

    /// Order of the checks of a put that is no txn: the lease first.
    pub fn put(&mut self, put: &Put) -> Result<Said, Rejection> {
        self.check_lease(put)?;
        let txn = Txn { success: vec![Operation::Put(put.clone())], ..Txn::default() };
        match self.txn(&txn)? {
            Said::Txn(_, mut said) => Ok(said.remove(0)),
            other => panic!("{other:?} is no txn's answer"),
        }
    }

    pub fn txn(&mut self, txn: &Txn) -> Result<Said, Rejection> {
        self.check(txn)?;
        let mut work = Work { model: self, pairs: self.current().clone(), wrote: false };
        let said = work.txn(txn);
        if work.wrote {
            let pairs = work.pairs;
            self.history.push(pairs);
        }
        Ok(said)
    }

    fn succeeds(&self, txn: &Txn) -> bool {
        txn.compares.iter().all(|compare| self.holds(compare))
    }

    fn branch<'t>(&self, txn: &'t Txn) -> &'t [Operation] {
        if self.succeeds(txn) { &txn.success } else { &txn.failure }
    }

    fn check(&self, txn: &Txn) -> Result<(), Rejection> {
        for operation in self.branch(txn) {
            match operation {
                Operation::Put(put) => {
                    let keeps = put.value == PutValue::Keep || put.lease == PutLease::Keep;
                    self.check_lease(put)?;
                    if keeps && !self.current().contains_key(&put.key) {
                        return Err(Rejection::KeyNotFound);
                    }
                }
                Operation::Range(range) if range.revision.0 == 0 => {}
                Operation::Range(range) if range.revision.0 > self.revision() => return Err(Rejection::FutureRevision),
                Operation::Range(range) if range.revision.0 < self.compacted => return Err(Rejection::Compacted),
                Operation::Range(_) | Operation::DeleteRange(_) => {}
                Operation::Txn(inner) => self.check(inner)?,
            }
        }
        Ok(())
    }

    fn check_lease(&self, put: &Put) -> Result<(), Rejection> {
        match put.lease {
            PutLease::Set(lease) if lease.0 != 0 && !self.leases.contains(&lease.0) => Err(Rejection::LeaseNotFound),
            _ => Ok(()),
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let found: Vec<_> = self.current().values().filter(|kv| compare.range.contains(&kv.key)).collect();
        let absent = KeyValue::default();
        match &compare.target {
            CompareTarget::Value(_) if found.is_empty() => false,
            _ if found.is_empty() => holds_for(compare, &absent),
            _ => found.iter().all(|kv| holds_for(compare, kv)),
        }
    }

    /// Reads of the current revision see `pairs`.
    pub fn range(&self, request: &Range, pairs: &Pairs, current: i64) -> RangeSaid {
        let asked = request.revision.0;
        let pairs = if asked <= 0 { pairs } else { &self.history[asked as usize - 1] };
        let all: Vec<KeyValue> = pairs.values().filter(|kv| request.range.contains(&kv.key)).cloned().collect();
        let count = all.len() as u64;
        let mut found = all;
        found.retain(|kv| {
            request.mod_bounds.contains(kv.mod_revision) && request.create_bounds.contains(kv.create_revision)
        });
        if let Some(sort) = request.sort {
            found.sort_by(|one, other| match sort.target {
                SortTarget::Key => one.key.cmp(&other.key),
                SortTarget::Version => (one.version, &one.key).cmp(&(other.version, &other.key)),
                SortTarget::Create => (one.create_revision, &one.key).cmp(&(other.create_revision, &other.key)),
                SortTarget::Mod => (one.mod_revision, &one.key).cmp(&(other.mod_revision, &other.key)),
                SortTarget::Value => (&one.value, &one.key).cmp(&(&other.value, &other.key)),
            });
            if sort.order == SortOrder::Descend {
                found.reverse();
            }
        }
        let limit = if request.limit == 0 { usize::MAX } else { request.limit as usize };
        let more = !request.count_only && found.len() > limit;
        found.truncate(if request.count_only { 0 } else { limit });
        RangeSaid { pairs: found, more, count, revision: Revision(current) }
    }
}

impl Work<'_> {
    fn revision(&self) -> i64 {
        self.model.revision() + i64::from(self.wrote)
    }

    fn txn(&mut self, txn: &Txn) -> Said {
        let succeeded = self.model.succeeds(txn);
        let said = self.model.branch(txn).iter().map(|operation| match operation {
            Operation::Range(range) => Said::Range(self.model.range(range, &self.pairs, self.revision())),
            Operation::Put(put) => self.put(put),
            Operation::DeleteRange(delete) => self.delete(&delete.range, delete.prev_kv),
            Operation::Txn(inner) => self.txn(inner),
        });
        Said::Txn(succeeded, said.collect())
    }

    fn put(&mut self, put: &Put) -> Said {
        self.wrote = true;
        let now = Revision(self.revision());
        let before = self.pairs.get(&put.key).cloned();
        let kv = KeyValue {
            key: put.key.clone(),
            create_revision: before.as_ref().map_or(now, |before| before.create_revision),
            mod_revision: now,
            version: before.as_ref().map_or(1, |before| before.version + 1),
            value: match &put.value {
                PutValue::Set(value) => value.clone(),
                PutValue::Keep => before.as_ref().map_or(Bytes::new(), |before| before.value.clone()),
            },
            lease: match put.lease {
                PutLease::Set(lease) => lease,
                PutLease::Keep => before.as_ref().map_or(LeaseId::NONE, |before| before.lease),
            },
        };
        self.pairs.insert(put.key.clone(), kv);
        Said::Put(before.filter(|_| put.prev_kv))
    }

    fn delete(&mut self, range: &KeyRange, prev_kv: bool) -> Said {
        let deleted: Vec<KeyValue> = self.pairs.values().filter(|kv| range.contains(&kv.key)).cloned().collect();
        self.wrote |= !deleted.is_empty();
        self.pairs.retain(|key, _| !range.contains(key));
        Said::DeleteRange(deleted.len() as u64, if prev_kv { deleted } else { Vec::new() })
    }
}

fn holds_for(compare: &Compare, kv: &KeyValue) -> bool {
    let ordering = match &compare.target {
        CompareTarget::Version(version) => kv.version.cmp(version),
        CompareTarget::Create(revision) => kv.create_revision.cmp(revision),
        CompareTarget::Mod(revision) => kv.mod_revision.cmp(revision),
        CompareTarget::Lease(lease) => kv.lease.cmp(lease),
        CompareTarget::Value(value) => kv.value.cmp(value),
    };
    match compare.result {
        CompareResult::Equal => ordering == Ordering::Equal,
        CompareResult::NotEqual => ordering != Ordering::Equal,
        CompareResult::Greater => ordering == Ordering::Greater,
        CompareResult::Less => ordering == Ordering::Less,
    }
}
