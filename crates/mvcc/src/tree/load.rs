//! Builds a tree from entries in ascending order, bottom up and without searching: O(n), leaves nearly full.

use super::packed::{Key, Packed, separator};
use super::{Child, INNER_CHILDREN_MAX, Inner, LEAF_BYTES_MAX, LEAF_KEYS_MAX, Summary, Tree};

/// Some bytes are left for later inserts, so that the first of them does not split every leaf.
const LEAF_KEYS: usize = LEAF_KEYS_MAX * 7 / 8;
const LEAF_BYTES: usize = LEAF_BYTES_MAX * 7 / 8;
const INNER_CHILDREN: usize = INNER_CHILDREN_MAX - INNER_CHILDREN_MAX / 8;

const _: () = assert!(LEAF_KEYS >= 1 && LEAF_KEYS <= LEAF_KEYS_MAX, "what is loaded fits into leaves");
const _: () =
    assert!(INNER_CHILDREN >= 2 && INNER_CHILDREN <= INNER_CHILDREN_MAX, "each level is narrower than that below");

/// Takes entries in strictly ascending order, then hands out the tree.
pub struct Loader<S> {
    /// Keys and values of the leaf being filled, one after the other, and where each of them ends.
    pending: Vec<u8>,
    ends: Vec<(usize, usize)>,
    last_key: Vec<u8>,
    /// Per level above the leaves: children that have no parent yet, each with the separator before it.
    levels: Vec<Vec<(Vec<u8>, Child<S>)>>,
    len: usize,
}

impl<S: Summary> Default for Loader<S> {
    fn default() -> Loader<S> {
        Loader { pending: Vec::new(), ends: Vec::new(), last_key: Vec::new(), levels: Vec::new(), len: 0 }
    }
}

impl<S: Summary> Loader<S> {
    /// Adds an entry. Keys must strictly ascend; this is checked.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        assert!(self.len == 0 || key > self.pending_last_key(), "entries are loaded in strictly ascending order");
        if self.ends.len() == LEAF_KEYS || (!self.ends.is_empty() && self.pending.len() + value.len() > LEAF_BYTES) {
            self.close_leaf();
        }
        self.pending.extend_from_slice(key);
        let key_end = self.pending.len();
        self.pending.extend_from_slice(value);
        self.ends.push((key_end, self.pending.len()));
        self.len += 1;
    }

    /// The tree of all entries.
    pub fn finish(mut self) -> Tree<S> {
        if self.len == 0 {
            return Tree::default();
        }
        self.close_leaf();
        let mut level = 0;
        loop {
            let top = level + 1 == self.levels.len();
            if top && self.levels[level].len() == 1 {
                let root = self.levels[level].pop().map(|(_, child)| child);
                return Tree { root, len: self.len };
            }
            if !self.levels[level].is_empty() {
                self.close_inner(level);
            }
            level += 1;
        }
    }

    fn pending_last_key(&self) -> &[u8] {
        let Some(&(key_end, _)) = self.ends.last() else { return &self.last_key };
        let start = self.ends.iter().rev().nth(1).map_or(0, |&(_, end)| end);
        &self.pending[start..key_end]
    }

    fn close_leaf(&mut self) {
        assert!(!self.ends.is_empty(), "no leaf is empty");
        let mut items: Vec<(Key<'_>, &[u8])> = Vec::with_capacity(self.ends.len());
        let mut start = 0;
        for &(key_end, end) in &self.ends {
            items.push((self.pending[start..key_end].into(), &self.pending[key_end..end]));
            start = end;
        }
        let packed = Packed::build(&items);
        let first = items.first().map(|(key, _)| *key).unwrap_or_default();
        let parting = separator(&self.last_key.as_slice().into(), &first);
        self.last_key = self.pending_last_key().to_vec();
        self.pending.clear();
        self.ends.clear();
        self.add(0, parting, Child::leaf(packed));
    }

    fn add(&mut self, level: usize, parting: Vec<u8>, child: Child<S>) {
        if level == self.levels.len() {
            self.levels.push(Vec::new());
        }
        if self.levels[level].len() == INNER_CHILDREN {
            self.close_inner(level);
        }
        self.levels[level].push((parting, child));
    }

    fn close_inner(&mut self, level: usize) {
        let mut parts = std::mem::take(&mut self.levels[level]).into_iter();
        let Some((parting, first)) = parts.next() else { return };
        let (separators, rest): (Vec<Vec<u8>>, Vec<Child<S>>) = parts.unzip();
        let items: Vec<(Key<'_>, &[u8])> = separators.iter().map(|key| (key.as_slice().into(), &[][..])).collect();
        let separators = Packed::build(&items);
        let mut children = Vec::with_capacity(INNER_CHILDREN_MAX.min(1 + rest.len()));
        children.push(first);
        children.extend(rest);
        self.add(level + 1, parting, Child::inner(Inner { separators, children }));
    }
}
