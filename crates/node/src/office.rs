//! A term of office: what only a leader may do hangs on this value.
//!
//! The driver makes it when the first entry of its own term is applied, because then everything acknowledged before the
//! term is in state; it is published whole, and gone when leadership is lost. There is no flag that says "I lead":
//! whoever acts for a leader holds an office, and one that was lost says so, also to a task that still holds it.
//!
//! Not here: elections (`consensus`), what a leader does with its time (`chores`).

use crate::leader_clock::LeaderClock;
use crate::messages::TermBegun;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Mutex, lock};
use model::{LeaseId, Term};
use state::LeaseClock;

/// How a linearizable read is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// This member is the only voter: its published view holds every acknowledged write and answers at once.
    Alone,
    /// A quorum must say that this member still leads.
    Quorum,
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Office {
    pub(crate) term: Term,
    pub(crate) reads: Reads,
    pub(crate) clock: Arc<LeaderClock>,
    /// Told of grants and ends by apply, of renewals by the rims, asked by the leader's chores.
    leases: Arc<Mutex<LeaseClock>>,
    is_over: AtomicBool,
}

impl Office {
    pub(crate) fn new(begun: TermBegun, reads: Reads) -> Office {
        let TermBegun { term, clock, leases } = begun;
        Office { term, reads, clock, leases, is_over: AtomicBool::new(false) }
    }

    /// Runs a few lines on the lease clock; nothing in there may wait.
    pub(crate) fn with_leases<T>(&self, act: impl FnOnce(&mut LeaseClock) -> T) -> T {
        act(&mut lock(&self.leases))
    }

    /// Milliseconds that a lease has left, 0 when it is about to be revoked; `None` if there is no such lease.
    pub(crate) fn lease_remaining_ms(&self, lease: LeaseId) -> Option<u64> {
        let now_ms = self.clock.now_ms();
        self.with_leases(|leases| leases.remaining_ms(lease, now_ms))
    }

    /// Leadership is lost, or the member stops.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// What was begun under this office must not be acknowledged any more.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}
