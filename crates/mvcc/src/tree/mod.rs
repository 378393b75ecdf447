//! A copy-on-write B+tree from byte keys to small byte values.
//!
//! ```text
//!            Tree { root, len }
//!              │
//!            Inner: separators (packed) · children: [node, summary of everything below it]
//!            ╱     ╲
//!        Leaf       Leaf: keys and values (packed)
//! ```
//! Invariants:
//! - Keys strictly ascend in a leaf and from leaf to leaf; child i holds the keys from separator i (inclusive) up to
//!   separator i + 1 (exclusive). All leaves lie equally deep and none is empty.
//! - A node that a clone of the tree can see is never changed: an edit copies the path to it (nodes are shared by
//!   `Arc`). So a clone is O(1) and a view that lasts as long as somebody holds it.
//! - A child's summary bounds all entries below it (see `Summary`), so that counts are O(log n) and walks skip subtrees
//!   that cannot hold what they look for.
//!
//! Sizes: inner nodes are narrow (16), because copying one touches a reference count in each child; leaves are wider
//! (32), because copying one is a block copy. Wider leaves share no more of their keys' prefixes and waste more in the
//! allocator's size classes.
//!
//! Deliberately not here: what the values mean (`entry`), rebalancing of nodes that are merely sparse (they are joined
//! with a neighbour when both fit into one), any lock, any I/O.

mod edit;
mod iter;
mod load;
mod packed;
#[cfg(test)]
mod tests;

pub use edit::Edit;
pub use iter::Iter;
pub use load::Loader;
pub use packed::Key;

use packed::Packed;
use std::fmt::Debug;
use std::ops::Bound;
use std::sync::Arc;

/// Keys in a leaf, at most.
const LEAF_KEYS_MAX: usize = if cfg!(test) { 8 } else { 32 };
/// A leaf with more bytes than this and more than one key is split: bounds what one edit copies.
pub(crate) const LEAF_BYTES_MAX: usize = 4 << 10;
/// Children of an inner node, at most. Both are small in this crate's own tests, so that small trees are deep ones.
const INNER_CHILDREN_MAX: usize = if cfg!(test) { 4 } else { 16 };

const _: () = assert!(LEAF_KEYS_MAX >= 2 && INNER_CHILDREN_MAX >= 4, "a node that is split leaves two that may be");

/// What a tree knows about all entries of a subtree without looking at them.
///
/// Counts are exact. Bounds (a largest or smallest of something) may be wider than the entries after some were replaced
/// or removed, never narrower; rewriting a leaf makes its bounds exact again.
pub trait Summary: Copy + Default + Debug + PartialEq {
    /// Of one entry, by its value.
    fn of(value: &[u8]) -> Self;
    /// Of two disjoint sets of entries together.
    fn add(&mut self, other: &Self);
    /// Of a set in which one entry was replaced: takes `old` out and `new` in.
    fn exchange(&mut self, old: &Self, new: &Self);
}

/// For trees that need none.
impl Summary for () {
    fn of(_: &[u8]) {}
    fn add(&mut self, (): &()) {}
    fn exchange(&mut self, (): &(), (): &()) {}
}

/// See the module's head. `Default` is the empty tree.
#[derive(Clone)]
pub struct Tree<S> {
    root: Option<Child<S>>,
    len: usize,
}

#[derive(Clone)]
struct Child<S> {
    node: Arc<Node<S>>,
    summary: S,
}

#[derive(Clone)]
enum Node<S> {
    Leaf(Packed),
    Inner(Inner<S>),
}

/// One separator fewer than children.
#[derive(Clone)]
struct Inner<S> {
    separators: Packed,
    children: Vec<Child<S>>,
}

impl<S> Default for Tree<S> {
    fn default() -> Tree<S> {
        Tree { root: None, len: 0 }
    }
}

impl<S: Summary> Tree<S> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Of all entries.
    pub(crate) fn summary(&self) -> S {
        self.root.as_ref().map(|root| root.summary).unwrap_or_default()
    }

    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let mut node = &self.root.as_ref()?.node;
        loop {
            match node.as_ref() {
                Node::Leaf(leaf) => return leaf.search(key).ok().map(|at| leaf.value(at)),
                Node::Inner(inner) => node = &inner.children[inner.child_of(key)].node,
            }
        }
    }

    /// The entries from `start` (inclusive) to `end`, in ascending order.
    pub fn range<'a>(&'a self, start: &[u8], end: Bound<&'a [u8]>) -> Iter<'a, S> {
        Iter::new(self.root.as_ref(), start, end)
    }

    pub fn iter(&self) -> Iter<'_, S> {
        self.range(&[], Bound::Unbounded)
    }

    /// Goes over the entries from `start` (inclusive) to `end` in order, a whole subtree at a time where that lies in
    /// the range and `whole` takes it by its summary (answers true), else entry by entry. O(log n) if `whole` takes
    /// everything.
    pub fn fold(&self, start: &[u8], end: Bound<&[u8]>, fold: &mut impl Fold<S>) {
        if let Some(root) = &self.root {
            fold_child(root, Some(start).filter(|start| !start.is_empty()), end, fold);
        }
    }
}

/// What `Tree::fold` calls.
pub trait Fold<S> {
    /// A subtree that lies in the range: true takes it, false asks for its parts.
    fn whole(&mut self, summary: &S) -> bool;
    fn entry(&mut self, key: Key<'_>, value: &[u8]);
}

/// `start` and `end` are `None` and `Unbounded` where the subtree is known to lie within them.
fn fold_child<S: Summary>(child: &Child<S>, start: Option<&[u8]>, end: Bound<&[u8]>, fold: &mut impl Fold<S>) {
    if start.is_none() && end == Bound::Unbounded && fold.whole(&child.summary) {
        return;
    }
    match child.node.as_ref() {
        Node::Leaf(leaf) => {
            let first = start.map_or(0, |start| leaf.below(Bound::Excluded(start)));
            for at in first..leaf.below(end) {
                let (key, value) = leaf.get(at);
                fold.entry(key, value);
            }
        }
        Node::Inner(inner) => {
            let first = start.map_or(0, |start| inner.child_of(start));
            let last = match end {
                Bound::Unbounded => inner.children.len() - 1,
                Bound::Included(end) | Bound::Excluded(end) => inner.child_of(end),
            };
            for at in first..=last {
                let start = start.filter(|_| at == first);
                let end = if at == last { end } else { Bound::Unbounded };
                fold_child(&inner.children[at], start, end, fold);
            }
        }
    }
}

impl Packed {
    /// Exact.
    fn summary<S: Summary>(&self) -> S {
        let mut sum = S::default();
        self.iter().for_each(|(_, value)| sum.add(&S::of(value)));
        sum
    }
}

impl<S: Summary> Inner<S> {
    /// Position of the child that holds `key` if any does.
    fn child_of(&self, key: &[u8]) -> usize {
        self.separators.below(Bound::Included(key))
    }

    fn summary(&self) -> S {
        let mut sum = S::default();
        self.children.iter().for_each(|child| sum.add(&child.summary));
        sum
    }
}

impl<S: Summary> Child<S> {
    fn leaf(packed: Packed) -> Child<S> {
        let summary = packed.summary();
        Child { node: Arc::new(Node::Leaf(packed)), summary }
    }

    fn inner(inner: Inner<S>) -> Child<S> {
        let summary = inner.summary();
        Child { node: Arc::new(Node::Inner(inner)), summary }
    }
}
