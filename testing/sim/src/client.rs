//! What clients ask for: puts, guarded updates as Kubernetes makes them, deletions, reads now and at old revisions,
//! compactions, leases with keys on them and their renewals, budgets, alarms by hand. Each put's value names its
//! request, so that a state tells what happened.
//!
//! Not here: what the answers must be (`checker`).

use crate::history::History;
use bytes::Bytes;
use model::{
    Alarm, AlarmAction, AlarmKind, Budget, Command, Compact, Compare, CompareResult, CompareTarget, DeleteRange,
    KeyRange, LeaseGrant, LeaseId, Limits, MemberId, Operation, Put, PutLease, PutValue, Range, Revision, Txn,
};
use node::{Handle, Refused, Reply};
use simdisk::Random;
use state::StateView;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Below it a budget may be set, and puts may be refused for it.
pub const BUDGET_PREFIX: &str = "/registry/events";
const KINDS: [&str; 4] = ["pods", "configmaps", "events", "leases"];
const NAMES: u64 = 12;
/// The only member there is: its id follows from its peer URL and the cluster's token.
const MEMBER: MemberId = MemberId(0x8e9e_05c5_2164_694d);
const LEASE_TTL_S_MAX: u64 = 15;
/// Leases that the client remembers.
const LEASES_MAX: usize = 12;

/// Names one request of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestNumber(pub u64);

#[derive(Debug, Clone)]
pub enum Request {
    Write(Command),
    KeepAlive(LeaseId),
    Read(Range),
}

#[derive(Debug)]
pub enum Answer {
    Write(Result<Reply, Refused>),
    KeepAlive(Result<i64, Refused>),
    Read(Result<Arc<StateView>, Refused>),
}

/// What somebody has an answer of.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    pub acknowledged: Revision,
    pub compacted: Revision,
}

/// A request that was sent and not answered.
pub struct Flight {
    pub number: RequestNumber,
    pub request: Request,
    pub sent_at: Duration,
    /// The newest revision that anybody had an answer of when it was sent.
    pub floor: Revision,
    /// What was certainly compacted then.
    pub compacted: Revision,
    future: Pin<Box<dyn Future<Output = Answer>>>,
}

impl Flight {
    pub fn send(number: RequestNumber, request: Request, handle: &Handle, sent_at: Duration, known: Known) -> Flight {
        let future: Pin<Box<dyn Future<Output = Answer>>> = match request.clone() {
            Request::Write(command) => {
                let pending = handle.propose(command);
                Box::pin(async move { Answer::Write(pending.await) })
            }
            Request::KeepAlive(lease) => {
                let handle = handle.clone();
                Box::pin(async move { Answer::KeepAlive(handle.keep_alive(lease).await) })
            }
            Request::Read(_) => {
                let pending = handle.read_barrier();
                Box::pin(async move { Answer::Read(pending.await) })
            }
        };
        let Known { acknowledged: floor, compacted } = known;
        Flight { number, request, sent_at, floor, compacted, future }
    }

    /// Answered when the space is given back, however long that takes.
    pub fn waits_for_space(&self) -> bool {
        matches!(&self.request, Request::Write(Command::Compact(compact)) if compact.physical)
    }

    pub fn poll(&mut self) -> Option<Answer> {
        match self.future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }
}

/// Which request comes next, and when.
#[derive(Debug)]
pub struct Client {
    random: Random,
    next_at: Duration,
    interval_ms: u64,
    /// Bounds of the values' length: a power of two.
    value_bits: u64,
    requests: u64,
    leases: Vec<LeaseId>,
}

impl Client {
    pub fn new(mut random: Random) -> Client {
        let interval_ms = 2 + random.below(150);
        // Large values often enough for the store to give space back.
        let value_bits = if random.below(4) == 0 { 19 } else { 5 + random.below(10) };
        Client { random, next_at: Duration::ZERO, interval_ms, value_bits, requests: 0, leases: Vec::new() }
    }

    pub fn next_at(&self) -> Duration {
        self.next_at
    }

    /// The next request. `history` is what the client knows of the store.
    pub fn next(&mut self, now: Duration, history: &History) -> (RequestNumber, Request) {
        self.next_at = now + Duration::from_millis(self.random.below(2 * self.interval_ms));
        let number = self.number();
        let request = match self.random.below(100) {
            0..30 => self.put(number),
            30..52 => Request::Write(Command::Txn(self.update(number, history))),
            52..60 => self.delete(),
            60..63 => Request::Write(Command::Txn(self.put_several(number))),
            63..80 => self.read(history),
            80..83 => self.compact(history),
            83..87 => self.grant(),
            87..89 => self.revoke(),
            89..97 => self.keep_alive(),
            97..99 => self.budget(),
            _ => self.alarm(),
        };
        (number, request)
    }

    /// A put that shows whether anything works. Beside a quota that may be used up, what makes room comes before it,
    /// and where an alarm may be up by hand, its end.
    pub fn probe(&mut self, has_quota: bool, history: &History) -> (RequestNumber, Request) {
        let number = self.number();
        let command = match number.0 % 4 {
            0 if has_quota => Command::DeleteRange(DeleteRange { range: KeyRange::all(), prev_kv: false }),
            1 if has_quota => Command::Compact(Compact { revision: history.revision(), physical: true }),
            2 => no_space(AlarmAction::Deactivate),
            _ => Command::Put(self.put_of("/registry/probes/one".into(), number, 16, LeaseId::NONE)),
        };
        (number, Request::Write(command))
    }

    fn number(&mut self) -> RequestNumber {
        self.requests += 1;
        RequestNumber(self.requests)
    }

    fn key(&mut self) -> Bytes {
        let kind = KINDS[self.random.below(KINDS.len() as u64) as usize];
        format!("/registry/{kind}/{:02}", self.random.below(NAMES)).into()
    }

    fn put_of(&mut self, key: Bytes, number: RequestNumber, length: usize, lease: LeaseId) -> Put {
        let mut value = value_head(number).into_bytes();
        value.resize(value.len() + length, b'a' + (number.0 % 26) as u8);
        Put { key, value: PutValue::Set(value.into()), lease: PutLease::Set(lease), prev_kv: self.random.coin() }
    }

    fn put_any(&mut self, key: Bytes, number: RequestNumber) -> Put {
        let bits = self.random.below(self.value_bits + 1);
        let length = self.random.below(1 << bits) as usize;
        let lease = if self.random.below(5) == 0 { self.lease() } else { LeaseId::NONE };
        self.put_of(key, number, length, lease)
    }

    fn put(&mut self, number: RequestNumber) -> Request {
        let key = self.key();
        Request::Write(Command::Put(self.put_any(key, number)))
    }

    /// One of those it was granted, or perhaps one that never was.
    fn lease(&mut self) -> LeaseId {
        let known = self.leases.len() as u64;
        if known == 0 || self.random.below(20) == 0 {
            return LeaseId(1 + self.random.below(1 << 40) as i64);
        }
        self.leases[self.random.below(known) as usize]
    }

    /// As Kubernetes creates, updates and deletes: if the key is as it was last seen, else a read of it.
    fn update(&mut self, number: RequestNumber, history: &History) -> Txn {
        let key = self.key();
        let seen = history.now(&key).map_or(Revision(0), |pair| pair.mod_revision);
        // Now and then it was seen long ago.
        let seen = if self.random.below(8) == 0 { Revision(seen.0.saturating_sub(1)) } else { seen };
        let range = KeyRange::single(key.clone());
        let compare = Compare { range: range.clone(), result: CompareResult::Equal, target: CompareTarget::Mod(seen) };
        let success = if seen.0 > 0 && self.random.below(4) == 0 {
            Operation::DeleteRange(DeleteRange { range: range.clone(), prev_kv: true })
        } else {
            Operation::Put(self.put_any(key, number))
        };
        Txn { compares: vec![compare], success: vec![success], failure: vec![Operation::Range(Range::new(range))] }
    }

    fn put_several(&mut self, number: RequestNumber) -> Txn {
        let keys: std::collections::BTreeSet<Bytes> = (0..3).map(|_| self.key()).collect();
        let success = keys.into_iter().map(|key| Operation::Put(self.put_any(key, number))).collect();
        Txn { compares: Vec::new(), success, failure: Vec::new() }
    }

    fn delete(&mut self) -> Request {
        let range = if self.random.below(6) == 0 {
            let kind = KINDS[self.random.below(KINDS.len() as u64) as usize];
            KeyRange::prefix(format!("/registry/{kind}/0"))
        } else {
            KeyRange::single(self.key())
        };
        Request::Write(Command::DeleteRange(DeleteRange { range, prev_kv: self.random.coin() }))
    }

    fn read(&mut self, history: &History) -> Request {
        let range = match self.random.below(3) {
            0 => KeyRange::single(self.key()),
            1 => KeyRange::prefix(format!("/registry/{}/", KINDS[self.random.below(KINDS.len() as u64) as usize])),
            _ => KeyRange::all(),
        };
        let newest = history.revision().0 as u64;
        let revision = if self.random.coin() {
            Revision(0)
        } else {
            Revision((newest - self.random.below(newest.min(200))) as i64)
        };
        let limit = if self.random.coin() { 0 } else { 1 + self.random.below(20) };
        Request::Read(Range { revision, limit, ..Range::new(range) })
    }

    /// Never beyond what was seen.
    fn compact(&mut self, history: &History) -> Request {
        let newest = history.revision().0 as u64;
        let revision = Revision((newest - self.random.below(newest.min(100))) as i64);
        Request::Write(Command::Compact(Compact { revision, physical: self.random.coin() }))
    }

    fn grant(&mut self) -> Request {
        let id = LeaseId(1 + self.random.below(1 << 40) as i64);
        if self.leases.len() == LEASES_MAX {
            self.leases.remove(0);
        }
        self.leases.push(id);
        let ttl_s = 1 + self.random.below(LEASE_TTL_S_MAX) as i64;
        Request::Write(Command::LeaseGrant(LeaseGrant { id, ttl_s }))
    }

    fn revoke(&mut self) -> Request {
        Request::Write(Command::LeaseRevoke(self.lease()))
    }

    fn keep_alive(&mut self) -> Request {
        Request::KeepAlive(self.lease())
    }

    /// Raised now and then; disarmed as an operator does it, whether it is up or not.
    fn alarm(&mut self) -> Request {
        let is_raised = self.random.below(4) == 0;
        Request::Write(no_space(if is_raised { AlarmAction::Activate } else { AlarmAction::Deactivate }))
    }

    fn budget(&mut self) -> Request {
        let prefix = Bytes::from_static(BUDGET_PREFIX.as_bytes());
        let hard = Limits { keys: Some(4 + self.random.below(8)), ..Limits::default() };
        Request::Write(match self.random.coin() {
            true => Command::BudgetSet(Budget { prefix, soft: Limits::default(), hard }),
            false => Command::BudgetRemove(prefix),
        })
    }
}

/// The one that the quota raises, too.
fn no_space(action: AlarmAction) -> Command {
    Command::Alarm(Alarm { action, member: MEMBER, kind: AlarmKind::NoSpace })
}

fn value_head(number: RequestNumber) -> String {
    format!("request {};", number.0)
}

/// The request that put this value.
pub fn request_of(value: &[u8]) -> Option<RequestNumber> {
    let digits = value.strip_prefix(b"request ")?.split(|&byte| byte == b';').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok().map(RequestNumber)
}
