//! What a command's puts would do, by what the keys are now: one walk over the branch that would be carried out, for
//! quota and budgets together.
//!
//! Only walked when somebody asks: with the quota met, or with budgets. Each put's key is looked up once. The two
//! measure differently. The quota counts the longest that a record may get by its lease and its key's creation, a
//! budget the record as it will be; both decide what is refused, alike on every member, so neither may be changed into
//! the other.

use crate::budget::BudgetDemand;
use crate::fault::Result;
use crate::quota::QuotaDemand;
use crate::txn::{self, Keys};
use bytes::Bytes;
use model::{Command, KeyValue, LeaseId, Operation, Put, PutLease, PutValue, Revision};
use mvcc::{AccountsReader, Meta};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AskedBy {
    pub(crate) quota: bool,
    pub(crate) budgets: bool,
}

impl AskedBy {
    pub(crate) fn any(self) -> bool {
        self.quota || self.budgets
    }
}

/// See the file's head. What nobody asked for is empty.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    pub(crate) quota: QuotaDemand,
    pub(crate) budgets: BudgetDemand,
}

impl Demand {
    pub(crate) fn of(
        keys: &impl Keys,
        accounts: &AccountsReader,
        command: &Command,
        asked_by: AskedBy,
    ) -> Result<Demand> {
        let mut demand = Demand::default();
        match command {
            Command::Put(put) => demand.add(keys, accounts, put, asked_by),
            // Compares are not evaluated for a txn that puts nothing below a budget.
            Command::Txn(command)
                if asked_by.quota || txn::any_put(command, &mut |put| accounts.has_meter(&put.key)) =>
            {
                let path = txn::choose(keys, command)?;
                path.each(command, &mut |operation| {
                    if let Operation::Put(put) = operation {
                        demand.add(keys, accounts, put, asked_by);
                    }
                });
            }
            _ => {}
        }
        Ok(demand)
    }

    fn add(&mut self, keys: &impl Keys, accounts: &AccountsReader, put: &Put, asked_by: AskedBy) {
        let mut meters = Vec::new();
        if asked_by.budgets {
            accounts.each_meter_of(&put.key, |meter, usage| meters.push((meter, usage)));
        }
        if !asked_by.quota && meters.is_empty() {
            return;
        }
        let current = keys.get(&put.key);
        let current_bytes = current.map(|meta| u64::from(meta.location.length));
        let next = Revision(keys.revision().0 + 1);
        if asked_by.quota {
            self.quota.add(current_bytes, record_bytes_max(put, current, next));
        }
        if !meters.is_empty() {
            self.budgets.add(&meters, current_bytes, record_bytes(put, current, next));
        }
    }
}

/// What the put's record takes at most, whatever its lease and the revision that creates its key.
fn record_bytes_max(put: &Put, current: Option<Meta>, next: Revision) -> u64 {
    let created = current.map_or(Revision(i64::MAX), |meta| meta.create_revision);
    let version = current.map_or(1, |meta| meta.version + 1);
    match &put.value {
        PutValue::Set(value) => pair_bytes(put, created, next, version, LeaseId(i64::MAX), value.clone()),
        PutValue::Keep => current.map_or(0, |meta| u64::from(meta.location.length)),
    }
}

/// What the put's record will take, exactly.
fn record_bytes(put: &Put, current: Option<Meta>, next: Revision) -> u64 {
    let lease = match put.lease {
        PutLease::Set(lease) => lease,
        PutLease::Keep => current.map_or(LeaseId::NONE, |current| current.lease),
    };
    let created = current.map_or(next, |meta| meta.create_revision);
    let version = current.map_or(1, |meta| meta.version + 1);
    match (&put.value, current) {
        (PutValue::Set(value), _) => pair_bytes(put, created, next, version, lease, value.clone()),
        // All but the value, which is as long as it is.
        (PutValue::Keep, Some(meta)) => {
            let before = pair_bytes(put, created, meta.mod_revision(), meta.version, meta.lease, Bytes::new());
            let after = pair_bytes(put, created, next, version, lease, Bytes::new());
            u64::from(meta.location.length) - before + after
        }
        (PutValue::Keep, None) => 0,
    }
}

fn pair_bytes(put: &Put, created: Revision, modified: Revision, version: i64, lease: LeaseId, value: Bytes) -> u64 {
    let pair =
        KeyValue { key: put.key.clone(), create_revision: created, mod_revision: modified, version, value, lease };
    pair.encoded_len() as u64
}
