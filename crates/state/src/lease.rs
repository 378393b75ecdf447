//! The replicated leases: what each was granted, when it ends, and which keys hang on it.
//!
//! Times are leader time: milliseconds of leadership since the cluster was born, carried by log entries. It stands
//! still while no member leads, so a lease keeps over a restart what it had left.
//!
//! Keep-alives are not in the log; they move the deadline in the leader's `LeaseClock` only. So that an acknowledged
//! keep-alive survives the leader all the same, the leader writes the *first* one of a lease down: the lease is then
//! *renewing*. Whoever leads next cannot know when such a lease was renewed last, and gives it its full time once more
//! (`change_office`). A lease that is not renewing ends exactly at its deadline. The leader settles a lease that was
//! not renewed for half its time by writing down what it has left, after which the next keep-alive is a first one
//! again; one that ends in order settles all. `docs/operate/leases.md` says what restarts add.
//!
//! ```text
//! granted ──first keep-alive written──▶ renewing ──what is left written, or next leader──▶ settled (deadline exact)
//! ```
//!
//! Invariant: a key hangs on at most one lease, and it is the one that the key's current version names.

use crate::lease_terms::{Terms, TermsTree};
use model::{LeaseId, Rejection};
use std::collections::{BTreeMap, BTreeSet};

/// Longest time to live, in seconds (etcd's figure).
pub(crate) const LEASE_TTL_S_MAX: i64 = 9_000_000_000;

/// `ttl_s` in milliseconds; cannot overflow for a time to live within bounds.
pub(crate) fn ttl_ms(ttl_s: i64) -> u64 {
    u64::try_from(ttl_s).unwrap_or(0).saturating_mul(1000)
}

/// All leases.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LeaseTable {
    terms: TermsTree,
    /// The keys of each lease that has some: keys of their own, not slices of log entries, which would keep the
    /// entries' values in memory.
    keys: BTreeMap<LeaseId, BTreeSet<Box<[u8]>>>,
    /// The renewing leases, so that a change of leader touches only them.
    renewing: BTreeSet<LeaseId>,
}

impl LeaseTable {
    /// Leases as a checkpoint lists them, without keys.
    pub(crate) fn new(terms: TermsTree) -> LeaseTable {
        let renewing = terms.iter().filter(|(_, terms)| terms.renewing).map(|(id, _)| id).collect();
        LeaseTable { terms, keys: BTreeMap::new(), renewing }
    }

    /// The terms of all leases.
    pub(crate) fn terms(&self) -> &TermsTree {
        &self.terms
    }

    /// Grants a lease at `now_ms`; answers the time to live that holds.
    pub(crate) fn grant(&mut self, id: LeaseId, ttl_s: i64, now_ms: u64) -> Result<i64, Rejection> {
        if id.is_none() {
            return Err(Rejection::LeaseNotFound);
        }
        if ttl_s > LEASE_TTL_S_MAX {
            return Err(Rejection::LeaseTtlTooLarge);
        }
        if self.contains(id) {
            return Err(Rejection::LeaseExists);
        }
        // The proposing member raises short times to its minimum; below one second none makes sense.
        let ttl_s = ttl_s.max(1);
        let ends_at_ms = now_ms.saturating_add(ttl_ms(ttl_s));
        self.terms.set(id, Terms { ttl_s, ends_at_ms, renewing: false });
        Ok(ttl_s)
    }

    /// Takes a lease away; answers its keys in byte order.
    pub(crate) fn remove(&mut self, id: LeaseId) -> Option<BTreeSet<Box<[u8]>>> {
        self.renewing.remove(&id);
        assert!(self.contains(id) || !self.keys.contains_key(&id), "keys hang on leases that exist");
        self.terms.remove(id).then(|| self.keys.remove(&id).unwrap_or_default())
    }

    pub(crate) fn contains(&self, id: LeaseId) -> bool {
        self.terms.contains(id)
    }

    pub(crate) fn get(&self, id: LeaseId) -> Option<Terms> {
        self.terms.get(id)
    }

    /// The keys of a lease above `after` (all for `None`), in byte order.
    pub(crate) fn keys_after<'a>(
        &'a self,
        id: LeaseId,
        after: Option<&'a [u8]>,
    ) -> impl Iterator<Item = &'a Box<[u8]>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let keys = self.keys.get(&id);
        keys.into_iter().flat_map(move |keys| keys.range::<[u8], _>((after.map_or(Unbounded, Excluded), Unbounded)))
    }

    /// Hangs `key` on a lease. A lease that does not exist is the caller's to refuse before; then nothing happens.
    pub(crate) fn attach(&mut self, id: LeaseId, key: &[u8]) {
        if !self.contains(id) {
            return;
        }
        let keys = self.keys.entry(id).or_default();
        if !keys.contains(key) {
            keys.insert(key.into());
        }
    }

    pub(crate) fn detach(&mut self, id: LeaseId, key: &[u8]) {
        if let Some(keys) = self.keys.get_mut(&id) {
            keys.remove(key);
            if keys.is_empty() {
                self.keys.remove(&id);
            }
        }
    }

    /// Hangs a key on another lease than before; either may be none.
    pub(crate) fn move_key(&mut self, key: &[u8], from: LeaseId, to: LeaseId) {
        self.detach(from, key);
        self.attach(to, key);
    }

    /// Takes over what the leader's clock wrote down at `now_ms`: a lease with its full time left was just renewed and
    /// may be renewed again unwritten; one with less ends then. Leases that are gone are passed over.
    pub(crate) fn checkpoint(&mut self, remaining: &[(LeaseId, u64)], now_ms: u64) {
        for &(id, remaining_ms) in remaining {
            let Some(terms) = self.terms.get(id) else { continue };
            let remaining_ms = remaining_ms.min(terms.ttl_ms());
            let renewing = remaining_ms == terms.ttl_ms();
            self.terms.set(id, Terms { ends_at_ms: now_ms.saturating_add(remaining_ms), renewing, ..terms });
            if renewing {
                self.renewing.insert(id);
            } else {
                self.renewing.remove(&id);
            }
        }
    }

    /// Another term begins at `now_ms`: its leader knows no keep-alive of the one before, so renewing leases get their
    /// full time once more.
    pub(crate) fn change_office(&mut self, now_ms: u64) {
        for id in std::mem::take(&mut self.renewing) {
            let terms = self.terms.get(id).expect("a renewing lease is in the table");
            let ends_at_ms = terms.ends_at_ms.max(now_ms.saturating_add(terms.ttl_ms()));
            self.terms.set(id, Terms { ends_at_ms, renewing: false, ..terms });
        }
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
