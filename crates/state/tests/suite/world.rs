//! A state on a simulated disk, and the log that made it.

use model::{Command, Entry, KeyRange, KeyValue, LogIndex, Range, Rejection, RequestId, Revision, Term, encode_entry};
use mvcc::{RangeItem, RangeResult};
use simdisk::{Random, SimDisk};
use state::{
    AccountDepth, Applied, LiveTables, MeasuredEntry, Membership, OperationOutcome, Options, Outcome, Quota, State,
    StateView, TxnOutcome,
};
use std::path::Path;
use std::sync::Arc;
use store::{Location, Store};

pub struct World {
    pub state: State,
    pub disk: SimDisk,
    pub term: Term,
    pub leader_time_ms: u64,
    quota: Quota,
    strict_latch: bool,
    /// Of the next start.
    pub account_depth: usize,
    /// Everything since the cluster was born; `None` is the empty entry of a term.
    log: Vec<(Term, Option<Vec<u8>>)>,
}

/// How the process ends.
#[derive(Debug, Clone, Copy)]
pub enum End {
    Killed,
    /// The power goes; the seed decides what of the unsynced data is left.
    PowerCut(u64),
}

/// What an answer says once its pairs are loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Put(Option<KeyValue>),
    DeleteRange(u64, Vec<KeyValue>),
    Range(RangeSaid),
    Txn(bool, Vec<Said>),
    Other(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSaid {
    pub pairs: Vec<KeyValue>,
    pub more: bool,
    pub count: u64,
    pub revision: Revision,
}

pub fn membership() -> Membership {
    let urls = vec!["http://localhost:2380".to_string()];
    Membership::bootstrap("etcd-cluster", [("default".to_string(), urls)]).expect("a valid membership")
}

fn open(disk: &SimDisk, quota: Quota, strict_latch: bool, account_depth: usize) -> State {
    let options =
        store::Options { segment_bytes: 4096, allocate_bytes: 1024, reserve_bytes: 0, ..store::Options::default() };
    let opened = Store::open(Arc::new(disk.clone()), Path::new("/data"), options).expect("the disk works");
    let options = Options { quota, strict_latch, account_depth: AccountDepth::new(account_depth).expect("a depth") };
    match opened {
        (store, Some(checkpoint)) => State::open(store, checkpoint, options),
        (store, None) => State::bootstrap(store, membership(), options).and_then(|mut state| {
            // As a member does it: later starts find the quota of the first.
            let done = state.begin_checkpoint()?.write()?;
            state.finish_checkpoint(done).remove().expect("the disk works");
            Ok(state)
        }),
    }
    .expect("the disk works")
}

impl World {
    pub fn new(quota: Quota) -> World {
        World::with_latch(quota, false)
    }

    /// With etcd's NOSPACE alarm if `strict_latch`.
    pub fn with_latch(quota: Quota, strict_latch: bool) -> World {
        World::start(quota, strict_latch, 2)
    }

    /// With accounts of so many components.
    pub fn with_depth(account_depth: usize) -> World {
        World::start(Quota(None), false, account_depth)
    }

    fn start(quota: Quota, strict_latch: bool, account_depth: usize) -> World {
        let disk = SimDisk::new();
        let state = open(&disk, quota, strict_latch, account_depth);
        World { state, disk, term: Term(1), leader_time_ms: 0, quota, strict_latch, account_depth, log: Vec::new() }
    }

    pub fn apply(&mut self, command: Command) -> Applied {
        let entry = Entry { request: RequestId(1), leader_time_ms: self.leader_time_ms, command };
        let bytes = encode_entry(&entry);
        self.log.push((self.term, Some(bytes.clone())));
        let applied = self.apply_logged(self.term, bytes);
        assert_eq!(applied.revision, self.state.revision());
        self.state.flush().expect("the disk works");
        applied
    }

    fn apply_logged(&mut self, term: Term, bytes: Vec<u8>) -> Applied {
        let index = self.next_index();
        let entry = MeasuredEntry::decode(index, bytes.into()).expect("what was encoded");
        self.state.apply(index, term, &entry).expect("the disk works")
    }

    /// A leader begins its term.
    pub fn next_term(&mut self) {
        self.term.0 += 1;
        self.log.push((self.term, None));
        let index = self.next_index();
        self.state.apply_empty(index, self.term);
    }

    fn next_index(&self) -> LogIndex {
        LogIndex(self.state.applied().index.0 + 1)
    }

    /// Works off what was compacted.
    pub fn reclaim(&mut self, keys: usize) -> bool {
        self.state.compaction_step(keys)
    }

    pub fn checkpoint(&mut self) {
        let mut job = self.state.begin_checkpoint().expect("the disk works");
        let done = job.write().expect("the disk works");
        assert_eq!(done.applied(), self.state.applied().index);
        self.state.finish_checkpoint(done).remove().expect("the disk works");
    }

    /// As `restart`, with other flags. Nothing but the quota of a new cluster may follow from them.
    pub fn restart_with(&mut self, end: End, quota: Quota, strict_latch: bool) {
        (self.quota, self.strict_latch) = (quota, strict_latch);
        self.restart(end);
    }

    /// Ends the process and starts it again: the newest checkpoint, and the log behind it.
    pub fn restart(&mut self, end: End) {
        self.disk = match end {
            End::Killed => self.disk.after_kill(),
            End::PowerCut(seed) => self.disk.after_power_cut(&mut Random::new(seed)),
        };
        self.state = open(&self.disk, self.quota, self.strict_latch, self.account_depth);
        let applied = self.state.applied().index.0 as usize;
        let log = std::mem::take(&mut self.log);
        for (term, bytes) in log.iter().skip(applied) {
            match bytes {
                Some(bytes) => drop(self.apply_logged(*term, bytes.clone())),
                None => {
                    let index = self.next_index();
                    self.state.apply_empty(index, *term);
                }
            }
        }
        self.log = log;
        self.state.flush().expect("the disk works");
    }

    pub fn view(&self) -> StateView {
        self.state.view()
    }

    pub fn live(&self) -> LiveTables {
        self.state.live()
    }

    pub fn say(&self, outcome: &Outcome) -> Said {
        say(&self.view(), outcome)
    }

    /// All that is in state, as text: equal states have equal texts.
    pub fn dump(&self) -> String {
        let (view, live) = (self.view(), self.live());
        let current = range(&view, &Range::new(KeyRange::all())).expect("a current read");
        let leases: Vec<_> = live.leases().all();
        let attached: Vec<_> = leases.iter().map(|(id, _)| (*id, live.leases().keys(*id))).collect();
        let alarms: Vec<_> = view.alarms().iter().collect();
        let budgets: Vec<_> = live
            .budgets()
            .list(view.applied().leader_time_ms)
            .into_iter()
            .map(|state| (state.budget, state.usage, state.writes_left))
            .collect();
        let compacted = view.compacted_revision();
        let history: Vec<_> = (compacted.0.max(1)..=view.revision().0)
            .map(|at| {
                let request = Range { revision: Revision(at), ..Range::new(KeyRange::all()) };
                range(&view, &request).map(|said| (said.pairs, said.count)).expect("a readable revision")
            })
            .collect();
        format!(
            "{:?}\n{current:?}\n{history:?}\n{leases:?}\n{attached:?}\n{alarms:?}\n{budgets:?}\n{:?}\ncompacted {compacted} retained {} quota {:?}",
            view.applied(),
            view.membership(),
            view.retained_bytes(),
            view.quota_set(),
        )
    }
}

/// A range read with its pairs loaded.
pub fn range(view: &StateView, request: &Range) -> Result<RangeSaid, Rejection> {
    match view.kv().range(request) {
        Ok(found) => Ok(say_range(view, &found)),
        Err(mvcc::ReadError::Rejected(rejection)) => Err(rejection),
        Err(mvcc::ReadError::Fault(fault)) => panic!("the disk works: {fault}"),
    }
}

fn say_range(view: &StateView, found: &RangeResult) -> RangeSaid {
    let pairs = found.items.iter().map(|item| match item {
        RangeItem::Stored(at) => load(view, &[*at]).remove(0),
        RangeItem::Encoded(encoded) => KeyValue::decode(encoded).expect("a pair"),
    });
    RangeSaid { pairs: pairs.collect(), more: found.more, count: found.count, revision: found.revision }
}

fn load(view: &StateView, locations: &[Location]) -> Vec<KeyValue> {
    let mut records = Vec::new();
    view.kv().load(locations, &mut records).expect("the disk works");
    records.iter().map(|record| KeyValue::decode(record).expect("a stored pair")).collect()
}

fn load_one(view: &StateView, location: Option<Location>) -> Option<KeyValue> {
    load(view, &Vec::from_iter(location)).pop()
}

fn say(view: &StateView, outcome: &Outcome) -> Said {
    match outcome {
        Outcome::Put { prev } => Said::Put(load_one(view, *prev)),
        Outcome::DeleteRange { deleted, prev } => Said::DeleteRange(*deleted, load(view, prev)),
        Outcome::Txn(txn) => say_txn(view, txn),
        other => Said::Other(format!("{other:?}")),
    }
}

pub fn say_txn(view: &StateView, txn: &TxnOutcome) -> Said {
    let responses = txn.responses.iter().map(|response| match response {
        OperationOutcome::Range(found) => Said::Range(say_range(view, found)),
        OperationOutcome::Put { prev, .. } => Said::Put(load_one(view, *prev)),
        OperationOutcome::DeleteRange { deleted, prev, .. } => Said::DeleteRange(*deleted, load(view, prev)),
        OperationOutcome::Txn(inner) => say_txn(view, inner),
    });
    Said::Txn(txn.succeeded, responses.collect())
}
