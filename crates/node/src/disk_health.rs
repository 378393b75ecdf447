//! How the member's disks are: which of them does not take writes, in what way, and since when.
//!
//! ```text
//! log          full, fails, is read-only      while a group cannot be written (`log`)
//! background   the log's disk is full         while its next segment has no space
//! apply        the store's disk is full       from a record that found no space until there is much again
//!              fails                          while a checkpoint or a copy cannot be written; for good once a write of
//!                                             records failed
//! driver       does not return                while the log or apply waits for it too long
//! ```
//! Each says what it finds under a sign of its own; who asks gets the worst. A sign that goes up or down is one line of
//! the log. While a disk is full growth is refused before it is proposed, so that what shrinks the store finds space.
//!
//! Not here: what is refused, and in which words for clients (`handle`, `driver`, `api`).

use crate::sync::{Mutex, lock};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What the disk is for. Both may be the same disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiskUse {
    Log,
    Store,
}

impl DiskUse {
    pub const ALL: [DiskUse; 2] = [DiskUse::Log, DiskUse::Store];

    /// In a metric's label.
    pub fn name(self) -> &'static str {
        match self {
            DiskUse::Log => "log",
            DiskUse::Store => "store",
        }
    }
}

/// In what way it does not take writes; a later one is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ailment {
    /// No space, or a quota or a limit of a file's size is met. What shrinks the store is served as far as it can be.
    Full,
    ReadOnly,
    /// A write has not returned for a while.
    Stuck,
    Failing,
    /// What was written is in doubt: only a new start finds out from the log what there is.
    Failed,
}

impl Ailment {
    pub const ALL: [Ailment; 5] = [Ailment::Full, Ailment::ReadOnly, Ailment::Stuck, Ailment::Failing, Ailment::Failed];

    /// In a metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Ailment::Full => "full",
            Ailment::ReadOnly => "read_only",
            Ailment::Stuck => "stuck",
            Ailment::Failing => "failing",
            Ailment::Failed => "failed",
        }
    }

    /// What an error of the disk says.
    pub(crate) fn of(is_no_space: bool, is_read_only: bool) -> Ailment {
        match (is_no_space, is_read_only) {
            (true, _) => Ailment::Full,
            (false, true) => Ailment::ReadOnly,
            (false, false) => Ailment::Failing,
        }
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DiskTrouble {
    pub disk: DiskUse,
    pub ailment: Ailment,
}

impl fmt::Display for DiskTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.disk {
            DiskUse::Log => "the disk of the raft log ",
            DiskUse::Store => "the disk of the store ",
        })?;
        f.write_str(match self.ailment {
            Ailment::Full => "is full",
            Ailment::ReadOnly => "is read-only",
            Ailment::Stuck => "does not return from a write",
            Ailment::Failing => "fails",
            Ailment::Failed => "failed",
        })
    }
}

/// A disk that does not take writes, or not all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SickDisk {
    pub trouble: DiskTrouble,
    /// For so long already.
    pub lasts: Duration,
}

impl fmt::Display for SickDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, for {} s", self.trouble, self.lasts.as_secs())
    }
}

/// Who found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    LogStalled,
    LogShort,
    LogStuck,
    /// For good.
    StoreFailed,
    StoreShort,
    StoreStuck,
    /// A checkpoint, copies or a removal, which are tried again.
    StoreUpkeep,
}

impl Sign {
    const COUNT: usize = 7;
    const ALL: [Sign; Sign::COUNT] = [
        Sign::LogStalled,
        Sign::LogShort,
        Sign::LogStuck,
        Sign::StoreFailed,
        Sign::StoreShort,
        Sign::StoreStuck,
        Sign::StoreUpkeep,
    ];

    fn disk(self) -> DiskUse {
        match self {
            Sign::LogStalled | Sign::LogShort | Sign::LogStuck => DiskUse::Log,
            Sign::StoreFailed | Sign::StoreShort | Sign::StoreStuck | Sign::StoreUpkeep => DiskUse::Store,
        }
    }
}

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct DiskHealth {
    signs: Mutex<[Option<(Ailment, Duration)>; Sign::COUNT]>,
    /// What every request looks at.
    is_sick: AtomicBool,
}

impl DiskHealth {
    /// The sign is up, from `since` on.
    pub(crate) fn raise(&self, sign: Sign, ailment: Ailment, error: &dyn fmt::Display, since: Duration) {
        let mut signs = lock(&self.signs);
        let slot = &mut signs[sign as usize];
        if slot.is_some_and(|(known, _)| known == ailment) {
            return;
        }
        *slot = Some((ailment, since));
        self.is_sick.store(true, Ordering::Relaxed);
        drop(signs);
        let trouble = DiskTrouble { disk: sign.disk(), ailment };
        match ailment {
            Ailment::Full => tracing::error!(
                error = %error,
                "{trouble}: what grows is refused until there is space again; reads, deletions and compaction are served"
            ),
            Ailment::Failed => {
                tracing::error!(error = %error, "{trouble}: writes are refused until a restart, reads go on");
            }
            Ailment::ReadOnly | Ailment::Stuck | Ailment::Failing => {
                tracing::error!(error = %error, "{trouble}: writes are refused until it takes them again, reads go on");
            }
        }
    }

    /// The sign is down.
    pub(crate) fn clear(&self, sign: Sign) {
        if !self.is_sick() {
            return;
        }
        let mut signs = lock(&self.signs);
        let cleared = signs[sign as usize].take();
        self.is_sick.store(signs.iter().any(Option::is_some), Ordering::Relaxed);
        drop(signs);
        if let Some((ailment, _)) = cleared {
            let trouble = DiskTrouble { disk: sign.disk(), ailment };
            tracing::warn!("it is over that {trouble}: writes go on");
        }
    }

    pub(crate) fn is_sick(&self) -> bool {
        self.is_sick.load(Ordering::Relaxed)
    }

    /// The worst of all disks.
    pub(crate) fn trouble(&self) -> Option<DiskTrouble> {
        let sick = DiskUse::ALL.into_iter().filter_map(|disk| self.of(disk, Duration::ZERO));
        sick.map(|sick| sick.trouble).max_by_key(|trouble| trouble.ailment)
    }

    /// The worst of one.
    pub(crate) fn of(&self, disk: DiskUse, now: Duration) -> Option<SickDisk> {
        if !self.is_sick() {
            return None;
        }
        let signs = lock(&self.signs);
        let own = Sign::ALL.into_iter().filter(|sign| sign.disk() == disk).filter_map(|sign| signs[sign as usize]);
        let worst = own.max_by_key(|(ailment, since)| (*ailment, std::cmp::Reverse(*since)));
        worst.map(|(ailment, since)| {
            let trouble = DiskTrouble { disk, ailment };
            SickDisk { trouble, lasts: now.saturating_sub(since) }
        })
    }

    /// Growth is to be refused, for this reason.
    pub(crate) fn refuses_growth(&self) -> Option<DiskTrouble> {
        if !self.is_sick() {
            return None;
        }
        let signs = lock(&self.signs);
        let full = |sign: &Sign| signs[*sign as usize].is_some_and(|(ailment, _)| ailment == Ailment::Full);
        let sign = [Sign::LogStalled, Sign::LogShort, Sign::StoreShort].into_iter().find(full)?;
        Some(DiskTrouble { disk: sign.disk(), ailment: Ailment::Full })
    }

    /// Nothing will be written to the store any more.
    pub(crate) fn store_failed(&self) -> Option<DiskTrouble> {
        if !self.is_sick() {
            return None;
        }
        let (ailment, _) = lock(&self.signs)[Sign::StoreFailed as usize]?;
        Some(DiskTrouble { disk: DiskUse::Store, ailment })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn the_worst_is_told_with_its_time_until_it_is_over() {
        let health = DiskHealth::default();
        assert_eq!((health.trouble(), health.refuses_growth()), (None, None));
        health.raise(Sign::LogShort, Ailment::Full, &"no space", seconds(10));
        health.raise(Sign::LogShort, Ailment::Full, &"no space", seconds(11));
        let full = DiskTrouble { disk: DiskUse::Log, ailment: Ailment::Full };
        let found = health.of(DiskUse::Log, seconds(15));
        assert_eq!(found, Some(SickDisk { trouble: full, lasts: seconds(5) }));
        assert_eq!(found.map(|sick| sick.to_string()).as_deref(), Some("the disk of the raft log is full, for 5 s"));
        assert_eq!(health.refuses_growth(), Some(full));
        health.raise(Sign::LogStalled, Ailment::Failing, &"I/O error", seconds(12));
        let failing = DiskTrouble { ailment: Ailment::Failing, ..full };
        assert_eq!(health.of(DiskUse::Log, seconds(15)), Some(SickDisk { trouble: failing, lasts: seconds(3) }));
        assert_eq!((health.trouble(), health.of(DiskUse::Store, seconds(15))), (Some(failing), None));
        health.clear(Sign::LogStalled);
        assert_eq!(health.trouble(), Some(full));
        health.clear(Sign::LogShort);
        assert!(!health.is_sick() && health.trouble().is_none());
    }

    #[test]
    fn a_failed_store_is_told_apart_from_upkeep_that_is_tried_again() {
        let health = DiskHealth::default();
        health.raise(Sign::StoreUpkeep, Ailment::Failing, &"I/O error", seconds(1));
        assert_eq!(health.store_failed(), None);
        health.raise(Sign::StoreFailed, Ailment::Failed, &"I/O error", seconds(2));
        let trouble = DiskTrouble { disk: DiskUse::Store, ailment: Ailment::Failed };
        assert_eq!(health.store_failed(), Some(trouble));
        assert_eq!(trouble.to_string(), "the disk of the store failed");
    }
}
