//! Which of many key ranges hold a key: a tree of ranges ordered by their start, where each node knows the greatest end
//! below it, so that a subtree that ends before the key is never entered. Balanced as a treap with priorities from a
//! counter.
//!
//! Cost: insertion and removal O(log n), a look-up O(log n + matches) (each expected); no cost depends on how ranges
//! overlap.
//! Invariants: no two nodes hold the same range; `furthest` of a node names the node with the greatest end in its
//! subtree.
//! Not here: single keys, which the registry keeps in a hash map.

use bytes::Bytes;
use std::cmp::Ordering;

/// Half-open range of keys; `end` `None` is unbounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) start: Bytes,
    pub(crate) end: Option<Bytes>,
}

impl Interval {
    fn cmp(&self, other: &Interval) -> Ordering {
        self.start.cmp(&other.start).then_with(|| cmp_ends(&self.end, &other.end))
    }

    fn ends_after(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_none_or(|end| end.as_ref() > key)
    }
}

fn cmp_ends(one: &Option<Bytes>, other: &Option<Bytes>) -> Ordering {
    match (one, other) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(one), Some(other)) => one.cmp(other),
    }
}

/// Ranges with a number each, given by the caller.
#[derive(Debug, Default)]
pub(crate) struct IntervalTree {
    nodes: Vec<Node>,
    free: Vec<u32>,
    root: Link,
    inserted: u64,
}

/// A node's place, or none.
type Link = Option<u32>;

#[derive(Debug)]
struct Node {
    interval: Interval,
    value: u32,
    priority: u64,
    left: Link,
    right: Link,
    /// The node with the greatest end in this subtree.
    furthest: u32,
}

impl IntervalTree {
    /// The value of exactly this range.
    pub(crate) fn get(&self, interval: &Interval) -> Option<u32> {
        let mut at = self.root;
        while let Some(place) = at {
            let node = self.node(place);
            at = match interval.cmp(&node.interval) {
                Ordering::Less => node.left,
                Ordering::Greater => node.right,
                Ordering::Equal => return Some(node.value),
            };
        }
        None
    }

    /// Adds a range that is not in the tree.
    pub(crate) fn insert(&mut self, interval: Interval, value: u32) {
        self.inserted += 1;
        let (before, after) = self.split(self.root, &interval);
        let place = self.allocate(interval, value);
        let left = self.merge(before, Some(place));
        self.root = self.merge(left, after);
    }

    /// Takes a range out; its value.
    pub(crate) fn remove(&mut self, interval: &Interval) -> Option<u32> {
        let (root, removed) = self.remove_below(self.root, interval);
        self.root = root;
        let removed = removed?;
        self.free.push(removed);
        let node = self.node_mut(removed);
        node.interval = Interval { start: Bytes::new(), end: None };
        Some(node.value)
    }

    /// Calls `found` with the value of every range that holds `key`, in order of the ranges.
    pub(crate) fn matching(&self, key: &[u8], found: &mut impl FnMut(u32)) {
        self.matching_below(self.root, key, found);
    }

    fn matching_below(&self, at: Link, key: &[u8], found: &mut impl FnMut(u32)) {
        let Some(place) = at else { return };
        let node = self.node(place);
        if !self.node(node.furthest).interval.ends_after(key) {
            return;
        }
        self.matching_below(node.left, key, found);
        if node.interval.start.as_ref() <= key {
            if node.interval.ends_after(key) {
                found(node.value);
            }
            self.matching_below(node.right, key, found);
        }
    }

    fn node(&self, place: u32) -> &Node {
        self.nodes.get(place as usize).expect("links name nodes of this tree")
    }

    fn node_mut(&mut self, place: u32) -> &mut Node {
        self.nodes.get_mut(place as usize).expect("links name nodes of this tree")
    }

    fn allocate(&mut self, interval: Interval, value: u32) -> u32 {
        let priority = mix(self.inserted);
        let place = self.free.pop().unwrap_or(self.nodes.len() as u32);
        let node = Node { interval, value, priority, left: None, right: None, furthest: place };
        match self.nodes.get_mut(place as usize) {
            Some(reused) => *reused = node,
            None => self.nodes.push(node),
        }
        place
    }

    /// Cuts a subtree into the ranges below `at` and the rest.
    fn split(&mut self, link: Link, at: &Interval) -> (Link, Link) {
        let Some(place) = link else { return (None, None) };
        if self.node(place).interval.cmp(at) == Ordering::Less {
            let (inner, after) = self.split(self.node(place).right, at);
            self.node_mut(place).right = inner;
            self.update(place);
            (Some(place), after)
        } else {
            let (before, inner) = self.split(self.node(place).left, at);
            self.node_mut(place).left = inner;
            self.update(place);
            (before, Some(place))
        }
    }

    /// Joins two subtrees; all of `before` lies below all of `after`.
    fn merge(&mut self, before: Link, after: Link) -> Link {
        let (Some(one), Some(other)) = (before, after) else { return before.or(after) };
        if self.node(one).priority > self.node(other).priority {
            let right = self.merge(self.node(one).right, after);
            self.node_mut(one).right = right;
            self.update(one);
            Some(one)
        } else {
            let left = self.merge(before, self.node(other).left);
            self.node_mut(other).left = left;
            self.update(other);
            Some(other)
        }
    }

    /// Takes a range out of a subtree: its new root and the freed place.
    fn remove_below(&mut self, link: Link, interval: &Interval) -> (Link, Link) {
        let Some(place) = link else { return (None, None) };
        let (left, right) = (self.node(place).left, self.node(place).right);
        let removed = match interval.cmp(&self.node(place).interval) {
            Ordering::Equal => return (self.merge(left, right), Some(place)),
            Ordering::Less => {
                let (left, removed) = self.remove_below(left, interval);
                self.node_mut(place).left = left;
                removed
            }
            Ordering::Greater => {
                let (right, removed) = self.remove_below(right, interval);
                self.node_mut(place).right = right;
                removed
            }
        };
        if removed.is_some() {
            self.update(place);
        }
        (Some(place), removed)
    }

    fn update(&mut self, place: u32) {
        let node = self.node(place);
        let mut furthest = place;
        for child in [node.left, node.right].into_iter().flatten() {
            let candidate = self.node(child).furthest;
            if cmp_ends(&self.node(candidate).interval.end, &self.node(furthest).interval.end) == Ordering::Greater {
                furthest = candidate;
            }
        }
        self.node_mut(place).furthest = furthest;
    }
}

/// Spreads a counter over all bits (splitmix64): priorities that nobody outside can choose.
fn mix(counter: u64) -> u64 {
    let mut bits = counter.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(0..4u8, 0..3).prop_map(Bytes::from)
    }

    fn interval() -> impl Strategy<Value = Interval> {
        (key(), proptest::option::weighted(0.8, key())).prop_map(|(start, end)| Interval { start, end })
    }

    fn depth(tree: &IntervalTree, at: Link) -> usize {
        at.map_or(0, |place| {
            let node = tree.node(place);
            1 + depth(tree, node.left).max(depth(tree, node.right))
        })
    }

    proptest! {
        #[test]
        fn finds_what_a_scan_finds(
            steps in proptest::collection::vec((interval(), any::<bool>()), 0..80),
            keys in proptest::collection::vec(key(), 1..20),
        ) {
            let mut tree = IntervalTree::default();
            let mut model: Vec<(Interval, u32)> = Vec::new();
            for (number, (interval, add)) in steps.into_iter().enumerate() {
                let known = model.iter().position(|(other, _)| *other == interval);
                prop_assert_eq!(tree.get(&interval), known.map(|at| model[at].1));
                match (add, known) {
                    (true, None) => {
                        tree.insert(interval.clone(), number as u32);
                        model.push((interval, number as u32));
                    }
                    (false, known) => {
                        prop_assert_eq!(tree.remove(&interval), known.map(|at| model.remove(at).1));
                    }
                    (true, Some(_)) => {}
                }
                for key in &keys {
                    let mut found = Vec::new();
                    tree.matching(key, &mut |value| found.push(value));
                    found.sort_unstable();
                    let mut expected: Vec<u32> = model.iter()
                        .filter(|(interval, _)| interval.start <= key && interval.ends_after(key))
                        .map(|(_, value)| *value).collect();
                    expected.sort_unstable();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }

    #[test]
    fn ranges_in_order_do_not_make_it_deep() {
        let mut tree = IntervalTree::default();
        for number in 0..10_000u32 {
            let start = Bytes::copy_from_slice(&number.to_be_bytes());
            tree.insert(Interval { start, end: None }, number);
        }
        let depth = depth(&tree, tree.root);
        assert!(depth < 60, "{depth}");
    }
}
