//! The state of one member: keys and tables as of an applied index, opened, published and made durable as one.
//!
//! Invariant: keys, tables and the applied index are in the same checkpoint; what was applied after it is applied again
//! from the log. Nothing here is written to the disk one by one.

use crate::alarm::AlarmTable;
use crate::budget::{BudgetReader, BudgetTable};
use crate::fault::{Fault, Result};
use crate::lease::LeaseTable;
use crate::lease_clock::LeaseClock;
use crate::lease_reader::LeaseReader;
use crate::lease_terms::TermsTree;
use crate::live::LiveTables;
use crate::membership::Membership;
use crate::quota::{Quota, QuotaInForce};
use crate::tables::{self, AppliedUpTo, Tables};
use crate::view::StateView;
use bytes::Bytes;
use model::{LogIndex, QuotaSet, Revision};
use mvcc::{AccountDepth, Mvcc};
use std::sync::{Arc, MutexGuard};
use stdx::codec::{Reader, put_bytes};
use store::{Checkpoint, GivenUp, Leftovers, Store};

/// What may differ between two runs of the same member. Where state has a quota, nothing that apply answers follows
/// from it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Of a new cluster, and of state that an older release left without one; replaced by `Command::QuotaSet`.
    pub quota: Quota,
    /// NOSPACE as in etcd: up until it is disarmed, and while it is, whatever puts is refused. Goes with the quota.
    pub strict_latch: bool,
    /// How many components of a key's directory name its account; more if a budget in the checkpoint needs them.
    pub account_depth: AccountDepth,
}

/// See the file's head.
pub struct State {
    pub(crate) mvcc: Mvcc,
    pub(crate) leases: LeaseReader,
    pub(crate) alarms: Arc<AlarmTable>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) budgets: BudgetReader,
    /// Spares every write without budgets the look at them.
    pub(crate) has_budgets: bool,
    pub(crate) quota: QuotaInForce,
    /// How far history would be compacted without compactions for space, if those went further.
    pub(crate) compacted_asked: Option<Revision>,
    pub(crate) applied: AppliedUpTo,
    /// What apply takes for records that were given up.
    pub(crate) given_up: Arc<GivenUp>,
}

impl State {
    /// The state of a new cluster, before its first log entry.
    pub fn bootstrap(store: Store, membership: Membership, options: Options) -> Result<State> {
        let tables = Tables {
            applied: AppliedUpTo::default(),
            membership,
            alarms: AlarmTable::default(),
            leases: TermsTree::default(),
            budgets: Vec::new(),
            unsettled_bytes: 0,
            compacted_asked: None,
            quota: Some(QuotaSet { bytes: options.quota.0, strict_latch: options.strict_latch }),
        };
        let mvcc = Mvcc::open_with_accounts(store, None, options.account_depth)?;
        State::new(mvcc, tables, options)
    }

    /// The state that the newest checkpoint holds; the log's entries behind `applied()` are to be applied again.
    pub fn open(store: Store, checkpoint: Checkpoint, options: Options) -> Result<State> {
        let (tables, keys) = split_meta(checkpoint.meta)?;
        let tables = Tables::decode(tables)?;
        let needed = tables.budgets.iter().filter_map(|kept| AccountDepth::needed_by(&kept.budget.prefix)).max();
        let depth = options.account_depth.max(needed.unwrap_or(options.account_depth));
        let mvcc = Mvcc::open_with_accounts(store, Some((keys, checkpoint.runs)), depth)?;
        State::new(mvcc, tables, options)
    }

    /// Makes a store that was only looked at ready to be written, see `Store::claim`.
    pub fn claim(&mut self, owner: u64) -> Result<()> {
        Ok(self.mvcc.claim(owner)?)
    }

    fn new(mut mvcc: Mvcc, tables: Tables, options: Options) -> Result<State> {
        let mut leases = LeaseTable::new(tables.leases);
        mvcc.for_each_leased(|lease, key| leases.attach(lease, &key));
        let mut budgets = BudgetTable::default();
        for kept in tables.budgets {
            let prefix = kept.budget.prefix.clone();
            let meter = mvcc.meter(&prefix).ok_or(Fault::BudgetTooDeep { prefix })?;
            budgets.restore(meter, kept);
        }
        mvcc.restore_unsettled(tables.unsettled_bytes);
        let of_flags = QuotaInForce::of_flags(options.quota, options.strict_latch);
        Ok(State {
            has_budgets: !budgets.is_empty(),
            budgets: BudgetReader::new(budgets, mvcc.accounts().clone()),
            mvcc,
            leases: LeaseReader::new(leases),
            alarms: Arc::new(tables.alarms),
            membership: Arc::new(tables.membership),
            quota: tables.quota.map_or(of_flags, QuotaInForce::replicated),
            compacted_asked: tables.compacted_asked,
            applied: tables.applied,
            given_up: Arc::default(),
        })
    }

    /// How far the log is applied.
    pub fn applied(&self) -> AppliedUpTo {
        self.applied
    }

    /// Leader time that the log has reached, in milliseconds: where the next leader's clock goes on.
    pub fn leader_time_ms(&self) -> u64 {
        self.applied.leader_time_ms
    }

    /// The store's current revision.
    pub fn revision(&self) -> Revision {
        self.mvcc.current_revision()
    }

    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The lease clock of a member that takes office now.
    pub fn lease_clock(&self) -> LeaseClock {
        LeaseClock::new(self.leases().terms(), self.applied.leader_time_ms)
    }

    pub(crate) fn leases(&self) -> MutexGuard<'_, LeaseTable> {
        self.leases.lock()
    }

    /// What the quota counts.
    pub fn retained_bytes(&self) -> u64 {
        self.mvcc.retained_bytes()
    }

    /// `None` if there is no bound.
    pub fn quota_bytes(&self) -> Option<u64> {
        self.quota.quota.0
    }

    /// The quota in state; `None` as long as it is what the options say.
    pub fn quota_set(&self) -> Option<QuotaSet> {
        self.quota.set()
    }

    /// Writes what was applied since the last call to the store's files, in one go, without waiting for the disk. From
    /// then on views can load it.
    pub fn flush(&mut self) -> Result<()> {
        Ok(self.mvcc.flush()?)
    }

    /// Lets views taken after it load what was applied, without writing it to the store's files: that may wait for
    /// `flush` as long as it is little.
    pub fn publish(&mut self) -> Result<()> {
        Ok(self.mvcc.publish()?)
    }

    /// Bytes of records that wait for `flush`.
    pub fn unwritten_bytes(&self) -> u64 {
        self.mvcc.unwritten_bytes()
    }

    /// Starts write-back of records once they are flushed, on any thread.
    pub fn write_back(&self) -> store::WriteBack {
        self.mvcc.write_back()
    }

    /// An image of what was flushed or published.
    pub fn view(&self) -> StateView {
        StateView {
            kv: self.mvcc.view(),
            alarms: self.alarms.clone(),
            membership: self.membership.clone(),
            applied: self.applied,
            has_budgets: self.has_budgets,
            retained_bytes: self.mvcc.retained_bytes(),
            unsettled_bytes: self.mvcc.unsettled_bytes(),
            physical_bytes: self.mvcc.physical_bytes(),
            reclaim: self.mvcc.reclaim_stats(),
            quota: self.quota,
            given_up: self.given_up.clone(),
        }
    }

    /// The tables that readers see as they are now; the same ones as long as this state lives.
    pub fn live(&self) -> LiveTables {
        LiveTables {
            leases: self.leases.clone(),
            accounts: self.mvcc.accounts().clone(),
            budgets: self.budgets.clone(),
        }
    }

    /// Works off compacted history, looking at up to `keys` keys. True if there is more.
    pub fn compaction_step(&mut self, keys: usize) -> bool {
        self.mvcc.compaction_step(keys)
    }

    /// Versions and deletions that `compaction_step` removed since this was opened.
    pub fn versions_removed(&self) -> u64 {
        self.mvcc.versions_removed()
    }

    /// Begins a checkpoint of this moment; captures images, however much there is. Only one may be under way.
    pub fn begin_checkpoint(&mut self) -> Result<CheckpointJob> {
        let tables = Tables {
            applied: self.applied,
            membership: Membership::clone(&self.membership),
            alarms: AlarmTable::clone(&self.alarms),
            leases: self.leases().terms().clone(),
            budgets: self.budgets.lock().kept(),
            unsettled_bytes: self.mvcc.unsettled_bytes(),
            compacted_asked: self.compacted_asked,
            quota: self.quota.set(),
        };
        Ok(CheckpointJob { keys: self.mvcc.take_checkpoint()?, tables })
    }

    /// Takes note of a durable checkpoint. Answers the files that it stopped naming, which are to be removed.
    pub fn finish_checkpoint(&mut self, done: CheckpointDone) -> Leftovers {
        self.mvcc.finish_checkpoint(done.keys)
    }
}

/// The tables' bytes and the key index's part.
pub(crate) fn split_meta(meta: Bytes) -> Result<(Bytes, Bytes)> {
    let mut reader = Reader::new(meta.clone());
    let tables = reader.bytes().map_err(tables::TablesError::from)?;
    let keys = meta.slice(meta.len() - reader.remaining()..);
    Ok((tables, keys))
}

/// A checkpoint to be written, on any thread; dropping it leaves the one before in force.
pub struct CheckpointJob {
    keys: mvcc::CheckpointJob,
    tables: Tables,
}

impl CheckpointJob {
    /// Writes and syncs it. After a fault that is a lack of space it may be called again.
    pub fn write(&mut self) -> Result<CheckpointDone> {
        let mut meta = Vec::new();
        put_bytes(&mut meta, &self.tables.encode());
        meta.extend_from_slice(&self.keys.meta());
        Ok(CheckpointDone { keys: self.keys.write(&meta)?, applied: self.tables.applied.index })
    }
}

/// A durable checkpoint.
pub struct CheckpointDone {
    keys: mvcc::CheckpointDone,
    applied: LogIndex,
}

impl CheckpointDone {
    /// The log entry up to which it holds everything.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }
}
