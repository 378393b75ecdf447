//! Who fills the store: keys and retained bytes per key prefix, always on.
//!
//! ```text
//! /registry/pods/default/web-0                                       account /registry/pods
//! /registry/reports.kyverno.io/ephemeralreports/default/1b2c          account /registry/reports.kyverno.io/ephemeralreports
//! /registry/health, compact_rev_key                                   accounts /registry and the empty one
//! ```
//! A key's account is its directory, cut at a depth of components; a last component with a dot is an API group, to which the
//! next one belongs. A key's own name never is part of it.
//!
//! Invariants: keys and bytes are exact after any history, and the bytes of all accounts are the store's retained bytes. They
//! are rebuilt when the key index is loaded. A write costs one lookup. An account without keys and bytes is forgotten, so that there
//! are never more accounts than keys and deletions.
//! Not here: budgets and who may grow (`state`); rates, which need a clock.

use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many components of a key's directory name its account, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountDepth(usize);

/// What Kubernetes' keys need: `/registry/<resource>`.
const DEPTH_DEFAULT: usize = 2;

impl Default for AccountDepth {
    fn default() -> AccountDepth {
        AccountDepth(DEPTH_DEFAULT)
    }
}

impl AccountDepth {
    pub const MAX: usize = 8;

    /// `None` unless `components` is from 1 to `MAX`.
    pub fn new(components: usize) -> Option<AccountDepth> {
        (1..=AccountDepth::MAX).contains(&components).then_some(AccountDepth(components))
    }

    /// The account's prefix of a key, without a slash at its end.
    pub fn prefix_of(self, key: &[u8]) -> &[u8] {
        let mut left = self.0;
        let mut start = usize::from(key.first() == Some(&b'/'));
        let mut end = 0;
        while let Some(length) = key.get(start..).and_then(|rest| rest.iter().position(|&byte| byte == b'/')) {
            let is_group = key[start..start + length].contains(&b'.');
            end = start + length;
            start = end + 1;
            left -= 1;
            if left == 0 {
                if !is_group {
                    break;
                }
                // One more, and only one: what follows a group is a resource.
                let resource = key[start..].iter().position(|&byte| byte == b'/');
                end = resource.map_or(end, |length| start + length);
                break;
            }
        }
        &key[..end]
    }
}

/// One account's figures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountStat {
    /// Without a slash at its end; empty for keys in no directory.
    pub prefix: Bytes,
    /// Keys that exist.
    pub keys: u64,
    /// Retained bytes of their current versions.
    pub live_bytes: u64,
    /// Retained bytes of older versions and of deletions, until they are compacted.
    pub history_bytes: u64,
    /// Puts since this process met the account; not kept over a restart.
    pub writes: u64,
    /// Deletions, likewise.
    pub deletes: u64,
}

impl AccountStat {
    pub fn retained_bytes(&self) -> u64 {
        self.live_bytes + self.history_bytes
    }

    fn is_empty(&self) -> bool {
        self.keys == 0 && self.retained_bytes() == 0
    }
}

/// Place of an account in the table; not used again while bytes refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AccountId(u32);

#[derive(Debug, Default)]
pub(crate) struct Accounts {
    depth: AccountDepth,
    ids: HashMap<Bytes, AccountId>,
    stats: Vec<AccountStat>,
    free: Vec<AccountId>,
}

impl Accounts {
    pub(crate) fn new(depth: AccountDepth) -> Accounts {
        Accounts { depth, ..Accounts::default() }
    }

    /// The account of `key`, opened if there is none.
    pub(crate) fn of(&mut self, key: &[u8]) -> AccountId {
        let prefix = self.depth.prefix_of(key);
        if let Some(id) = self.ids.get(prefix) {
            return *id;
        }
        let prefix = Bytes::copy_from_slice(prefix);
        let stat = AccountStat { prefix: prefix.clone(), ..AccountStat::default() };
        let id = match self.free.pop() {
            Some(id) => {
                self.stats[id.0 as usize] = stat;
                id
            }
            None => {
                let id = u32::try_from(self.stats.len()).expect("there are less than 2^32 prefixes in memory");
                self.stats.push(stat);
                AccountId(id)
            }
        };
        self.ids.insert(prefix, id);
        id
    }

    pub(crate) fn stat(&mut self, id: AccountId) -> &mut AccountStat {
        &mut self.stats[id.0 as usize]
    }

    /// These bytes of history are compacted.
    pub(crate) fn release(&mut self, id: AccountId, bytes: u64) {
        let stat = self.stat(id);
        stat.history_bytes -= bytes;
        if stat.is_empty() {
            let prefix = std::mem::take(&mut stat.prefix);
            self.ids.remove(&prefix);
            self.free.push(id);
        }
    }

    fn open(&self) -> impl Iterator<Item = &AccountStat> {
        self.ids.values().map(|id| &self.stats[id.0 as usize])
    }
}

/// What accounts are sorted by, largest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountOrder {
    RetainedBytes,
    LiveBytes,
    HistoryBytes,
    Keys,
    Writes,
    Deletes,
}

impl AccountOrder {
    fn figure(self, stat: &AccountStat) -> u64 {
        match self {
            AccountOrder::RetainedBytes => stat.retained_bytes(),
            AccountOrder::LiveBytes => stat.live_bytes,
            AccountOrder::HistoryBytes => stat.history_bytes,
            AccountOrder::Keys => stat.keys,
            AccountOrder::Writes => stat.writes,
            AccountOrder::Deletes => stat.deletes,
        }
    }
}

/// The accounts as they are now, from any thread. The lock is held for a few lines by a write, and as long as it takes to look at
/// every account by a reader: a microsecond for a hundred.
#[derive(Debug, Clone, Default)]
pub struct AccountsReader {
    accounts: Arc<Mutex<Accounts>>,
}

impl AccountsReader {
    pub(crate) fn new(accounts: Accounts) -> AccountsReader {
        AccountsReader { accounts: Arc::new(Mutex::new(accounts)) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Accounts> {
        // A panic while it is held ends the process.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn depth(&self) -> AccountDepth {
        self.lock().depth
    }

    /// The account of exactly this prefix.
    pub fn get(&self, prefix: &[u8]) -> Option<AccountStat> {
        let accounts = self.lock();
        let id = accounts.ids.get(prefix)?;
        accounts.stats.get(id.0 as usize).cloned()
    }

    /// The `n` largest by `order`, largest first; equal ones by prefix.
    pub fn top(&self, n: usize, order: AccountOrder) -> Vec<AccountStat> {
        let mut all = self.all();
        all.sort_unstable_by(|a, b| order.figure(b).cmp(&order.figure(a)).then_with(|| a.prefix.cmp(&b.prefix)));
        all.truncate(n);
        all
    }

    /// Every account, in no order.
    pub fn all(&self) -> Vec<AccountStat> {
        self.lock().open().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(depth: usize, key: &str) -> String {
        let depth = AccountDepth::new(depth).expect("a depth in bounds");
        String::from_utf8_lossy(depth.prefix_of(key.as_bytes())).into_owned()
    }

    #[test]
    fn prefixes_name_resources() {
        for (key, expected) in [
            ("/registry/pods/default/web-0", "/registry/pods"),
            ("/registry/namespaces/default", "/registry/namespaces"),
            ("/registry/services/specs/default/kubernetes", "/registry/services"),
            ("/registry/reports.kyverno.io/ephemeralreports/ns/a", "/registry/reports.kyverno.io/ephemeralreports"),
            ("/registry/a.io/b.c/d/e", "/registry/a.io/b.c"),
            ("/registry/a.io/name", "/registry/a.io"),
            ("/registry/health", "/registry"),
            ("/health", ""),
            ("compact_rev_key", ""),
            ("", ""),
            ("/", ""),
            ("//", "/"),
            ("///x", "//"),
            ("a/b", "a"),
            ("a/b/c/d", "a/b"),
        ] {
            assert_eq!(prefix(2, key), expected, "{key}");
        }
        assert_eq!(prefix(1, "/registry/pods/default/web-0"), "/registry");
        assert_eq!(prefix(3, "/registry/pods/default/web-0"), "/registry/pods/default");
        assert_eq!(AccountDepth::new(0), None);
        assert_eq!(AccountDepth::new(AccountDepth::MAX + 1), None);
    }

    #[test]
    fn an_empty_account_is_forgotten_and_its_place_used_again() {
        let mut accounts = Accounts::default();
        let pods = accounts.of(b"/registry/pods/a");
        assert_eq!(accounts.of(b"/registry/pods/b"), pods);
        accounts.stat(pods).history_bytes = 10;
        accounts.release(pods, 4);
        assert_eq!(accounts.of(b"/registry/pods/a"), pods);
        accounts.release(pods, 6);
        let jobs = accounts.of(b"/registry/jobs/a");
        assert_eq!(jobs, pods);
        accounts.stat(jobs).keys = 1;
        let other = accounts.of(b"/other/dir/a");
        accounts.stat(other).keys = 2;
        let reader = AccountsReader::new(accounts);
        assert_eq!(reader.get(b"/registry/pods"), None);
        let top: Vec<Bytes> = reader.top(9, AccountOrder::Keys).into_iter().map(|stat| stat.prefix).collect();
        assert_eq!(top, ["/other/dir", "/registry/jobs"]);
        assert_eq!(reader.top(1, AccountOrder::RetainedBytes).len(), 1);
    }
}
