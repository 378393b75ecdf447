//! Random histories against the plain model: transactions, deletions, re-creations, compactions cut into steps,
//! historical reads and counts, events, hashes, checkpoints and restarts.

use super::plain::{Changed, Model};
use super::*;
use model::{Range, Rejection, RevisionBounds, Sort, SortOrder, SortTarget, VersionedRevision};
use proptest::prelude::*;
use std::cmp::Ordering;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Txn(Vec<Write>),
    /// At this share of the way from the compacted revision to the current one.
    Compact(prop::sample::Index),
    RemoveSome(usize),
    View,
    Checkpoint,
    /// A checkpoint during which these steps go on.
    SlowCheckpoint(Vec<Vec<Write>>, prop::sample::Index),
    /// Copies of everything live, taken in after these steps and followed up to so many of them.
    Reclaim(Vec<Vec<Write>>, prop::sample::Index, usize),
    /// A checkpoint during which all that is live is moved.
    ReclaimInCheckpoint,
    /// What reclaim does by itself.
    Pace,
    /// Of what the last checkpoint holds.
    Restart,
}

#[derive(Debug, Clone)]
pub(crate) enum Write {
    Put(Bytes, Bytes, i64),
    Delete(KeyRange),
}

fn key() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        8 => (0u8..12).prop_map(|n| format!("k{n}")),
        2 => (0u8..60).prop_map(|n| format!("other/{n:02}")),
        1 => (0u8..4).prop_map(|n| format!("a/b/c{n}")),
        1 => (0u8..4).prop_map(|n| format!("a/b.io/c{n}/d/e")),
        1 => Just("k\0".to_string()),
        1 => Just("k\0\0".to_string()),
    ]
    .prop_map(Bytes::from)
}

fn range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        4 => key().prop_map(KeyRange::single),
        2 => (key(), key()).prop_map(|(start, end)| KeyRange::from_wire(start, end)),
        1 => key().prop_map(KeyRange::prefix),
        1 => Just(KeyRange::prefix("other/")),
        1 => Just(KeyRange::all()),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let value = proptest::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    let lease = prop_oneof![3 => Just(0), 1 => any::<i64>()];
    prop_oneof![
        6 => (key(), value, lease).prop_map(|(key, value, lease)| Write::Put(key, value, lease)),
        1 => range().prop_map(Write::Delete),
    ]
}

fn txn() -> impl Strategy<Value = Vec<Write>> {
    prop_oneof![4 => write().prop_map(|write| vec![write]), 1 => proptest::collection::vec(write(), 0..4)]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        60 => txn().prop_map(Step::Txn),
        4 => any::<prop::sample::Index>().prop_map(Step::Compact),
        8 => (1usize..40).prop_map(Step::RemoveSome),
        2 => Just(Step::View),
        2 => Just(Step::Checkpoint),
        1 => (proptest::collection::vec(txn(), 0..6), any::<prop::sample::Index>())
            .prop_map(|(txns, compact)| Step::SlowCheckpoint(txns, compact)),
        2 => (proptest::collection::vec(txn(), 0..6), any::<prop::sample::Index>(), 0usize..60)
            .prop_map(|(txns, compact, follow)| Step::Reclaim(txns, compact, follow)),
        1 => Just(Step::ReclaimInCheckpoint),
        2 => Just(Step::Pace),
        1 => Just(Step::Restart),
    ]
}

/// A key is put at most once per transaction and not after it was deleted, which is as much as etcd lets through (it
/// may be deleted after it was put, by transactions inside of the transaction).
fn as_etcd_demands(model: &Model, writes: &[Write]) -> bool {
    let mut seen: Vec<Bytes> = Vec::new();
    writes.iter().all(|write| match write {
        Write::Put(key, ..) => {
            let fresh = !seen.contains(key);
            seen.push(key.clone());
            fresh
        }
        Write::Delete(range) => {
            seen.extend(model.live(range, i64::MAX).into_iter().map(|kv| kv.key));
            true
        }
    })
}

pub(crate) struct Session {
    disk: SimDisk,
    mvcc: Mvcc,
    pub(crate) model: Model,
    views: Vec<(View, Model)>,
    durable: Model,
}

impl Session {
    pub(crate) fn new() -> Session {
        let disk = SimDisk::new();
        Session { mvcc: open(&disk), disk, model: Model::default(), views: Vec::new(), durable: Model::default() }
    }

    fn txn(&mut self, writes: &[Write]) {
        if !as_etcd_demands(&self.model, writes) {
            return;
        }
        let mut txn = self.mvcc.begin();
        for write in writes {
            match write.clone() {
                Write::Put(key, value, lease) => {
                    let prev = self.model.put(key.clone(), value.clone(), LeaseId(lease));
                    let result = txn.put(key, value, LeaseId(lease)).expect("put");
                    assert_eq!(result.prev.map(|prev| prev.version), prev.map(|prev| prev.version));
                }
                Write::Delete(range) => {
                    let deleted: Vec<Bytes> = txn.delete_range(&range).into_iter().map(|(key, _)| key).collect();
                    assert_eq!(deleted, self.model.delete(&range));
                }
            }
            let all = Range::new(KeyRange::all());
            let found = txn.range(&all).expect("own writes are readable");
            assert_eq!(found.count, self.model.live(&KeyRange::all(), i64::MAX).len() as u64);
            assert_eq!(found.revision, txn.revision());
        }
        let change = txn.commit();
        let before = self.model.revision;
        assert_eq!(change.is_some(), self.model.commit());
        let expected: Vec<_> = self.model.events(&KeyRange::all(), before + 1, i64::MAX);
        let found = change.map_or(Vec::new(), |change| change.events);
        check_events(&flushed_view(&mut self.mvcc), &found, &expected);
    }

    fn compact(&mut self, at: &prop::sample::Index) {
        let compacted = self.model.compacted.max(0);
        let span = (self.model.revision - compacted) as usize;
        if span == 0 {
            assert_eq!(self.mvcc.compact(Revision(compacted)), Err(Rejection::Compacted));
            return;
        }
        let at = compacted + 1 + at.index(span) as i64;
        assert_eq!(self.mvcc.compact(Revision(at)), Ok(()));
        self.model.compact(at);
    }

    fn restart(&mut self) {
        self.disk = self.disk.after_kill();
        self.mvcc = open(&self.disk);
        self.model = self.durable.clone();
        self.model.hashes.clear();
        self.check();
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Txn(writes) => self.txn(writes),
            Step::Compact(at) => self.compact(at),
            Step::RemoveSome(budget) => {
                self.mvcc.compaction_step(*budget);
            }
            Step::View => self.views.push((flushed_view(&mut self.mvcc), self.model.clone())),
            Step::Checkpoint => {
                checkpoint(&mut self.mvcc);
                self.durable = self.model.clone();
            }
            Step::SlowCheckpoint(txns, at) => {
                let mut job = self.mvcc.take_checkpoint().expect("take checkpoint");
                let taken = self.model.clone();
                txns.iter().for_each(|writes| self.txn(writes));
                self.compact(at);
                finish_compaction(&mut self.mvcc);
                let done = job.write(&job.meta()).expect("write checkpoint");
                self.mvcc.finish_checkpoint(done).remove().expect("finish checkpoint");
                self.durable = taken;
            }
            Step::Reclaim(txns, at, follow) => {
                let job = copy_everything(&mut self.mvcc);
                txns.iter().for_each(|writes| self.txn(writes));
                self.compact(at);
                self.mvcc.compaction_step(10);
                self.mvcc.finish_clean(copied(job));
                self.mvcc.relocation_step(*follow);
            }
            Step::ReclaimInCheckpoint => {
                let mut job = self.mvcc.take_checkpoint().expect("take checkpoint");
                let copies = copied(copy_everything(&mut self.mvcc));
                self.mvcc.finish_clean(copies);
                self.mvcc.relocation_step(usize::MAX);
                let done = job.write(&job.meta()).expect("write checkpoint");
                self.mvcc.finish_checkpoint(done).remove().expect("finish checkpoint");
                self.durable = self.model.clone();
            }
            Step::Pace => {
                if reclaim::pace(&mut self.mvcc) {
                    self.durable = self.model.clone();
                }
            }
            Step::Restart => self.restart(),
        }
    }

    /// Everything that can be asked, of the present and of all views.
    pub(crate) fn check(&mut self) {
        let now = (flushed_view(&mut self.mvcc), self.model.clone());
        for (view, model) in self.views.iter().chain([&now]) {
            check_view(view, model);
        }
        assert_eq!(self.mvcc.retained_bytes(), self.model.retained());
        assert_eq!(accounts(&self.mvcc), self.model.accounts());
        assert_eq!(self.mvcc.current_revision().0, self.model.revision);
        assert_eq!(self.mvcc.compacted_revision().0, self.model.compacted);
        let hashes = now.0.complete_compaction_hashes();
        let newest = self.model.hashes.len().saturating_sub(10);
        let found = hashes.iter().map(|kept| (kept.revision.0, kept.compact_revision.0, kept.hash));
        assert!(found.eq(self.model.hashes[newest..].iter().copied()), "hashes of compactions");
        let mut leased = Vec::new();
        self.mvcc.for_each_leased(|lease, key| leased.push((lease, key)));
        let expected = self.model.live(&KeyRange::all(), i64::MAX).into_iter().filter(|kv| !kv.lease.is_none());
        assert!(leased.into_iter().eq(expected.map(|kv| (kv.lease, kv.key))));
    }

    /// What a restart from a checkpoint of now gives is what was maintained.
    pub(crate) fn check_reopened(&mut self) {
        finish_compaction(&mut self.mvcc);
        self.mvcc.relocation_step(usize::MAX);
        checkpoint(&mut self.mvcc);
        let mut reopened = open(&self.disk.after_kill());
        assert_eq!(content(&reopened), content(&self.mvcc));
        assert_eq!(reopened.retained_bytes(), self.mvcc.retained_bytes());
        assert_eq!(accounts(&reopened), accounts(&self.mvcc));
        assert_eq!(superseded(&reopened), superseded(&self.mvcc));
        let live = |mvcc: &Mvcc| {
            mvcc.segments().map(|stat| (stat.id, stat.live_bytes)).filter(|(_, live)| *live > 0).collect::<Vec<_>>()
        };
        assert_eq!(live(&reopened), live(&self.mvcc));
        let physical: u64 = self.mvcc.segments().map(|stat| stat.live_bytes).sum();
        let tombstones: u64 = self
            .model
            .changes
            .iter()
            .filter(|change| change.kv.is_none())
            .map(|change| 9 + change.key.len() as u64)
            .sum();
        assert_eq!(physical + tombstones, self.mvcc.retained_bytes(), "nothing is leaked in the store");
        check_view(&flushed_view(&mut reopened), &self.model);
        let verified = verify::verified(&self.disk);
        assert!(verified.lost.is_empty(), "{:?}", verified.lost);
        assert_eq!(verified.versions, self.model.changes.len() as u64);
    }
}

fn accounts(mvcc: &Mvcc) -> BTreeMap<String, (u64, u64, u64)> {
    let all = mvcc.accounts().all();
    let named = |prefix: &Bytes| String::from_utf8(prefix.to_vec()).expect("test keys are text");
    all.iter().map(|stat| (named(&stat.prefix), (stat.keys, stat.live_bytes, stat.history_bytes))).collect()
}

/// The queues name accounts by their place, which a restart deals out anew.
fn superseded(mvcc: &Mvcc) -> Vec<(Revision, Bytes, u64)> {
    let accounts = mvcc.accounts().lock();
    let shares = mvcc.superseded.shares().into_iter();
    let mut named: Vec<_> = shares.map(|(at, id, bytes)| (at, accounts.stat(id).prefix.clone(), bytes)).collect();
    named.sort();
    named
}

fn content(mvcc: &Mvcc) -> Vec<(Vec<u8>, Vec<crate::version::Version>)> {
    let index = &mvcc.index;
    let entries = index.keys.iter();
    entries.map(|(key, packed)| (key.to_vec(), index.versions(key, crate::entry::Entry(packed)).collect())).collect()
}

fn check_view(view: &View, model: &Model) {
    let ranges = [
        KeyRange::all(),
        KeyRange::prefix("k"),
        KeyRange::prefix("other/"),
        KeyRange::single("k3"),
        KeyRange::from_wire("k2".into(), "other/2".into()),
        KeyRange::from_wire("z".into(), "a".into()),
        KeyRange::single("k\0"),
    ];
    let first = model.compacted.max(1);
    for range in &ranges {
        let current: Vec<_> = view.live(range).map(|(key, meta)| (key.to_vec(), meta.version, meta.lease)).collect();
        let expected = model.live(range, i64::MAX).into_iter().map(|kv| (kv.key.to_vec(), kv.version, kv.lease));
        assert!(current.into_iter().eq(expected));
        for at in first..=model.revision {
            let expected = model.live(range, at);
            let request = Range { revision: Revision(at), ..Range::new(range.clone()) };
            let found = view.range(&request).expect("a readable revision");
            assert_eq!(pairs(view, &found.items), expected, "at {at}");
            assert_eq!((found.count, found.more, found.revision.0), (expected.len() as u64, false, model.revision));
            assert_eq!(view.count(range, Revision(at)), Ok(expected.len() as u64));
            check_walk(view, view, &request, 3);
            check_walk(view, view, &Range { count_only: true, ..request.clone() }, 1);
            check_walk(view, view, &Range { limit: 2, ..request }, 2);
        }
        check_pages(view, model, range, first);
    }
    for at in first..=model.revision {
        // Not through the view, which would answer from the hashes kept of later compactions.
        let found = crate::hash::hash_at(&view.index, Revision(at), view.compacted_revision());
        assert_eq!((found.hash, found.compact_revision.0), (model.hash(at), model.compacted), "hash at {at}");
    }
    if model.compacted > 1 {
        let below = Range { revision: Revision(model.compacted - 1), ..Range::new(KeyRange::all()) };
        assert!(matches!(view.range(&below), Err(crate::ReadError::Rejected(Rejection::Compacted))));
    }
}

/// A range in steps of `keys_max` keys finds what it finds at once, and pages of a later view are the same.
fn check_walk(view: &View, later: &View, request: &Range, keys_max: usize) {
    let expected = view.range(request).expect("a readable revision");
    let mut walk = crate::Walk::new(view, request).expect("a readable revision");
    while !walk.step(view, keys_max).expect("readable") {}
    let mut found = walk.finish();
    assert_eq!((found.more, found.count), (expected.more, expected.count), "{request:?}");
    assert_eq!(found.pairs, expected.items.len() as u64, "{request:?}");
    let kept = found.items.take();
    if let Some(kept) = &kept {
        assert_eq!(pairs(view, kept), pairs(view, &expected.items), "{request:?}");
    }
    let (items, view_of_items) = match kept.filter(|_| found.is_sorted) {
        Some(sorted) => (sorted, view),
        None => {
            let mut items = Vec::new();
            while found.pages.left() > 0 {
                items.extend(found.pages.page(later, keys_max, 30).expect("not compacted"));
            }
            (items, later)
        }
    };
    let lengths = items.iter().map(|item| 1 + stdx::codec::varint_len(item.encoded_len() as u64) + item.encoded_len());
    assert_eq!(found.pairs_bytes, lengths.sum::<usize>(), "{request:?}");
    assert_eq!(pairs(view_of_items, &items), pairs(view, &expected.items), "{request:?}");
}

/// Events in pages of several sizes, from every revision on.
fn check_pages(view: &View, model: &Model, range: &KeyRange, first: i64) {
    for (from, limit) in (first..=model.revision + 1).zip([1, 2, 3, 50].into_iter().cycle()) {
        let mut found = Vec::new();
        let mut next = Revision(from);
        while next.0 <= model.revision {
            let page = view.events(range, next, Revision(i64::MAX), limit).expect("not compacted");
            let mut walk = view.walk_events(range, next, Revision(i64::MAX), limit).expect("not compacted");
            while !walk.step(view, 2) {}
            assert_eq!(walk.finish(), page);
            let mut revisions: Vec<_> = page.events.iter().map(|event| event.at.main).collect();
            revisions.dedup();
            assert!(revisions.len() <= limit && page.next > next);
            assert!(page.events.iter().all(|event| event.at.main >= next && event.at.main < page.next));
            found.extend(page.events);
            next = page.next;
        }
        check_events(view, &found, &model.events(range, from, i64::MAX));
    }
}

fn check_events(view: &View, found: &[crate::Event], expected: &[(Changed, Option<KeyValue>)]) {
    let load = |location| KeyValue::decode(&view.read(location).expect("read")).expect("a pair");
    let found: Vec<(VersionedRevision, Bytes, Option<KeyValue>, Option<KeyValue>)> =
        found.iter().map(|event| (event.at, event.key.clone(), event.kv.map(load), event.prev.map(load))).collect();
    let expected =
        expected.iter().map(|(change, prev)| (change.at, change.key.clone(), change.kv.clone(), prev.clone()));
    assert_eq!(found, expected.collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 2000, ..ProptestConfig::default() })]
    #[test]
    fn a_history_is_what_the_model_says(steps in proptest::collection::vec(step(), 0..120)) {
        let mut session = Session::new();
        for step in &steps {
            session.step(step);
        }
        session.check();
    }

    #[test]
    fn r28_opened_is_what_was_maintained(steps in proptest::collection::vec(step(), 0..150)) {
        let mut session = Session::new();
        for step in steps.iter().filter(|step| !matches!(step, Step::View)) {
            session.step(step);
        }
        session.check_reopened();
    }

    #[test]
    fn busy_keys_with_deep_history_are_compacted_in_steps(
        steps in proptest::collection::vec((0u8..12, any::<prop::sample::Index>(), 1usize..12), 100..220),
    ) {
        let mut session = Session::new();
        for (number, (what, at, budget)) in steps.iter().enumerate() {
            match what {
                0 => session.step(&Step::RemoveSome(*budget)),
                1 if number % 4 == 0 => session.step(&Step::Compact(*at)),
                2 => session.txn(&[Write::Delete(KeyRange::single("k0"))]),
                _ => session.txn(&[Write::Put(if *what == 3 { "k1" } else { "k0" }.into(), "v".into(), 0)]),
            }
        }
        session.check_reopened();
    }

    #[test]
    fn ranges_filter_sort_and_limit_as_etcd_does(
        txns in proptest::collection::vec(txn(), 0..40), later in proptest::collection::vec(txn(), 0..4),
        range in range(), limit in 0u64..6, target in 0usize..5, order in 0usize..3, sorted: bool, keys_only: bool, bounds in proptest::array::uniform4(0i64..30),
    ) {
        let mut session = Session::new();
        txns.iter().for_each(|writes| session.txn(writes));
        let target = [SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value][target];
        let order = [SortOrder::Ascend, SortOrder::Descend, SortOrder::Unspecified][order];
        let [a, b, c, d] = bounds.map(|bound| Revision(if bound > 20 { bound - 20 } else { 0 }));
        let request = Range {
            limit, keys_only, sort: sorted.then_some(Sort { target, order }),
            mod_bounds: RevisionBounds { min: a, max: b }, create_bounds: RevisionBounds { min: c, max: d },
            ..Range::new(range)
        };
        let view = flushed_view(&mut session.mvcc);
        let before = session.model.clone();
        let found = view.range(&request).expect("a readable revision");
        check_walk(&view, &view, &request, 1);
        later.iter().for_each(|writes| session.txn(writes));
        check_walk(&view, &flushed_view(&mut session.mvcc), &request, 2);
        session.model = before;
        let all = session.model.live(&request.range, i64::MAX);
        prop_assert_eq!(found.count, all.len() as u64);
        let mut expected: Vec<KeyValue> = all.into_iter().filter(|kv| {
            request.mod_bounds.contains(kv.mod_revision) && request.create_bounds.contains(kv.create_revision)
        }).collect();
        if sorted {
            if order == SortOrder::Unspecified && limit > 0 && request.mod_bounds.is_unset() && request.create_bounds.is_unset() {
                // Only what the limit lets through in key order, and one more, is put in order.
                expected.truncate(limit as usize + 1);
            }
            let directed = |ordering: Ordering| if order == SortOrder::Descend { ordering.reverse() } else { ordering };
            expected.sort_by(|one, other| directed(match target {
                SortTarget::Key => one.key.cmp(&other.key),
                SortTarget::Version => one.version.cmp(&other.version),
                SortTarget::Create => one.create_revision.cmp(&other.create_revision),
                SortTarget::Mod => one.mod_revision.cmp(&other.mod_revision),
                SortTarget::Value => one.value.cmp(&other.value),
            }));
        }
        prop_assert_eq!(found.more, limit > 0 && expected.len() as u64 > limit);
        if limit > 0 {
            expected.truncate(limit as usize);
        }
        if keys_only {
            let by_value = sorted && target == SortTarget::Value;
            expected.iter_mut().for_each(|kv| {
                kv.value = Bytes::new();
                kv.lease = if by_value { kv.lease } else { LeaseId::NONE };
            });
        }
        let lengths: Vec<usize> = found.items.iter().map(crate::RangeItem::encoded_len).collect();
        let found = pairs(&view, &found.items);
        if !keys_only {
            prop_assert_eq!(lengths, found.iter().map(KeyValue::encoded_len).collect::<Vec<_>>());
        }
        prop_assert_eq!(found, expected);
    }
}
