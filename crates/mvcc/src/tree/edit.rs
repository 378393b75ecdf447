//! Changes of a tree: one entry, or a leaf at a time.
//!
//! Each copies the nodes from the root to the leaf that others still see; nodes that only this tree sees are changed in
//! place.

use super::packed::{Key, Packed, separator};
use super::{Child, INNER_CHILDREN_MAX, Inner, LEAF_BYTES_MAX, LEAF_KEYS_MAX, Node, Summary, Tree};
use std::sync::Arc;

/// What becomes of an entry when its leaf is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    Keep,
    /// By the value that the editor wrote to its output.
    Replace,
    Remove,
}

/// A leaf's new content, made without touching the tree.
struct Rewritten<S> {
    content: Option<(Packed, S)>,
    removed: usize,
}

struct Upserted<R, S> {
    result: R,
    inserted: bool,
    split: Split<S>,
}

/// A node that was split off to the right, with the separator before it.
type Split<S> = Option<(Vec<u8>, Child<S>)>;

impl<S: Summary> Tree<S> {
    /// Puts or replaces the value of `key`. `edit` sees the value there was and appends the new one to `out`, which
    /// arrives empty; if it fails, nothing changes.
    pub fn upsert<R, E>(
        &mut self,
        key: &[u8],
        out: &mut Vec<u8>,
        edit: impl FnOnce(Option<&[u8]>, &mut Vec<u8>) -> Result<R, E>,
    ) -> Result<R, E> {
        out.clear();
        let Some(root) = &mut self.root else {
            let result = edit(None, out)?;
            self.root = Some(Child::leaf(Packed::build(&[(key.into(), out)])));
            self.len = 1;
            return Ok(result);
        };
        assert!(self.len > 0, "a tree with a root has entries");
        let Upserted { result, inserted, split } = upsert(root, key, edit, out)?;
        self.len += usize::from(inserted);
        if let Some((parting, right)) = split {
            self.grow(parting, right);
        }
        Ok(result)
    }

    fn grow(&mut self, parting: Vec<u8>, right: Child<S>) {
        let Some(left) = self.root.take() else { return };
        let separators = Packed::build(&[(parting.as_slice().into(), &[])]);
        let mut children = Vec::with_capacity(INNER_CHILDREN_MAX);
        children.extend([left, right]);
        self.root = Some(Child::inner(Inner { separators, children }));
    }

    /// Takes `key` out; false if it was not there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let Some(leaf) = self.leaf_of(key) else { return false };
        let Ok(at) = leaf.search(key) else { return false };
        let packed = leaf.removed(at);
        let summary = packed.summary();
        let content = (packed.count() > 0).then_some((packed, summary));
        self.replace_leaf(key, Rewritten { content, removed: 1 });
        true
    }

    fn leaf_of(&self, key: &[u8]) -> Option<&Packed> {
        let mut node = &self.root.as_ref()?.node;
        loop {
            match node.as_ref() {
                Node::Leaf(leaf) => return Some(leaf),
                Node::Inner(inner) => node = &inner.children[inner.child_of(key)].node,
            }
        }
    }

    /// Rewrites the first leaf at or behind the one of `from` that `wanted` says yes to: `edit` is asked about each
    /// entry of it in order. Answers the key to go on from and the number of entries seen; `None` if no leaf is left.
    ///
    /// A leaf in which nothing changed is left as it is, except that its summary becomes exact.
    pub(crate) fn rewrite_leaf(
        &mut self,
        from: &[u8],
        wanted: impl Fn(&S) -> bool,
        mut edit: impl FnMut(&Key<'_>, &[u8], &mut Vec<u8>) -> Edit,
    ) -> Option<(Option<Vec<u8>>, usize)> {
        let mut next = None;
        let child = find_leaf(self.root.as_ref()?, from, &wanted, &mut next)?;
        let Node::Leaf(leaf) = child.node.as_ref() else { unreachable!("a leaf was looked for") };
        let mut values = Vec::new();
        let mut kept: Vec<(Key<'_>, std::ops::Range<usize>)> = Vec::with_capacity(leaf.count());
        let mut summary = S::default();
        let mut changed = false;
        for (key, value) in leaf.iter() {
            let start = values.len();
            match edit(&key, value, &mut values) {
                Edit::Keep => values.extend_from_slice(value),
                Edit::Replace => changed = true,
                Edit::Remove => {
                    changed = true;
                    continue;
                }
            }
            summary.add(&S::of(&values[start..]));
            kept.push((key, start..values.len()));
        }
        let seen = leaf.count();
        if !changed && summary == child.summary {
            return Some((next, seen));
        }
        let items: Vec<(Key<'_>, &[u8])> = kept.iter().map(|(key, at)| (*key, &values[at.clone()])).collect();
        let packed = if changed { Packed::build(&items) } else { leaf.clone() };
        let removed = seen - packed.count();
        let content = (packed.count() > 0).then_some((packed, summary));
        self.replace_leaf(&leaf.key(0).to_vec(), Rewritten { content, removed });
        Some((next, seen))
    }

    /// `locator` is a key of the leaf as it was.
    fn replace_leaf(&mut self, locator: &[u8], rewritten: Rewritten<S>) {
        assert!(rewritten.removed <= self.len, "a leaf loses entries that the tree has");
        self.len -= rewritten.removed;
        let Some(root) = &mut self.root else { return };
        let emptied = replace_leaf(root, locator, rewritten);
        assert_eq!(emptied, self.len == 0, "the root goes with the last entry");
        if emptied {
            self.root = None;
            return;
        }
        // A root with one child is a level too many.
        while let Some(Node::Inner(inner)) = self.root.as_ref().map(|root| root.node.as_ref()) {
            let [only] = inner.children.as_slice() else { return };
            self.root = Some(only.clone());
        }
    }
}

/// The first wanted leaf at or behind the one of `from`; `next` becomes the lowest key that may be behind it.
fn find_leaf<'a, S: Summary>(
    child: &'a Child<S>,
    from: &[u8],
    wanted: &impl Fn(&S) -> bool,
    next: &mut Option<Vec<u8>>,
) -> Option<&'a Child<S>> {
    if !wanted(&child.summary) {
        return None;
    }
    let inner = match child.node.as_ref() {
        Node::Leaf(_) => return Some(child),
        Node::Inner(inner) => inner,
    };
    let first = inner.child_of(from);
    let outer = next.take();
    for (at, child) in inner.children.iter().enumerate().skip(first) {
        *next = if at < inner.separators.count() { Some(inner.separators.key(at).to_vec()) } else { outer.clone() };
        let from = if at == first { from } else { &[] };
        if let Some(leaf) = find_leaf(child, from, wanted, next) {
            return Some(leaf);
        }
    }
    *next = outer;
    None
}

fn upsert<S: Summary, R, E>(
    child: &mut Child<S>,
    key: &[u8],
    edit: impl FnOnce(Option<&[u8]>, &mut Vec<u8>) -> Result<R, E>,
    out: &mut Vec<u8>,
) -> Result<Upserted<R, S>, E> {
    if let Node::Leaf(leaf) = child.node.as_ref() {
        let place = leaf.search(key);
        let old = place.ok().map(|at| leaf.value(at));
        let result = edit(old, out)?;
        let mut summary = child.summary;
        match old {
            Some(old) => summary.exchange(&S::of(old), &S::of(out)),
            None => summary.add(&S::of(out)),
        }
        let packed = match place {
            Ok(at) => leaf.replaced(at, out),
            Err(at) => leaf.inserted(at, key, out),
        };
        let appended = place == Err(leaf.count());
        let inserted = place.is_err();
        let split = set_leaf(child, packed, summary, appended);
        return Ok(Upserted { result, inserted, split });
    }
    let Node::Inner(inner) = Arc::make_mut(&mut child.node) else { unreachable!("leaves are handled above") };
    let at = inner.child_of(key);
    let mut upserted = upsert(&mut inner.children[at], key, edit, out)?;
    upserted.split = upserted.split.and_then(|(parting, right)| inner.insert(at + 1, &parting, right));
    child.summary = inner.summary();
    Ok(upserted)
}

/// Gives the child new content, which is split if it is too much for one leaf.
fn set_leaf<S: Summary>(child: &mut Child<S>, packed: Packed, summary: S, appended: bool) -> Split<S> {
    let count = packed.count();
    if count <= LEAF_KEYS_MAX && (packed.size() <= LEAF_BYTES_MAX || count < 2) {
        set_node(&mut child.node, Node::Leaf(packed));
        child.summary = summary;
        return None;
    }
    let at = if appended { behind_appended(count) } else { packed.middle() };
    let (left, right) = packed.split(at);
    assert!(left.count() > 0 && right.count() > 0, "no leaf is empty");
    let parting = separator(&left.key(left.count() - 1), &right.key(0));
    *child = Child::leaf(left);
    Some((parting, Child::leaf(right)))
}

/// Where to split a node that was added to at its end: keys that come in ascending order shall leave full nodes behind.
fn behind_appended(count: usize) -> usize {
    count - (count / 8).max(1)
}

fn set_node<S>(node: &mut Arc<Node<S>>, content: Node<S>) {
    match Arc::get_mut(node) {
        Some(node) => *node = content,
        None => *node = Arc::new(content),
    }
}

impl<S: Summary> Inner<S> {
    /// Puts a child at `at` (not the first), with the separator before it. Splits the node if it becomes too wide.
    fn insert(&mut self, at: usize, parting: &[u8], child: Child<S>) -> Split<S> {
        let appended = at == self.children.len();
        self.separators = self.separators.inserted(at - 1, parting, &[]);
        self.children.insert(at, child);
        let count = self.children.len();
        if count <= INNER_CHILDREN_MAX {
            return None;
        }
        let at = if appended { behind_appended(count) } else { count / 2 };
        let parting = self.separators.key(at - 1).to_vec();
        let (left, rest) = self.separators.split(at - 1);
        let right = Inner { separators: rest.removed(0), children: self.children.split_off(at) };
        self.separators = left;
        Some((parting, Child::inner(right)))
    }

    /// Takes the child at `at` out, with one separator beside it.
    fn remove(&mut self, at: usize) {
        self.children.remove(at);
        if self.separators.count() > 0 {
            self.separators = self.separators.removed(at.saturating_sub(1));
        }
    }

    /// Joins the child at `at` with a neighbour if both together fit into one node with bytes to spare.
    fn join_around(&mut self, at: usize) {
        for left in [at, at.wrapping_sub(1)] {
            let (Some(one), Some(other)) = (self.children.get(left), self.children.get(left.wrapping_add(1))) else {
                continue;
            };
            let Some(joined) = joined(one, other, || self.separators.key(left).to_vec()) else { continue };
            self.children[left] = joined;
            self.children.remove(left + 1);
            self.separators = self.separators.removed(left);
            return;
        }
    }
}

/// One node with the content of both, if that leaves bytes for inserts. `parting` is the separator between them.
fn joined<S: Summary>(left: &Child<S>, right: &Child<S>, parting: impl Fn() -> Vec<u8>) -> Option<Child<S>> {
    match (left.node.as_ref(), right.node.as_ref()) {
        (Node::Leaf(one), Node::Leaf(other)) => {
            let fits = one.count() + other.count() <= LEAF_KEYS_MAX * 3 / 4
                && one.size() + other.size() <= LEAF_BYTES_MAX * 3 / 4;
            fits.then(|| {
                let mut summary = left.summary;
                summary.add(&right.summary);
                Child { node: Arc::new(Node::Leaf(one.joined(other))), summary }
            })
        }
        (Node::Inner(one), Node::Inner(other)) => {
            (one.children.len() + other.children.len() <= INNER_CHILDREN_MAX * 3 / 4).then(|| {
                let parting = parting();
                let middle = Packed::build(&[(parting.as_slice().into(), &[])]);
                let separators = one.separators.joined(&middle).joined(&other.separators);
                let mut children = Vec::with_capacity(INNER_CHILDREN_MAX);
                children.extend(one.children.iter().chain(&other.children).cloned());
                Child::inner(Inner { separators, children })
            })
        }
        _ => unreachable!("all leaves lie equally deep"),
    }
}

/// True if nothing is left below the child.
fn replace_leaf<S: Summary>(child: &mut Child<S>, locator: &[u8], rewritten: Rewritten<S>) -> bool {
    if let Node::Leaf(_) = child.node.as_ref() {
        let Some((packed, summary)) = rewritten.content else { return true };
        set_node(&mut child.node, Node::Leaf(packed));
        child.summary = summary;
        return false;
    }
    let Node::Inner(inner) = Arc::make_mut(&mut child.node) else { unreachable!("leaves are handled above") };
    let at = inner.child_of(locator);
    let shrunk = rewritten.removed > 0;
    if replace_leaf(&mut inner.children[at], locator, rewritten) {
        inner.remove(at);
    } else if shrunk {
        inner.join_around(at);
    }
    child.summary = inner.summary();
    inner.children.is_empty()
}
