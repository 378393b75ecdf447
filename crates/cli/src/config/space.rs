//! How much history is kept, and what happens when the quota is met.

use super::bounded;
use crate::flags::Settings;
use crate::flags::value::parse_duration;
use mvcc::AccountDepth;
use node::AutoCompaction;
use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub struct Space {
    /// `None`: the server compacts nothing by itself.
    pub auto_compaction: Option<AutoCompaction>,
    /// History that is kept when the quota is nearly used up; `None`: all of it.
    pub pressure_retention: Option<Duration>,
    /// NOSPACE as in etcd.
    pub strict_latch: bool,
    pub account_depth: AccountDepth,
}

pub fn read(settings: &Settings) -> Result<Space, String> {
    let pressure_retention = Duration::from_nanos(bounded(settings.number("space-pressure-retention")));
    Ok(Space {
        auto_compaction: auto_compaction(
            settings.text("auto-compaction-mode"),
            settings.text("auto-compaction-retention"),
        )?,
        pressure_retention: Some(pressure_retention).filter(|retention| !retention.is_zero()),
        strict_latch: settings.bool("space-strict-etcd"),
        account_depth: AccountDepth::new(bounded(settings.number("space-account-depth")))
            .expect("the bounds of the flag are those of the depth"),
    })
}

/// A number without a unit is hours, or revisions; anything else is a Go duration, of which etcd takes the nanoseconds
/// for revisions in that mode, and so do we.
fn auto_compaction(mode: &str, retention: &str) -> Result<Option<AutoCompaction>, String> {
    let by_revision = match mode {
        "periodic" => false,
        "revision" => true,
        "" => return Err("undefined auto-compaction-mode".to_owned()),
        other => return Err(format!("unknown auto-compaction-mode {other:?}")),
    };
    let complaint = || format!("error parsing CompactionRetention: time: invalid duration {retention:?}");
    let amount = match retention.parse::<u64>() {
        Ok(number) if by_revision => number,
        Ok(hours) => hours.checked_mul(3_600_000_000_000).ok_or_else(complaint)?,
        Err(_) if retention.is_empty() => 0,
        Err(_) => parse_duration(retention).and_then(|ns| u64::try_from(ns).ok()).ok_or_else(complaint)?,
    };
    Ok(match amount {
        0 => None,
        revisions if by_revision => Some(AutoCompaction::Revisions(revisions)),
        nanoseconds => Some(AutoCompaction::Periodic(Duration::from_nanos(nanoseconds))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retentions_are_etcds() {
        let hours = |n: u64| Ok(Some(AutoCompaction::Periodic(Duration::from_secs(3600 * n))));
        assert_eq!(auto_compaction("periodic", "1"), hours(1));
        assert_eq!(auto_compaction("periodic", "8h"), hours(8));
        assert_eq!(auto_compaction("periodic", "30m"), Ok(Some(AutoCompaction::Periodic(Duration::from_secs(1800)))));
        assert_eq!(auto_compaction("revision", "1000"), Ok(Some(AutoCompaction::Revisions(1000))));
        for off in ["0", "", "0s"] {
            assert_eq!(auto_compaction("periodic", off), Ok(None));
            assert_eq!(auto_compaction("revision", off), Ok(None));
        }
        for wrong in ["-1", "-5m", "x", "1d", "18446744073709551615"] {
            let complaint = auto_compaction("periodic", wrong).expect_err("not a retention");
            assert!(complaint.starts_with("error parsing CompactionRetention: "), "{complaint}");
        }
        assert_eq!(auto_compaction("foo", "1"), Err("unknown auto-compaction-mode \"foo\"".to_owned()));
        assert_eq!(auto_compaction("", "1"), Err("undefined auto-compaction-mode".to_owned()));
    }
}
