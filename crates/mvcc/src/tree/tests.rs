//! The tree against the map of the standard library, old views included.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Live entries (first byte not zero), all bytes of values, and the largest first byte.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Sum {
    live: usize,
    bytes: usize,
    largest: u8,
}

impl Summary for Sum {
    fn of(value: &[u8]) -> Sum {
        let first = value.first().copied().unwrap_or(0);
        Sum { live: usize::from(first != 0), bytes: value.len(), largest: first }
    }

    fn add(&mut self, other: &Sum) {
        self.live += other.live;
        self.bytes += other.bytes;
        self.largest = self.largest.max(other.largest);
    }

    fn exchange(&mut self, old: &Sum, new: &Sum) {
        self.live = self.live - old.live + new.live;
        self.bytes = self.bytes - old.bytes + new.bytes;
        self.largest = self.largest.max(new.largest);
    }
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Checks every invariant of the module's head; answers the depth.
fn check_child(child: &Child<Sum>, low: Option<&[u8]>, high: Option<&[u8]>) -> usize {
    let (entries, depth) = match child.node.as_ref() {
        Node::Leaf(leaf) => {
            assert!(leaf.count() > 0 && leaf.count() <= LEAF_KEYS_MAX);
            // Long values may leave the larger part of a split above the limit, by no more than a few of them.
            assert!(leaf.count() == 1 || leaf.size() <= LEAF_BYTES_MAX + 3 * 4100);
            for (key, _) in leaf.iter() {
                assert!(low.is_none_or(|low| key.cmp_bytes(low).is_ge()));
                assert!(high.is_none_or(|high| key.cmp_bytes(high).is_lt()));
            }
            let mut sum = Sum::default();
            leaf.iter().for_each(|(_, value)| sum.add(&Sum::of(value)));
            (sum, 0)
        }
        Node::Inner(inner) => {
            assert!(!inner.children.is_empty() && inner.children.len() <= INNER_CHILDREN_MAX);
            assert_eq!(inner.separators.count() + 1, inner.children.len());
            let separators: Vec<Vec<u8>> = inner.separators.iter().map(|(key, _)| key.to_vec()).collect();
            let mut depths = Vec::new();
            for (at, child) in inner.children.iter().enumerate() {
                let low = if at == 0 { low } else { Some(separators[at - 1].as_slice()) };
                let high = separators.get(at).map(Vec::as_slice).or(high);
                depths.push(check_child(child, low, high));
            }
            assert!(depths.windows(2).all(|pair| pair[0] == pair[1]), "all leaves lie equally deep");
            (inner.summary(), depths[0] + 1)
        }
    };
    assert_eq!((child.summary.live, child.summary.bytes), (entries.live, entries.bytes));
    assert!(child.summary.largest >= entries.largest);
    depth
}

fn check(tree: &Tree<Sum>, map: &Map) {
    if let Some(root) = &tree.root {
        check_child(root, None, None);
    }
    assert_eq!(tree.len(), map.len());
    let entries: Vec<_> = tree.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
    assert!(entries.iter().map(|(key, value)| (key, value)).eq(map.iter()));
}

#[derive(Default)]
struct Count {
    live: usize,
    entries: usize,
    whole: bool,
}

impl Fold<Sum> for Count {
    fn whole(&mut self, summary: &Sum) -> bool {
        if self.whole {
            self.live += summary.live;
        }
        self.whole
    }

    fn entry(&mut self, _: Key<'_>, value: &[u8]) {
        self.entries += 1;
        self.live += Sum::of(value).live;
    }
}

#[derive(Debug, Clone)]
enum Op {
    Put(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    /// Drops values with this first byte, doubles those one above it, from the key on, in some leaves.
    Rewrite(Vec<u8>, u8, usize),
    Keep,
    Reload,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![Just("/registry/pods/"), Just("/registry/"), Just("/"), Just("")];
    let number = prop_oneof![3 => (0u32..300).prop_map(|n| format!("{n:03}")), 1 => Just(String::new())];
    (part, number, proptest::collection::vec(any::<u8>(), 0..2))
        .prop_map(|(part, number, tail)| [part.as_bytes(), number.as_bytes(), &tail].concat())
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => proptest::collection::vec(0u8..4, 0..12),
        1 => (0u8..4, 1000usize..4000).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        30 => (key(), value()).prop_map(|(key, value)| Op::Put(key, value)),
        10 => key().prop_map(Op::Remove),
        2 => (key(), 0u8..4, 1usize..20).prop_map(|(from, byte, leaves)| Op::Rewrite(from, byte, leaves)),
        1 => Just(Op::Keep),
        1 => Just(Op::Reload),
    ]
}

fn put(tree: &mut Tree<Sum>, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let result: Result<_, ()> = tree.upsert(key, &mut Vec::new(), |old, out| {
        out.extend_from_slice(value);
        Ok(old.map(<[u8]>::to_vec))
    });
    result.expect("the edit does not fail")
}

fn rewrite(tree: &mut Tree<Sum>, map: &mut Map, from: Vec<u8>, byte: u8, leaves: usize) {
    let mut next = Some(from);
    for _ in 0..leaves {
        let Some(from) = next else { return };
        let edited = tree.rewrite_leaf(
            &from,
            |sum| sum.largest >= byte,
            |key, value, out| match value.first() {
                Some(&first) if first == byte => {
                    map.remove(&key.to_vec());
                    Edit::Remove
                }
                Some(&first) if first == byte + 1 && value.len() < 100 => {
                    out.extend_from_slice(&[value, value].concat());
                    map.insert(key.to_vec(), [value, value].concat());
                    Edit::Replace
                }
                _ => Edit::Keep,
            },
        );
        next = edited.and_then(|(next, _)| next);
    }
}

fn apply(tree: &mut Tree<Sum>, map: &mut Map, op: Op) {
    match op {
        Op::Put(key, value) => assert_eq!(put(tree, &key, &value), map.insert(key, value)),
        Op::Remove(key) => assert_eq!(tree.remove(&key), map.remove(&key).is_some()),
        Op::Rewrite(from, byte, leaves) => rewrite(tree, map, from, byte, leaves),
        Op::Keep => {}
        Op::Reload => {
            let mut loader = Loader::default();
            map.iter().for_each(|(key, value)| loader.push(key, value));
            *tree = loader.finish();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_tree_is_a_map_and_old_views_never_change(ops in proptest::collection::vec(op(), 0..600)) {
        let (mut tree, mut map) = (Tree::default(), Map::new());
        let mut views = Vec::new();
        for op in ops {
            if matches!(op, Op::Keep | Op::Rewrite(..)) {
                views.push((tree.clone(), map.clone()));
            }
            apply(&mut tree, &mut map, op);
        }
        views.push((tree, map));
        for (tree, map) in &views {
            check(tree, map);
        }
    }

    #[test]
    fn ranges_and_counts_are_those_of_a_map(
        entries in proptest::collection::btree_map(key(), value(), 0..400), start in key(), end in key(), probe in key(),
    ) {
        let mut tree = Tree::default();
        for (key, value) in &entries {
            put(&mut tree, key, value);
        }
        check(&tree, &entries);
        prop_assert_eq!(tree.get(&probe), entries.get(&probe).map(Vec::as_slice));
        for bound in [Bound::Unbounded, Bound::Excluded(end.as_slice()), Bound::Included(end.as_slice())] {
            let selected = |key: &[u8]| key >= start.as_slice() && match bound {
                Bound::Unbounded => true,
                Bound::Excluded(end) => key < end,
                Bound::Included(end) => key <= end,
            };
            let expected: Vec<Vec<u8>> = entries.keys().filter(|key| selected(key)).cloned().collect();
            let found: Vec<Vec<u8>> = tree.range(&start, bound).map(|(key, _)| key.to_vec()).collect();
            prop_assert_eq!(&found, &expected);
            let live = entries.iter().filter(|(key, value)| selected(key) && Sum::of(value).live == 1).count();
            for whole in [true, false] {
                let mut count = Count { whole, ..Count::default() };
                tree.fold(&start, bound, &mut count);
                prop_assert_eq!(count.live, live);
                prop_assert!(whole || count.entries == expected.len());
            }
        }
    }

    #[test]
    fn a_skipping_walk_misses_nothing_wanted(entries in proptest::collection::btree_map(key(), value(), 0..400), floor in 0u8..5) {
        let mut loader = Loader::default();
        entries.iter().for_each(|(key, value)| loader.push(key, value));
        let tree: Tree<Sum> = loader.finish();
        let mut iter = tree.iter();
        let mut found = Vec::new();
        while let Some((key, value)) = iter.next_wanted(|sum| sum.largest >= floor) {
            if Sum::of(value).largest >= floor {
                found.push(key.to_vec());
            }
        }
        let expected: Vec<_> = entries.iter().filter(|(_, value)| Sum::of(value).largest >= floor).map(|(key, _)| key.clone()).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_failed_edit_changes_nothing() {
    let mut tree = Tree::<Sum>::default();
    put(&mut tree, b"a", b"1");
    let view = tree.clone();
    assert_eq!(tree.upsert(b"b", &mut Vec::new(), |_, _| Err::<(), _>("no")), Err("no"));
    check(&tree, &view.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect());
}

#[test]
fn ascending_inserts_fill_leaves() {
    let mut tree = Tree::<Sum>::default();
    let mut map = Map::new();
    for number in 0..20_000u32 {
        let key = format!("/registry/pods/default/pod-{number:06}").into_bytes();
        put(&mut tree, &key, b"1");
        map.insert(key, b"1".to_vec());
    }
    check(&tree, &map);
    let mut leaves = 0;
    fn count(child: &Child<Sum>, leaves: &mut usize) {
        match child.node.as_ref() {
            Node::Leaf(_) => *leaves += 1,
            Node::Inner(inner) => inner.children.iter().for_each(|child| count(child, leaves)),
        }
    }
    count(tree.root.as_ref().expect("not empty"), &mut leaves);
    assert!(leaves <= 20_000 / (LEAF_KEYS_MAX * 7 / 8) + 1, "{leaves} leaves");
    for key in map.keys() {
        assert!(tree.remove(key));
    }
    assert!(tree.is_empty() && tree.root.is_none());
}

#[test]
fn a_key_of_a_megabyte_fits() {
    let mut tree = Tree::<Sum>::default();
    let mut map = Map::new();
    for byte in 0..20u8 {
        let key = [vec![7; 1 << 20], vec![byte]].concat();
        put(&mut tree, &key, &[byte]);
        map.insert(key, vec![byte]);
    }
    check(&tree, &map);
}
