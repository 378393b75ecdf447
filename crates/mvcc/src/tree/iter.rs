//! Ordered walk over a tree, pulled by the reader, with a look at summaries to skip what does not matter.

use super::packed::{Key, Packed};
use super::{Child, Inner, Node, Summary};
use std::ops::Bound;

/// The entries of a range, in ascending order. Borrows the tree.
pub struct Iter<'a, S> {
    /// Inner nodes on the way down, each with the position of the next child to visit.
    path: Vec<(&'a Inner<S>, usize)>,
    leaf: Option<&'a Packed>,
    at: usize,
    /// Behind the last entry of the leaf that is in the range.
    leaf_end: usize,
    /// `None` once the walk has reached a leaf that holds the end.
    end: Option<Bound<&'a [u8]>>,
}

impl<'a, S: Summary> Iter<'a, S> {
    pub(super) fn new(root: Option<&'a Child<S>>, start: &[u8], end: Bound<&'a [u8]>) -> Iter<'a, S> {
        let mut iter = Iter { path: Vec::new(), leaf: None, at: 0, leaf_end: 0, end: Some(end) };
        let Some(mut child) = root else { return iter };
        loop {
            match child.node.as_ref() {
                Node::Inner(inner) => {
                    let at = inner.child_of(start);
                    iter.path.push((inner, at + 1));
                    child = &inner.children[at];
                }
                Node::Leaf(leaf) => {
                    iter.enter(leaf);
                    iter.at = leaf.below(Bound::Excluded(start));
                    return iter;
                }
            }
        }
    }

    fn enter(&mut self, leaf: &'a Packed) {
        let Some(end) = self.end else {
            self.leaf = None;
            return;
        };
        self.leaf = Some(leaf);
        self.at = 0;
        self.leaf_end = leaf.below(end);
        if self.leaf_end < leaf.count() {
            self.end = None;
        }
    }

    /// The next entry, looking only into subtrees that `wanted` says yes to. The leaf that the walk began in is always
    /// looked into, so the caller checks the entry itself too.
    pub(crate) fn next_wanted(&mut self, wanted: impl Fn(&S) -> bool) -> Option<(Key<'a>, &'a [u8])> {
        loop {
            let leaf = self.leaf?;
            if self.at < self.leaf_end {
                let entry = leaf.get(self.at);
                self.at += 1;
                return Some(entry);
            }
            match self.next_leaf(&wanted) {
                Some(leaf) => self.enter(leaf),
                None => self.leaf = None,
            }
        }
    }

    fn next_leaf(&mut self, wanted: &impl Fn(&S) -> bool) -> Option<&'a Packed> {
        self.end?;
        loop {
            let (inner, next) = self.path.last_mut()?;
            let Some(child) = inner.children.get(*next) else {
                self.path.pop();
                continue;
            };
            *next += 1;
            if !wanted(&child.summary) {
                continue;
            }
            match child.node.as_ref() {
                Node::Leaf(leaf) => return Some(leaf),
                Node::Inner(inner) => self.path.push((inner, 0)),
            }
        }
    }
}

impl<'a, S: Summary> Iterator for Iter<'a, S> {
    type Item = (Key<'a>, &'a [u8]);

    fn next(&mut self) -> Option<(Key<'a>, &'a [u8])> {
        self.next_wanted(|_| true)
    }
}
