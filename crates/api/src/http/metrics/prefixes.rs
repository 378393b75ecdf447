//! Who fills the store, as metrics: the largest accounts, and the sum of all others.
//!
//! Cardinality is bounded by `PREFIXES_MAX`. The others have no counters: which accounts they are changes, so that
//! their sum could step back.

use super::text::{Text, Type};
use mvcc::{AccountOrder, AccountStat, AccountsReader};

const PREFIXES_MAX: usize = 20;

/// The same for no two prefixes, whatever bytes they are: two series of one name would spoil everybody's scrape.
pub(super) fn name(prefix: &[u8]) -> String {
    match std::str::from_utf8(prefix) {
        Ok(text) if !text.contains('\\') => text.to_owned(),
        _ => prefix.escape_ascii().to_string(),
    }
}

pub(crate) fn prefixes(text: &mut Text, accounts: &AccountsReader) {
    let mut largest = accounts.top(usize::MAX, AccountOrder::RetainedBytes);
    let others = largest.split_off(largest.len().min(PREFIXES_MAX));
    let names: Vec<String> = largest.iter().map(|stat| name(&stat.prefix)).collect();
    type Figure = fn(&AccountStat) -> u64;
    let gauges: [(&'static str, &str, Figure); 3] = [
        ("bowline_space_prefix_keys", "Keys by prefix.", |stat| stat.keys),
        ("bowline_space_prefix_live_bytes", "Retained bytes of current versions by prefix.", |stat| stat.live_bytes),
        ("bowline_space_prefix_history_bytes", "Retained bytes of history by prefix.", |stat| stat.history_bytes),
    ];
    for (name, help, figure) in gauges {
        let mut family = text.family(name, Type::Gauge, help);
        for (stat, prefix) in largest.iter().zip(&names) {
            family.sample(&[("prefix", prefix)], figure(stat) as f64);
        }
        if !others.is_empty() {
            family.sample(&[("others", "true")], others.iter().map(figure).sum::<u64>() as f64);
        }
    }
    let counters: [(&'static str, &str, Figure); 2] = [
        ("bowline_space_prefix_writes_total", "Puts by prefix.", |stat| stat.writes),
        ("bowline_space_prefix_deletes_total", "Deletions by prefix.", |stat| stat.deletes),
    ];
    for (name, help, figure) in counters {
        let mut family = text.family(name, Type::Counter, help);
        for (stat, prefix) in largest.iter().zip(&names) {
            family.sample(&[("prefix", prefix)], figure(stat) as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_for_all_bytes() {
        assert_eq!(name(b"/registry/pods"), "/registry/pods");
        assert_eq!(name(b"a\xff"), "a\\xff");
        assert_eq!(name(b"a\\xff"), "a\\\\xff");
    }
}
