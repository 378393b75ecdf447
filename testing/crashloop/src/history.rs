//! What clients did and saw, and whether a state read after a restart can follow from it.
//!
//! Each writer owns its keys and writes increasing numbers, one at a time, so what a key may hold is known exactly: the
//! last acknowledged number, or a later one whose answer was lost.

use std::collections::BTreeMap;

#[derive(Default)]
pub struct History {
    keys: BTreeMap<String, Key>,
    writes_begun: u64,
    acknowledged: usize,
    revision_max: i64,
    /// Events by revision, each seen once.
    watched: BTreeMap<i64, (Vec<u8>, Vec<u8>)>,
    problems: Vec<String>,
}

#[derive(Default, Clone)]
struct Key {
    acknowledged: Option<u64>,
    acknowledged_revision: i64,
    /// Begun behind the last acknowledged one and never answered.
    unknown: Vec<u64>,
}

impl History {
    /// The next write of `writer`: a key and a number greater than any before.
    pub fn begin(&mut self, writer: usize, keys_per_writer: usize) -> (String, u64) {
        self.writes_begun += 1;
        let number = self.writes_begun;
        let key = format!("k{writer:02}-{:02}", number as usize % keys_per_writer);
        self.keys.entry(key.clone()).or_default().unknown.push(number);
        (key, number)
    }

    pub fn acknowledge(&mut self, key: &str, number: u64, revision: i64) {
        self.acknowledged += 1;
        self.revision_max = self.revision_max.max(revision);
        let Some(key) = self.keys.get_mut(key) else { return };
        key.unknown.retain(|&begun| begun > number);
        key.acknowledged = Some(number);
        key.acknowledged_revision = revision;
    }

    pub fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    pub fn watched(&self) -> usize {
        self.watched.len()
    }

    /// Where a resumed watch begins.
    pub fn next_watched(&self) -> i64 {
        self.watched.last_key_value().map_or(2, |(revision, _)| revision + 1)
    }

    pub fn watch_saw(&mut self, revision: i64, key: &[u8], value: &[u8]) {
        let last = self.watched.last_key_value().map_or(1, |(revision, _)| *revision);
        if revision != last + 1 {
            self.problems.push(format!("watch: event of revision {revision} came behind {last}"));
        }
        if self.watched.insert(revision, (key.to_vec(), value.to_vec())).is_some() {
            self.problems.push(format!("watch: revision {revision} came twice"));
        }
    }

    /// Problems found so far and in this state; the next check begins anew.
    pub fn check<'a>(&mut self, revision: i64, state: impl Iterator<Item = (&'a [u8], &'a [u8], i64)>) -> Vec<String> {
        let mut problems = std::mem::take(&mut self.problems);
        if revision < self.revision_max {
            problems.push(format!("revision stepped back from {} to {revision}", self.revision_max));
        }
        let mut found: BTreeMap<String, (u64, i64)> = BTreeMap::new();
        for (key, value, mod_revision) in state {
            let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
            found.insert(String::from_utf8_lossy(key).into_owned(), (number, mod_revision));
            let watched = self.watched.get(&mod_revision);
            if watched.is_some_and(|(watched_key, watched_value)| watched_key != key || watched_value != value) {
                problems.push(format!("revision {mod_revision} holds something else than its event said"));
            }
        }
        for (name, key) in &mut self.keys {
            check_key(name, key, found.get(name), &mut problems);
        }
        self.revision_max = self.revision_max.max(revision);
        problems
    }
}

/// A key may hold its last acknowledged number or one that was begun later; from now on what it holds counts as
/// acknowledged.
fn check_key(name: &str, key: &mut Key, found: Option<&(u64, i64)>, problems: &mut Vec<String>) {
    match found {
        None if key.acknowledged.is_some() => {
            problems.push(format!("{name}: acknowledged write {:?} is gone", key.acknowledged));
        }
        None => {}
        Some(&(number, revision)) => {
            let known = key.acknowledged == Some(number) || key.unknown.contains(&number);
            if !known {
                problems.push(format!("{name}: holds {number}, acknowledged was {:?}", key.acknowledged));
            }
            if revision < key.acknowledged_revision {
                problems.push(format!("{name}: revision {revision} is below {}", key.acknowledged_revision));
            }
            key.acknowledged = Some(number);
            key.acknowledged_revision = revision;
        }
    }
    key.unknown.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledged_write() -> (History, String) {
        let mut history = History::default();
        let (key, number) = history.begin(0, 1);
        history.acknowledge(&key, number, 2);
        (history, key)
    }

    #[test]
    fn a_lost_write_is_found() {
        let (mut history, _) = acknowledged_write();
        assert_eq!(history.check(2, std::iter::empty()).len(), 1);
    }

    #[test]
    fn an_older_value_and_an_older_revision_are_found() {
        let (mut history, key) = acknowledged_write();
        let (_, number) = history.begin(0, 1);
        history.acknowledge(&key, number, 3);
        let state = [(key.as_bytes(), b"1".as_slice(), 2)];
        assert_eq!(history.check(2, state.into_iter()).len(), 3);
    }

    #[test]
    fn an_unanswered_write_may_be_there_or_not() {
        for value in ["1", "2"] {
            let (mut history, key) = acknowledged_write();
            history.begin(0, 1);
            let state = [(key.as_bytes(), value.as_bytes(), 2)];
            assert!(history.check(3, state.into_iter()).is_empty());
        }
    }

    #[test]
    fn a_gap_and_a_repetition_in_a_watch_are_found() {
        let mut history = History::default();
        for revision in [2, 3, 5, 5] {
            history.watch_saw(revision, b"k", b"1");
        }
        assert_eq!(history.check(5, std::iter::empty()).len(), 3);
    }
}
