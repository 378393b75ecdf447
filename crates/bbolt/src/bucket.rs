//! A bucket and a walk through it in the order of its keys.

use crate::page::{Kind, LeafElement, Page};
use crate::pages::Pages;
use crate::read_at::ReadAt;
use crate::{Database, Error, Result};
use bytes::{Buf, Bytes};

/// Branches above a leaf at most. Etcd's largest files have five.
pub const DEPTH_MAX: usize = 32;
/// Before the page in the value of a bucket that is small enough to lie there: its root (0) and its sequence.
const BUCKET_HEADER: usize = 16;

/// Where a tree begins.
#[derive(Debug, Clone)]
pub struct Bucket {
    root: Root,
}

#[derive(Debug, Clone)]
enum Root {
    Page(u64),
    /// A leaf in the value that names the bucket.
    Inline(Bytes),
}

/// What lies under a key.
#[derive(Debug, Clone)]
pub enum Item {
    Value(Bytes),
    Bucket(Bucket),
}

/// Where an item lies, to read it again without a search. Only good for the bucket that it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    page: u64,
    element: u16,
}

impl Bucket {
    pub(crate) fn at(page: u64) -> Bucket {
        Bucket { root: Root::Page(page) }
    }

    /// From the value that names it; `page` is where that lies.
    fn from_value(page: u64, value: &Bytes) -> Result<Bucket> {
        let mut rest = value.clone();
        if rest.len() < BUCKET_HEADER {
            return Err(Error::damaged(page, "the header of a bucket is cut off"));
        }
        let root = rest.get_u64_le();
        rest.advance(8);
        Ok(Bucket { root: if root == 0 { Root::Inline(rest) } else { Root::Page(root) } })
    }

    pub(crate) fn root_page(&self) -> Option<u64> {
        match self.root {
            Root::Page(page) => Some(page),
            Root::Inline(_) => None,
        }
    }

    pub(crate) fn page<R: ReadAt>(&self, database: &Database<R>, id: u64) -> Result<Page> {
        match &self.root {
            // No tree lies in page 0, which is a meta page, so 0 can only mean this one.
            Root::Inline(bytes) if id == 0 => Page::new(0, bytes.clone()),
            _ => database.page(id),
        }
    }

    /// The item at a position that a cursor gave.
    pub fn item<R: ReadAt>(&self, database: &Database<R>, position: Position) -> Result<(Bytes, Item)> {
        let page = self.page(database, position.page)?;
        match page.kind {
            Kind::Leaf => item(page.id, page.leaf(position.element)?),
            _ => Err(Error::damaged(page.id, "a leaf is wanted here, and it is none")),
        }
    }
}

pub(crate) fn item(page: u64, found: LeafElement) -> Result<(Bytes, Item)> {
    let item = match found.is_bucket {
        true => Item::Bucket(Bucket::from_value(page, &found.value)?),
        false => Item::Value(found.value),
    };
    Ok((found.key, item))
}

/// A page on the way from the root, and what of it is still to come.
#[derive(Debug)]
struct Visited {
    page: Page,
    next: u16,
    /// Where the data of the last element ended.
    data_end: u64,
}

/// Walks through a bucket. Fails where keys do not ascend, elements share bytes or a page comes a second time, so a
/// walk ends and shows no byte twice.
#[derive(Debug)]
pub struct Cursor<'a, R> {
    database: &'a Database<R>,
    bucket: Bucket,
    /// From the root down.
    path: Vec<Visited>,
    seen: Pages,
    last: Option<Bytes>,
    is_started: bool,
}

impl<'a, R: ReadAt> Cursor<'a, R> {
    pub fn new(database: &'a Database<R>, bucket: &Bucket) -> Cursor<'a, R> {
        let seen = Pages::below(database.pages());
        Cursor { database, bucket: bucket.clone(), path: Vec::new(), seen, last: None, is_started: false }
    }

    /// The next item in ascending order of keys. After an error there is none.
    pub fn next_item(&mut self) -> Result<Option<(Position, Bytes, Item)>> {
        let next = self.step();
        if next.is_err() {
            self.path.clear();
        }
        next
    }

    fn step(&mut self) -> Result<Option<(Position, Bytes, Item)>> {
        if !self.is_started {
            self.is_started = true;
            self.descend(self.bucket.root_page().unwrap_or(0))?;
        }
        while let Some(visited) = self.path.last_mut() {
            let element = visited.next;
            if element >= visited.page.count {
                self.path.pop();
                continue;
            }
            visited.next = element + 1;
            if visited.page.kind == Kind::Leaf {
                return self.leaf(element).map(Some);
            }
            let child = visited.page.branch(element)?.child;
            self.descend(child)?;
        }
        Ok(None)
    }

    /// Of the last page of the path.
    fn leaf(&mut self, element: u16) -> Result<(Position, Bytes, Item)> {
        let Some(visited) = self.path.last_mut() else { return Err(Error::damaged(0, "there is no page")) };
        let id = visited.page.id;
        let found = visited.page.leaf(element)?;
        if found.data.start < visited.data_end {
            return Err(Error::damaged(id, format!("element {element} shares bytes with the one before it")));
        }
        visited.data_end = found.data.end;
        if self.last.as_ref().is_some_and(|last| *last >= found.key) {
            return Err(Error::damaged(id, format!("key {element} is not behind the one before it")));
        }
        self.last = Some(found.key.clone());
        let (key, item) = item(id, found)?;
        Ok((Position { page: id, element }, key, item))
    }

    fn descend(&mut self, id: u64) -> Result<()> {
        let page = self.bucket.page(self.database, id)?;
        match self.bucket.root_page() {
            None if page.kind == Kind::Branch => return Err(Error::damaged(id, "a bucket in a value has a branch")),
            Some(_) if self.seen.insert(id) != Some(true) => {
                return Err(Error::damaged(id, "it comes twice in one tree"));
            }
            _ => {}
        }
        if self.path.len() >= DEPTH_MAX {
            return Err(Error::damaged(id, format!("it lies deeper than {DEPTH_MAX} pages")));
        }
        self.path.push(Visited { page, next: 0, data_end: 0 });
        Ok(())
    }
}
