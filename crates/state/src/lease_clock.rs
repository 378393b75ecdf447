//! The leader's lease clock: which lease has run out, and what must be written down of the keep-alives it answered.
//!
//! A plain structure whose callers tell it the time (leader time, in milliseconds). A leader has one for its term of
//! office: it is built from the replicated table when a member takes office, and goes when the office does. Three share
//! it behind one lock, which each holds for a few lines: apply reports grants, revokes and checkpoints as it applies
//! them, the rims renew leases, the driver asks what ran out and what is to be written down. Nothing here is
//! replicated: what it decides reaches state as commands.
//!
//! Each lease has one valid entry in a heap of due times. A keep-alive moves the deadline and leaves the entry where it
//! is; when the entry comes due, the lease is looked at and queued anew. So a keep-alive costs one look-up.
//!
//! Invariants: a lease that ran out is never renewed, even before its revoke is applied; no lease is reported as run
//! out before its full time passed since the last keep-alive answered with success.

use crate::lease::ttl_ms;
use crate::lease_terms::TermsTree;
use model::LeaseId;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

/// A lease reported as run out whose revoke was not applied is reported again after this (etcd's figure).
const REVOKE_RETRY_MS: u64 = 3_000;
/// Leases with less than this are not settled: their full time once more is little, and a client that renews one has
/// little time to find a member that was started again.
const SETTLE_TTL_MS_MIN: u64 = 10_000;
/// Leases that one checkpoint command lists at most; it stays well below the size limit of a request.
const CHECKPOINT_LEASES_MAX: usize = 50_000;
/// While there are leases, as much of a term may be missing from the log as it holds already, within these bounds: a
/// kill takes back no more than half of the term.
const UNLOGGED_MS_MIN: u64 = 100;
const UNLOGGED_MS_MAX: u64 = 10_000;

/// See the file's head.
#[derive(Debug, Default)]
pub struct LeaseClock {
    // hash order: only looked up; what is told of many leases comes from the heap or the ordered set, or is sorted.
    leases: HashMap<LeaseId, Timing>,
    due: BinaryHeap<Reverse<(u64, LeaseId)>>,
    /// Leases with something to write down.
    unwritten: BTreeSet<LeaseId>,
    /// When its term of office began.
    began_at_ms: u64,
    /// When time was to be written down last.
    stamped_at_ms: u64,
}

#[derive(Debug)]
struct Timing {
    ttl_s: i64,
    ends_at_ms: u64,
    /// Due time of the valid heap entry.
    queued_at_ms: u64,
    /// The log says that this lease is renewing.
    renewing: bool,
    write: Write,
    /// A command that says otherwise may be on its way.
    settling: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    Nothing,
    /// That it is renewing.
    Renewing,
    /// What it has left.
    Settled,
}

impl LeaseClock {
    /// The clock of a member that takes office.
    pub(crate) fn new(leases: &TermsTree, now_ms: u64) -> LeaseClock {
        // Both are built in one go: a million leases must not delay a member that takes office.
        let timings = leases.iter().map(|(id, terms)| (id, Timing::new(terms.ttl_s, terms.ends_at_ms, terms.renewing)));
        let due: Vec<_> = leases.iter().map(|(id, terms)| Reverse((terms.ends_at_ms, id))).collect();
        let mut clock = LeaseClock { due: due.into(), began_at_ms: now_ms, ..LeaseClock::default() };
        clock.leases.reserve(leases.len());
        clock.leases.extend(timings);
        assert_eq!(clock.leases.len(), clock.due.len(), "each lease comes due once");
        clock
    }

    /// A grant was applied.
    pub fn granted(&mut self, id: LeaseId, ttl_s: i64, now_ms: u64) {
        let ends_at_ms = now_ms.saturating_add(ttl_ms(ttl_s));
        self.leases.insert(id, Timing::new(ttl_s, ends_at_ms, false));
        self.due.push(Reverse((ends_at_ms, id)));
    }

    /// A revoke was applied.
    pub fn revoked(&mut self, id: LeaseId) {
        self.leases.remove(&id);
        // Entries of revoked leases leave the heap when they come due; a store of many short-lived leases with long
        // times must not collect them without bound.
        if self.due.len() > 64 && self.due.len() > 2 * self.leases.len() {
            let leases = &self.leases;
            self.due.retain(|Reverse((at_ms, id))| leases.get(id).is_some_and(|lease| lease.queued_at_ms == *at_ms));
        }
    }

    /// A checkpoint command was applied.
    pub fn checkpointed(&mut self, remaining: &[(LeaseId, u64)]) {
        for &(id, remaining_ms) in remaining {
            let Some(lease) = self.leases.get_mut(&id) else { continue };
            let wrote_renewing = remaining_ms >= ttl_ms(lease.ttl_s);
            match lease.write {
                Write::Renewing if !wrote_renewing => {}
                Write::Settled if wrote_renewing => {}
                _ => lease.write = Write::Nothing,
            }
            lease.renewing = wrote_renewing;
            lease.settling &= wrote_renewing;
        }
    }

    /// Renews a lease; its time to live in seconds, or `None` if there is no such lease or it has run out. Like every
    /// end of a lease, that is judged by what the clock shows; the new end counts from a time that is certainly not
    /// before now.
    pub fn keep_alive(&mut self, id: LeaseId, now_ms: u64, at_most_ms: u64) -> Option<i64> {
        let lease = self.leases.get_mut(&id).filter(|lease| now_ms < lease.ends_at_ms)?;
        lease.ends_at_ms = at_most_ms.saturating_add(ttl_ms(lease.ttl_s));
        if (!lease.renewing || lease.write == Write::Settled) && lease.write != Write::Renewing {
            lease.write = Write::Renewing;
            self.unwritten.insert(id);
            lease.queued_at_ms = lease.next_look_ms(now_ms);
            self.due.push(Reverse((lease.queued_at_ms, id)));
        }
        Some(lease.ttl_s)
    }

    /// True if the log says that this lease is renewing: an acknowledged keep-alive then survives the leader. The first
    /// keep-alive of a lease is only safe to acknowledge once `checkpoint_of` was applied, and so is one behind whose
    /// back the lease is being settled.
    pub fn is_renewing(&self, id: LeaseId) -> bool {
        let is_sure = |lease: &Timing| lease.renewing && !lease.settling && lease.write != Write::Settled;
        self.leases.get(&id).is_some_and(is_sure)
    }

    /// What a checkpoint command must say so that `is_renewing`.
    pub fn checkpoint_of(&self, id: LeaseId) -> Option<(LeaseId, u64)> {
        self.leases.get(&id).map(|lease| (id, ttl_ms(lease.ttl_s)))
    }

    /// Milliseconds a lease has left, 0 when it is about to be revoked; `None` if there is no such lease.
    pub fn remaining_ms(&self, id: LeaseId, now_ms: u64) -> Option<u64> {
        self.leases.get(&id).map(|lease| lease.ends_at_ms.saturating_sub(now_ms))
    }

    pub fn len(&self) -> usize {
        self.leases.len()
    }

    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// Up to `limit` leases that ran out and should be revoked. Each is reported once, and again if it still exists
    /// after three seconds.
    pub fn expired(&mut self, now_ms: u64, limit: usize) -> Vec<LeaseId> {
        let mut expired = Vec::new();
        while expired.len() < limit {
            let Some(&Reverse((at_ms, id))) = self.due.peek() else { break };
            if at_ms > now_ms {
                break;
            }
            self.due.pop();
            let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.queued_at_ms == at_ms) else { continue };
            lease.queued_at_ms = if lease.ends_at_ms <= now_ms {
                expired.push(id);
                now_ms.saturating_add(REVOKE_RETRY_MS)
            } else {
                if lease.wants_settling(now_ms) {
                    lease.write = Write::Settled;
                    self.unwritten.insert(id);
                }
                lease.next_look_ms(now_ms)
            };
            self.due.push(Reverse((lease.queued_at_ms, id)));
        }
        expired
    }

    /// The remaining times that the next checkpoint command should list. What is listed is listed again until
    /// `checkpointed` confirms it.
    pub fn to_checkpoint(&mut self, now_ms: u64) -> Vec<(LeaseId, u64)> {
        let leases = &mut self.leases;
        self.unwritten.retain(|id| leases.get(id).is_some_and(|lease| lease.write != Write::Nothing));
        let listed = self.unwritten.iter().take(CHECKPOINT_LEASES_MAX).filter_map(|id| {
            let lease = leases.get_mut(id)?;
            lease.settling |= lease.write == Write::Settled;
            let remaining_ms = match lease.write {
                Write::Renewing => ttl_ms(lease.ttl_s),
                _ => lease.settled_ms(now_ms),
            };
            Some((*id, remaining_ms))
        });
        listed.collect()
    }

    /// True if time itself is to be written down, so that a restart knows how much has passed: `logged_ms` is what the
    /// log says.
    pub fn is_time_due(&mut self, now_ms: u64, logged_ms: u64) -> bool {
        let logged_ms = self.stamped_at_ms.max(logged_ms).max(self.began_at_ms);
        let may_be_unlogged_ms = (logged_ms - self.began_at_ms).clamp(UNLOGGED_MS_MIN, UNLOGGED_MS_MAX);
        let is_due = !self.leases.is_empty() && now_ms >= logged_ms.saturating_add(may_be_unlogged_ms);
        if is_due {
            self.stamped_at_ms = now_ms;
        }
        is_due
    }

    /// What the last checkpoint commands of an office must list, so that the next one knows what every lease has left;
    /// at least one, for the time, if there are leases. No keep-alive may be acknowledged behind this.
    pub fn last_checkpoints(&self, now_ms: u64) -> Vec<Vec<(LeaseId, u64)>> {
        if self.leases.is_empty() {
            return Vec::new();
        }
        let unsure = self.leases.iter().filter_map(|(id, lease)| Some((*id, lease.last_ms(now_ms)?)));
        let mut listed: Vec<_> = unsure.collect();
        listed.sort_unstable();
        let mut checkpoints: Vec<_> = listed.chunks(CHECKPOINT_LEASES_MAX).map(<[_]>::to_vec).collect();
        if checkpoints.is_empty() {
            checkpoints.push(Vec::new());
        }
        checkpoints
    }
}

impl Timing {
    fn new(ttl_s: i64, ends_at_ms: u64, renewing: bool) -> Timing {
        Timing { ttl_s, ends_at_ms, queued_at_ms: ends_at_ms, renewing, write: Write::Nothing, settling: false }
    }

    /// What it has left, and not so much that it reads as renewing.
    fn settled_ms(&self, now_ms: u64) -> u64 {
        self.ends_at_ms.saturating_sub(now_ms).min(ttl_ms(self.ttl_s) - 1)
    }

    /// What is written of it when the office ends in order, unless the log knows already what the next one must.
    fn last_ms(&self, now_ms: u64) -> Option<u64> {
        let (ttl_ms, is_unwritten) = (ttl_ms(self.ttl_s), self.write == Write::Renewing);
        if ttl_ms < SETTLE_TTL_MS_MIN {
            return is_unwritten.then_some(ttl_ms);
        }
        (self.renewing || is_unwritten).then(|| self.settled_ms(now_ms))
    }

    /// Not renewed for half its time: it probably will not be again.
    fn wants_settling(&self, now_ms: u64) -> bool {
        let ttl_ms = ttl_ms(self.ttl_s);
        let renewed_at_ms = self.ends_at_ms.saturating_sub(ttl_ms);
        self.renewing && ttl_ms >= SETTLE_TTL_MS_MIN && now_ms >= renewed_at_ms.saturating_add(ttl_ms / 2)
    }

    /// When to look at a lease that has not run out: at its end, or before that when it may have to be settled.
    fn next_look_ms(&self, now_ms: u64) -> u64 {
        let ttl_ms = ttl_ms(self.ttl_s);
        let half_ms = self.ends_at_ms.saturating_sub(ttl_ms / 2);
        if ttl_ms >= SETTLE_TTL_MS_MIN && half_ms > now_ms { half_ms } else { self.ends_at_ms }
    }
}

#[cfg(test)]
#[path = "lease_clock_tests.rs"]
mod tests;
