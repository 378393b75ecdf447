//! Who fills the store: keys and retained bytes per key prefix, always on.
//!
//! ```text
//! /registry/pods/default/web-0                    account /registry/pods
//! /registry/kyverno.io/policies/default/1b2c      account /registry/kyverno.io/policies
//! /registry/health, compact_rev_key               accounts /registry and the empty one
//! ```
//! A key's account is its directory, cut at a depth of components; a last component with a dot is an API group, to
//! which the next one belongs. A key's own name never is part of it.
//!
//! Invariants: keys and bytes are exact after any history, and the bytes of all accounts are the store's retained
//! bytes. They are rebuilt when the key index is loaded. A write costs one lookup. An account without keys and bytes is
//! forgotten, so that there are never more accounts than keys and deletions.
//!
//! A *meter* keeps the sum of all accounts below a prefix, exact too: for a prefix with no more components than
//! accounts have, so that no account lies across its border. An account knows its meters; a change adds to each of
//! them.
//! Not here: budgets and who may grow (`state`); rates, which need a clock.

use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many components of a key's directory name its account, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

    /// True if no account holds both keys below `prefix` and others.
    pub fn tells_apart(self, prefix: &[u8]) -> bool {
        self.prefix_of(&[prefix, b"/"].concat()).len() >= prefix.len()
    }

    /// The smallest that tells keys below `prefix` from others; `None` if none does.
    pub fn needed_by(prefix: &[u8]) -> Option<AccountDepth> {
        (1..=AccountDepth::MAX).map(AccountDepth).find(|depth| depth.tells_apart(prefix))
    }

    /// The number of components.
    pub fn components(self) -> usize {
        self.0
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

/// Place of a meter in the table; used again once the meter is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MeterId(u32);

impl MeterId {
    /// From 0, without gaps.
    pub fn place(self) -> usize {
        self.0 as usize
    }
}

/// What a meter shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Keys that exist.
    pub keys: u64,
    /// Live pairs and history not yet compacted.
    pub retained_bytes: u64,
}

impl Usage {
    fn of(stat: &AccountStat) -> Usage {
        Usage { keys: stat.keys, retained_bytes: stat.retained_bytes() }
    }

    fn add(&mut self, other: Usage) {
        self.keys += other.keys;
        self.retained_bytes += other.retained_bytes;
    }

    /// Part of it was `before` and is `after`.
    fn replace(&mut self, before: Usage, after: Usage) {
        assert!(self.keys >= before.keys, "a meter counts the keys of its accounts");
        assert!(self.retained_bytes >= before.retained_bytes, "a meter counts the bytes of its accounts");
        self.keys = self.keys - before.keys + after.keys;
        self.retained_bytes = self.retained_bytes - before.retained_bytes + after.retained_bytes;
    }
}

#[derive(Debug, Default)]
struct Account {
    stat: AccountStat,
    /// Those above it, the shortest prefix first.
    meters: Vec<MeterId>,
}

#[derive(Debug, Default)]
pub(crate) struct Accounts {
    depth: AccountDepth,
    // hash order: what goes over all accounts sums up, gives each its meters, or puts them in order.
    ids: HashMap<Bytes, AccountId>,
    accounts: Vec<Account>,
    free: Vec<AccountId>,
    // hash order: only looked up, by prefix.
    meter_ids: HashMap<Bytes, MeterId>,
    meters: Vec<Usage>,
    free_meters: Vec<MeterId>,
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
        let account = Account { stat, meters: self.meters_above(&prefix).collect() };
        let id = match self.free.pop() {
            Some(id) => {
                self.accounts[id.0 as usize] = account;
                id
            }
            None => {
                let id = u32::try_from(self.accounts.len()).expect("there are less than 2^32 prefixes in memory");
                self.accounts.push(account);
                AccountId(id)
            }
        };
        self.ids.insert(prefix, id);
        id
    }

    #[cfg(test)]
    pub(crate) fn stat(&self, id: AccountId) -> &AccountStat {
        &self.accounts[id.0 as usize].stat
    }

    /// Changes an account's figures, and those of the meters above it.
    pub(crate) fn change(&mut self, id: AccountId, change: impl FnOnce(&mut AccountStat)) {
        let Account { stat, meters } = &mut self.accounts[id.0 as usize];
        let before = Usage::of(stat);
        change(stat);
        let after = Usage::of(stat);
        for meter in meters {
            self.meters[meter.place()].replace(before, after);
        }
    }

    /// These bytes of history are compacted.
    pub(crate) fn drop_history(&mut self, id: AccountId, bytes: u64) {
        self.change(id, |stat| {
            assert!(stat.history_bytes >= bytes, "an account compacts no more than it has");
            stat.history_bytes -= bytes;
        });
        let account = &mut self.accounts[id.0 as usize];
        if account.stat.is_empty() {
            let prefix = std::mem::take(account).stat.prefix;
            let removed = self.ids.remove(&prefix);
            assert_eq!(removed, Some(id), "an account is found by its prefix");
            self.free.push(id);
        }
    }

    /// Of all accounts. Looks at each.
    pub(crate) fn total(&self) -> Usage {
        let mut sum = Usage::default();
        self.open().for_each(|stat| sum.add(Usage::of(stat)));
        sum
    }

    fn open(&self) -> impl Iterator<Item = &AccountStat> {
        self.ids.values().map(|id| &self.accounts[id.0 as usize].stat)
    }

    /// Sums up what is below `prefix` from now on. Looks at every account. `None` if accounts are not as deep as the
    /// prefix.
    pub(crate) fn meter(&mut self, prefix: &Bytes) -> Option<MeterId> {
        if !self.depth.tells_apart(prefix) {
            return None;
        }
        assert!(!self.meter_ids.contains_key(prefix), "a prefix has one meter");
        let id = self.free_meters.pop().unwrap_or_else(|| {
            self.meters.push(Usage::default());
            MeterId(u32::try_from(self.meters.len() - 1).expect("there are less than 2^32 meters"))
        });
        self.meter_ids.insert(prefix.clone(), id);
        self.meters[id.place()] = self.open().filter(|stat| is_below(&stat.prefix, prefix)).map(Usage::of).fold(
            Usage::default(),
            |mut sum, usage| {
                sum.add(usage);
                sum
            },
        );
        self.assign_meters(prefix);
        Some(id)
    }

    /// Ends a meter that `meter` began.
    pub(crate) fn unmeter(&mut self, prefix: &Bytes) {
        let id = self.meter_ids.remove(prefix).expect("the prefix has a meter");
        self.free_meters.push(id);
        self.assign_meters(prefix);
    }

    /// Tells the accounts below `prefix` anew which meters are above them.
    fn assign_meters(&mut self, prefix: &[u8]) {
        let below: Vec<_> = self.ids.iter().filter(|(account, _)| is_below(account, prefix)).collect();
        let assigned: Vec<_> =
            below.into_iter().map(|(account, id)| (*id, self.meters_above(account).collect())).collect();
        for (id, meters) in assigned {
            self.accounts[id.0 as usize].meters = meters;
        }
    }

    /// The meters of an account with this prefix, the shortest first.
    fn meters_above(&self, prefix: &[u8]) -> impl Iterator<Item = MeterId> {
        let any = !self.meter_ids.is_empty();
        let ends = (1..=prefix.len()).filter(move |end| any && prefix.get(*end).is_none_or(|byte| *byte == b'/'));
        ends.filter_map(|end| self.meter_ids.get(&prefix[..end]).copied())
    }

    /// Calls `visit` for each meter that a put of `key` would change, the shortest prefix first.
    fn each_meter_of(&self, key: &[u8], mut visit: impl FnMut(MeterId, Usage)) {
        let prefix = self.depth.prefix_of(key);
        let mut visit = |id: MeterId| visit(id, self.meters[id.place()]);
        match self.ids.get(prefix) {
            Some(id) => self.accounts[id.0 as usize].meters.iter().for_each(|id| visit(*id)),
            None => self.meters_above(prefix).for_each(visit),
        }
    }
}

/// True if the account's keys are below `prefix`.
fn is_below(account: &[u8], prefix: &[u8]) -> bool {
    account.strip_prefix(prefix).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'))
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

/// The accounts as they are now, from any thread. The lock is held for a few lines by a write, and as long as it takes
/// to look at every account by a reader: a microsecond for a hundred.
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
        accounts.accounts.get(id.0 as usize).map(|account| account.stat.clone())
    }

    /// The `n` largest by `order`, largest first; equal ones by prefix.
    pub fn top(&self, n: usize, order: AccountOrder) -> Vec<AccountStat> {
        let mut all = self.all();
        all.sort_by_key(|stat| Reverse(order.figure(stat)));
        all.truncate(n);
        all
    }

    /// What a meter shows. The meter must be there.
    pub fn usage(&self, meter: MeterId) -> Usage {
        self.lock().meters[meter.place()]
    }

    /// Calls `visit` for each meter that a put of `key` would change, and with what it shows; the shortest prefix
    /// first. The table is locked meanwhile.
    pub fn each_meter_of(&self, key: &[u8], visit: impl FnMut(MeterId, Usage)) {
        self.lock().each_meter_of(key, visit);
    }

    /// True if a put of `key` would change a meter.
    pub fn has_meter(&self, key: &[u8]) -> bool {
        let mut any = false;
        self.each_meter_of(key, |_, _| any = true);
        any
    }

    /// Every account, by prefix.
    pub fn all(&self) -> Vec<AccountStat> {
        let mut all: Vec<AccountStat> = self.lock().open().cloned().collect();
        all.sort_unstable_by(|one, other| one.prefix.cmp(&other.prefix));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        accounts.change(pods, |stat| stat.history_bytes = 10);
        accounts.drop_history(pods, 4);
        assert_eq!(accounts.of(b"/registry/pods/a"), pods);
        accounts.drop_history(pods, 6);
        let jobs = accounts.of(b"/registry/jobs/a");
        assert_eq!(jobs, pods);
        accounts.change(jobs, |stat| stat.keys = 1);
        let other = accounts.of(b"/other/dir/a");
        accounts.change(other, |stat| stat.keys = 2);
        let reader = AccountsReader::new(accounts);
        assert_eq!(reader.get(b"/registry/pods"), None);
        let top: Vec<Bytes> = reader.top(9, AccountOrder::Keys).into_iter().map(|stat| stat.prefix).collect();
        assert_eq!(top, ["/other/dir", "/registry/jobs"]);
        assert_eq!(reader.top(1, AccountOrder::RetainedBytes).len(), 1);
    }

    #[test]
    fn depths_are_told_that_a_prefix_needs() {
        for (prefix, needed) in [
            ("/registry", Some(1)),
            ("/registry/pods", Some(2)),
            ("/registry/reports.kyverno.io", Some(2)),
            ("/registry/reports.kyverno.io/ephemeralreports", Some(2)),
            ("/registry/reports.kyverno.io/ephemeralreports/default", Some(4)),
            ("/registry/pods/default", Some(3)),
            ("a", Some(1)),
            ("/a/b/c/d/e/f/g/h", Some(8)),
            ("/a/b/c/d/e/f/g/h/i", None),
        ] {
            let needed = needed.and_then(AccountDepth::new);
            assert_eq!(AccountDepth::needed_by(prefix.as_bytes()), needed, "{prefix}");
        }
    }

    fn usage(accounts: &Accounts, meter: Option<MeterId>) -> (u64, u64) {
        let usage = accounts.meters[meter.expect("deep enough").place()];
        (usage.keys, usage.retained_bytes)
    }

    #[test]
    fn a_meter_sums_what_is_below_its_prefix_whenever_it_began() {
        let mut accounts = Accounts::default();
        let add = |accounts: &mut Accounts, key: &[u8], bytes| {
            let id = accounts.of(key);
            accounts.change(id, |stat| (stat.keys, stat.live_bytes) = (stat.keys + 1, stat.live_bytes + bytes));
            id
        };
        let pods = add(&mut accounts, b"/registry/pods/a", 1);
        add(&mut accounts, b"/registry/podsets/a", 10);
        let below = accounts.meter(&"/registry/pods".into());
        let all = accounts.meter(&"/registry".into());
        assert_eq!(accounts.meter(&"/registry/pods/default".into()), None, "accounts are two deep");
        add(&mut accounts, b"/registry/jobs/a", 100);
        add(&mut accounts, b"/registry/a.io/things/a", 1000);
        add(&mut accounts, b"/registryx/pods/a", 10_000);
        assert_eq!((usage(&accounts, below), usage(&accounts, all)), ((1, 1), (4, 1111)));
        accounts.change(pods, |stat| (stat.keys, stat.live_bytes, stat.history_bytes) = (0, 0, 3));
        assert_eq!((usage(&accounts, below), usage(&accounts, all)), ((0, 3), (3, 1113)));
        accounts.drop_history(pods, 3);
        let mut seen = Vec::new();
        accounts.each_meter_of(b"/registry/pods/b", |id, usage| seen.push((Some(id), usage.keys)));
        assert_eq!(seen, [(all, 3), (below, 0)], "also of an account that is not there");
        accounts.unmeter(&"/registry/pods".into());
        assert_eq!(accounts.meter(&"/other".into()), below, "its place is used again");
        add(&mut accounts, b"/registry/pods/b", 5);
        assert_eq!((usage(&accounts, below), usage(&accounts, all)), ((0, 0), (4, 1115)));
    }

    proptest! {
        /// What `tells_apart` promises: whatever follows, the account begins with the prefix.
        #[test]
        fn accounts_below_a_prefix_begin_with_it(depth in 1..=4usize, prefix in "[/a.]{1,8}", rest in "[/a.]{0,8}") {
            let depth = AccountDepth(depth);
            let key = format!("{prefix}/{rest}");
            let account = depth.prefix_of(key.as_bytes());
            if depth.tells_apart(prefix.as_bytes()) {
                prop_assert!(is_below(account, prefix.as_bytes()), "{:?}", account);
            }
        }
    }
}
