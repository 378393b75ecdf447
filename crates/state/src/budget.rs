//! Budgets of prefixes: who may not grow further, while everybody else goes on.
//!
//! ```text
//!  figure     counts                                 beyond the hard limit are refused
//!  bytes      live pairs and history of the prefix   creates, and rewrites that grow
//!  keys       keys that exist below it               creates
//!  writes/s   puts, out of a bucket of one second    puts
//! ```
//! Deletions, leases' ends and compactions are always served, and so are rewrites that do not grow (by the quota's
//! measure: a kilobyte of metadata more does not count): who is over a budget can be dug out, by graceful deletion too.
//! What such rewrites leave as history counts and is not refused; a limit of writes/s is what slows rewriting down. A
//! txn is judged by the puts of the branch that is carried out, for each prefix by itself, and refused whole. Its
//! deletions make no space for its own puts. A prefix below another counts for both.
//!
//! Invariants: all that decides is the same on every member at the same entry: accounts, the leader's time in the
//! entry, and what the checkpoint's tables hold. That time moves by the leader's ticks, a tenth of a second each, and
//! not while nobody leads. A leader may ask beforehand (`LiveTables::refusal`), so that a flood that is refused
//! anyway does not fill the log; what it lets through is decided in apply. The question changes nothing; refusals are
//! counted by a metric, which apply and leader share. Without budgets nothing of this is looked at. Usage is a sum that
//! the keys' accounts keep, see `mvcc::AccountsReader`.
//! Not here: whether accounts are deep enough for a prefix, which the edge asks first; warnings (`node`).

use crate::quota::grows;
use bytes::Bytes;
use model::{Budget, BudgetFigure, OverBudget};
use mvcc::{AccountsReader, MeterId, Usage};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stdx::metrics::Counter;
use store::RECORD_OVERHEAD_BYTES;

/// A put takes so many tokens.
const TOKENS_PER_PUT: u64 = 1000;

/// A second's worth of puts, filled as time goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) tokens: u64,
    /// Leader time at which that many were in it.
    pub(crate) filled_at_ms: u64,
}

impl Bucket {
    /// The most that a bucket of so many puts a second holds.
    pub(crate) fn capacity(limit: u64) -> u64 {
        limit.saturating_mul(TOKENS_PER_PUT)
    }

    fn full(limit: u64, now_ms: u64) -> Bucket {
        Bucket { tokens: Bucket::capacity(limit), filled_at_ms: now_ms }
    }

    /// A put a second is a token a millisecond.
    fn at(self, limit: u64, now_ms: u64) -> Bucket {
        let since_ms = now_ms.saturating_sub(self.filled_at_ms);
        let tokens = self.tokens.saturating_add(limit.saturating_mul(since_ms)).min(Bucket::capacity(limit));
        Bucket { tokens, filled_at_ms: now_ms.max(self.filled_at_ms) }
    }
}

/// What a checkpoint holds of a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) budget: Budget,
    /// Of the hard limit of writes, if there is one.
    pub(crate) bucket: Option<Bucket>,
}

impl Kept {
    fn new(budget: Budget, now_ms: u64) -> Kept {
        let bucket = budget.hard.writes_per_second.map(|limit| Bucket::full(limit, now_ms));
        Kept { budget, bucket }
    }

    /// Puts that may be made now; `None` for any number.
    fn puts_left(&self, now_ms: u64) -> Option<u64> {
        let limit = self.budget.hard.writes_per_second?;
        Some(self.bucket?.at(limit, now_ms).tokens / TOKENS_PER_PUT)
    }
}

/// Puts counted by seconds of leader time; a measurement, not kept over a restart.
#[derive(Debug, Clone, Copy, Default)]
struct Puts {
    second: u64,
    in_it: u64,
    before: u64,
}

impl Puts {
    fn at(self, now_ms: u64) -> Puts {
        match (now_ms / 1000).saturating_sub(self.second) {
            0 => self,
            1 => Puts { second: self.second + 1, in_it: 0, before: self.in_it },
            _ => Puts { second: now_ms / 1000, in_it: 0, before: 0 },
        }
    }
}

#[derive(Debug)]
struct Entry {
    kept: Kept,
    meter: MeterId,
    puts: Puts,
    /// A metric: nothing is decided by it, and no checkpoint holds it.
    refused: Counter,
}

/// How a prefix stands to its budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetState {
    pub budget: Budget,
    pub usage: Usage,
    /// Puts in the last full second of leader time.
    pub writes_per_second: u64,
    /// Puts that the hard limit leaves for now; `None` if there is none.
    pub writes_left: Option<u64>,
    /// Writes that were refused since this process met the budget, ahead of the log and in apply.
    pub refused: u64,
}

impl BudgetState {
    pub fn used(&self, figure: BudgetFigure) -> u64 {
        match figure {
            BudgetFigure::Bytes => self.usage.retained_bytes,
            BudgetFigure::Keys => self.usage.keys,
            BudgetFigure::WritesPerSecond => self.writes_per_second,
        }
    }

    /// The first figure above its soft limit, with that limit.
    pub fn over_soft(&self) -> Option<(BudgetFigure, u64)> {
        let limits = self.budget.soft.each().into_iter();
        limits.filter_map(|(figure, limit)| Some((figure, limit?))).find(|(figure, limit)| self.used(*figure) > *limit)
    }
}

/// What a command's puts would do to each budget that they touch, in the order in which they touch it.
#[derive(Debug, Default)]
pub(crate) struct BudgetDemand {
    shares: Vec<Share>,
}

#[derive(Debug)]
struct Share {
    meter: MeterId,
    /// Before the command.
    usage: Usage,
    puts: u64,
    creates: u64,
    /// Retained bytes of the new versions.
    bytes: u64,
    grows: bool,
}

impl BudgetDemand {
    /// Adds a put below these meters, whose record of `new` bytes replaces one of `current`.
    pub(crate) fn add(&mut self, meters: &[(MeterId, Usage)], current: Option<u64>, new: u64) {
        for (meter, usage) in meters {
            let at = self.shares.iter().position(|share| share.meter == *meter).unwrap_or_else(|| {
                self.shares.push(Share { meter: *meter, usage: *usage, puts: 0, creates: 0, bytes: 0, grows: false });
                self.shares.len() - 1
            });
            let share = &mut self.shares[at];
            share.puts += 1;
            share.creates += u64::from(current.is_none());
            share.bytes = share.bytes.saturating_add(RECORD_OVERHEAD_BYTES + new);
            share.grows |= grows(current, new);
        }
    }
}

/// All budgets, by prefix.
#[derive(Debug, Default)]
pub(crate) struct BudgetTable {
    meters: BTreeMap<Bytes, MeterId>,
    /// By the meters' places.
    entries: Vec<Option<Entry>>,
}

impl BudgetTable {
    pub(crate) fn is_empty(&self) -> bool {
        self.meters.is_empty()
    }

    /// If one more prefix would be too many.
    pub(crate) fn is_full(&self) -> bool {
        self.meters.len() >= Budget::COUNT_MAX
    }

    pub(crate) fn meter(&self, prefix: &[u8]) -> Option<MeterId> {
        self.meters.get(prefix).copied()
    }

    /// Sets the budget of a prefix whose usage `meter` shows; its bucket is full.
    pub(crate) fn set(&mut self, meter: MeterId, budget: Budget, now_ms: u64) {
        match self.entry_mut(meter) {
            Some(entry) => entry.kept = Kept::new(budget, now_ms),
            None => self.restore(meter, Kept::new(budget, now_ms)),
        }
    }

    /// A budget as it was kept.
    pub(crate) fn restore(&mut self, meter: MeterId, kept: Kept) {
        if self.entries.len() <= meter.place() {
            self.entries.resize_with(meter.place() + 1, || None);
        }
        self.meters.insert(kept.budget.prefix.clone(), meter);
        self.entries[meter.place()] = Some(Entry { kept, meter, puts: Puts::default(), refused: Counter::default() });
    }

    /// False if there is none.
    pub(crate) fn remove(&mut self, prefix: &[u8]) -> bool {
        let Some(meter) = self.meters.remove(prefix) else { return false };
        self.entries[meter.place()] = None;
        true
    }

    pub(crate) fn kept(&self) -> Vec<Kept> {
        self.iter().map(|entry| entry.kept.clone()).collect()
    }

    /// In order of their prefixes.
    fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.meters.values().filter_map(|meter| self.entry(*meter))
    }

    fn entry(&self, meter: MeterId) -> Option<&Entry> {
        self.entries.get(meter.place())?.as_ref()
    }

    fn entry_mut(&mut self, meter: MeterId) -> Option<&mut Entry> {
        self.entries.get_mut(meter.place())?.as_mut()
    }

    /// The first hard limit that would be passed.
    pub(crate) fn over(&self, demand: &BudgetDemand, now_ms: u64) -> Option<Box<OverBudget>> {
        demand.shares.iter().find_map(|share| self.entry(share.meter)?.over(share, now_ms)).map(Box::new)
    }

    /// A command was refused for this. A budget that was removed meanwhile counts nothing.
    pub(crate) fn count_refused(&self, over: &OverBudget) {
        if let Some(entry) = self.meter(&over.prefix).and_then(|meter| self.entry(meter)) {
            entry.refused.increment();
        }
    }

    /// The command was carried out.
    pub(crate) fn charge(&mut self, demand: &BudgetDemand, now_ms: u64) {
        for share in &demand.shares {
            let Some(entry) = self.entry_mut(share.meter) else { continue };
            entry.puts = entry.puts.at(now_ms);
            entry.puts.in_it += share.puts;
            if let (Some(bucket), Some(limit)) = (&mut entry.kept.bucket, entry.kept.budget.hard.writes_per_second) {
                *bucket = bucket.at(limit, now_ms);
                bucket.tokens = bucket.tokens.saturating_sub(share.puts.saturating_mul(TOKENS_PER_PUT));
            }
        }
    }
}

impl Entry {
    fn over(&self, share: &Share, now_ms: u64) -> Option<OverBudget> {
        let Kept { budget, .. } = &self.kept;
        let over = |figure, used: u64, adds: u64, limit: Option<u64>| {
            let limit = limit.filter(|limit| adds > 0 && used.saturating_add(adds) > *limit)?;
            Some(OverBudget { prefix: budget.prefix.clone(), figure, used, adds, limit })
        };
        let bytes = if share.grows { share.bytes } else { 0 };
        over(BudgetFigure::Bytes, share.usage.retained_bytes, bytes, budget.hard.bytes)
            .or_else(|| over(BudgetFigure::Keys, share.usage.keys, share.creates, budget.hard.keys))
            .or_else(|| {
                let left = self.kept.puts_left(now_ms)?;
                let limit = budget.hard.writes_per_second?;
                over(BudgetFigure::WritesPerSecond, limit.saturating_sub(left), share.puts, Some(limit))
            })
    }

    fn state(&self, accounts: &AccountsReader, now_ms: u64) -> BudgetState {
        BudgetState {
            budget: self.kept.budget.clone(),
            usage: accounts.usage(self.meter),
            writes_per_second: self.puts.at(now_ms).before,
            writes_left: self.kept.puts_left(now_ms),
            refused: self.refused.get(),
        }
    }
}

/// The budgets as they are now, from any thread. The lock is held for a few lines by a write below a budget, and by a
/// reader as long as it takes to look at each budget, a thousand at most.
#[derive(Debug, Clone)]
pub struct BudgetReader {
    table: Arc<Mutex<BudgetTable>>,
    accounts: AccountsReader,
}

impl BudgetReader {
    pub(crate) fn new(table: BudgetTable, accounts: AccountsReader) -> BudgetReader {
        BudgetReader { table: Arc::new(Mutex::new(table)), accounts }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, BudgetTable> {
        // A panic while it is held ends the process.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// A write was refused ahead of the log, because `LiveTables::refusal` said this.
    pub fn count_refused(&self, over: &OverBudget) {
        self.lock().count_refused(over);
    }

    /// All budgets in order of their prefixes, with their usage; rates are those at this leader time.
    pub fn list(&self, leader_time_ms: u64) -> Vec<BudgetState> {
        self.lock().iter().map(|entry| entry.state(&self.accounts, leader_time_ms)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_a_second_and_fills_by_the_millisecond() {
        let bucket = Bucket::full(10, 5_000);
        assert_eq!(bucket.tokens, 10_000);
        let taken = Bucket { tokens: 0, ..bucket };
        assert_eq!(taken.at(10, 5_150).tokens, 1_500);
        assert_eq!(taken.at(10, 5_150).at(10, 5_200).tokens, 2_000);
        assert_eq!(taken.at(10, 9_000).tokens, 10_000, "no more than a second's worth");
        assert_eq!(taken.at(10, 4_000), taken, "time that is behind fills nothing");
        assert_eq!(taken.at(0, u64::MAX).tokens, 0);
        assert_eq!(taken.at(u64::MAX, u64::MAX).tokens, u64::MAX);
    }

    #[test]
    fn puts_are_counted_by_the_full_second() {
        let puts = Puts { second: 7, in_it: 5, before: 3 };
        assert_eq!(puts.at(7_999).before, 3);
        assert_eq!((puts.at(8_000).before, puts.at(8_000).in_it), (5, 0));
        assert_eq!(puts.at(9_000).before, 0);
        assert_eq!(puts.at(1_000).before, 3, "time that is behind changes nothing");
    }
}
