//! Whether the whole file is what its format allows: every page reachable once or free, keys in order and below their
//! parents.

use crate::bucket::{Bucket, DEPTH_MAX, Item, item};
use crate::page::{HEADER, Header, Kind, Page};
use crate::pages::Pages;
use crate::read_at::ReadAt;
use crate::{Database, Error, Result};
use bytes::Bytes;

/// Problems that are listed; one damaged page can make thousands.
pub const PROBLEMS_MAX: usize = 100;
/// How a free list says that its first number is the count, as a u16 cannot.
const COUNT_IN_FIRST: u16 = u16::MAX;
const META_PAGES: u64 = 2;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Each a sentence with its page; empty: the file is whole.
    pub problems: Vec<String>,
    /// Pages that hold something.
    pub pages_in_use: u64,
}

/// A page that is still to be looked at, and the bounds of its keys.
struct Open {
    bucket: Bucket,
    page: u64,
    from: Option<Bytes>,
    before: Option<Bytes>,
    depth: usize,
}

struct Checker<'a, R> {
    database: &'a Database<R>,
    seen: Pages,
    open: Vec<Open>,
    problems: Vec<String>,
}

impl<R: ReadAt> Database<R> {
    /// Reads every page that can be reached. Fails only if the machine does.
    pub fn check(&self) -> Result<Check> {
        let mut checker =
            Checker { database: self, seen: Pages::below(self.pages()), open: Vec::new(), problems: Vec::new() };
        checker.run()?;
        Ok(Check { pages_in_use: checker.seen.len(), problems: checker.problems })
    }
}

impl<R: ReadAt> Checker<'_, R> {
    fn run(&mut self) -> Result<()> {
        let (pages, meta) = (self.database.pages(), *self.database.meta());
        if pages < meta.pages {
            self.problem(format!("the file ends after page {pages}, and by its own account it has {}", meta.pages));
        }
        for page in 0..META_PAGES {
            self.seen.insert(page);
        }
        self.open_bucket(self.database.root());
        while let Some(open) = self.open.pop() {
            let checked = self.page(&open);
            self.note(checked)?;
        }
        if let Some(page) = meta.freelist {
            let checked = self.free_list(page);
            self.note(checked)?;
        }
        Ok(())
    }

    fn open_bucket(&mut self, bucket: Bucket) {
        let page = bucket.root_page().unwrap_or(0);
        self.open.push(Open { bucket, page, from: None, before: None, depth: 0 });
    }

    fn page(&mut self, open: &Open) -> Result<()> {
        let is_inline = open.bucket.root_page().is_none();
        if !is_inline {
            self.take(open.page)?;
        }
        let page = open.bucket.page(self.database, open.page)?;
        match page.kind {
            Kind::Branch if is_inline => Err(Error::damaged(0, "a bucket in a value has a branch")),
            Kind::Branch if open.depth >= DEPTH_MAX => {
                Err(Error::damaged(page.id, format!("it lies deeper than {DEPTH_MAX} pages")))
            }
            Kind::Branch => self.branch(open, &page),
            _ => self.leaf(open, &page, is_inline),
        }
    }

    /// The page and its overflow belong to one place only.
    fn take(&mut self, id: u64) -> Result<()> {
        let header = self.database.header(id)?;
        for page in id..=id.saturating_add(u64::from(header.overflow)) {
            if self.seen.insert(page) != Some(true) {
                return Err(Error::damaged(page, "it is reached a second time"));
            }
        }
        Ok(())
    }

    fn branch(&mut self, open: &Open, page: &Page) -> Result<()> {
        if page.count == 0 {
            return Err(Error::damaged(page.id, "a branch without children"));
        }
        let mut last = open.from.clone();
        for element in 0..page.count {
            let found = page.branch(element)?;
            // The first key may be smaller than what the parent knows: it is not compared on the way down.
            if element > 0 {
                self.in_order(open, page.id, element, last.as_ref(), &found.key)?;
            }
            let before = match element + 1 {
                next if next < page.count => Some(page.branch(next)?.key),
                _ => open.before.clone(),
            };
            let from = Some(found.key.clone()).filter(|_| element > 0).or(open.from.clone());
            self.open.push(Open {
                bucket: open.bucket.clone(),
                page: found.child,
                from,
                before,
                depth: open.depth + 1,
            });
            last = Some(found.key);
        }
        Ok(())
    }

    fn leaf(&mut self, open: &Open, page: &Page, is_inline: bool) -> Result<()> {
        let (mut last, mut data_end) = (None, 0);
        for element in 0..page.count {
            let found = page.leaf(element)?;
            if found.data.start < data_end {
                return Err(Error::damaged(page.id, format!("element {element} shares bytes with the one before it")));
            }
            data_end = found.data.end;
            self.in_order(open, page.id, element, last.as_ref(), &found.key)?;
            last = Some(found.key.clone());
            if let (_, Item::Bucket(bucket)) = item(page.id, found)? {
                if is_inline {
                    return Err(Error::damaged(page.id, "a bucket in a value has a bucket"));
                }
                self.open_bucket(bucket);
            }
        }
        Ok(())
    }

    fn in_order(&self, open: &Open, page: u64, element: u16, last: Option<&Bytes>, key: &Bytes) -> Result<()> {
        if last.is_some_and(|last| last >= key) {
            return Err(Error::damaged(page, format!("key {element} is not behind the one before it")));
        }
        let is_inside =
            open.from.as_ref().is_none_or(|from| from <= key) && open.before.as_ref().is_none_or(|before| key < before);
        if !is_inside {
            return Err(Error::damaged(page, format!("key {element} lies outside of what its parent says")));
        }
        Ok(())
    }

    fn free_list(&mut self, id: u64) -> Result<()> {
        let header = self.database.header(id)?;
        if header.kind != Some(Kind::FreeList) {
            return Err(Error::damaged(id, "the free list is wanted here, and it is none"));
        }
        self.take(id)?;
        let mut free = Pages::below(self.database.pages());
        let mut last = 0;
        for page in free_pages(id, &header, &self.database.page_content(id)?)? {
            if page <= last {
                self.problem(format!("page {id}: free page {page} is not behind the one before it"));
            } else if self.seen.contains(page) {
                self.problem(format!("page {page}: it is in use, and in the free list"));
            } else if free.insert(page).is_none() {
                self.problem(format!("page {page}: it is free, and not in the file"));
            }
            last = page;
        }
        for page in 0..self.database.pages() {
            if !self.seen.contains(page) && !free.contains(page) {
                self.problem(format!("page {page}: it is neither in use nor free"));
            }
        }
        Ok(())
    }

    fn note(&mut self, checked: Result<()>) -> Result<()> {
        match checked {
            Err(error @ Error::Read { .. }) => Err(error),
            Err(error) => {
                self.problem(error.to_string());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn problem(&mut self, text: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(text);
        }
    }
}

fn free_pages(id: u64, header: &Header, content: &[u8]) -> Result<impl Iterator<Item = u64>> {
    let mut numbers = content
        .get(HEADER..)
        .unwrap_or_default()
        .chunks_exact(8)
        .map(|bytes| bytes.iter().rev().fold(0_u64, |number, &byte| number << 8 | u64::from(byte)));
    let room = numbers.len() as u64;
    let count = match header.count {
        COUNT_IN_FIRST => numbers.next().unwrap_or_default().saturating_add(1),
        count => u64::from(count),
    };
    if count > room {
        return Err(Error::damaged(id, format!("a free list of {count} numbers in a page with room for {room}")));
    }
    let listed = count - u64::from(header.count == COUNT_IN_FIRST);
    Ok(numbers.take(usize::try_from(listed).unwrap_or_default()).collect::<Vec<_>>().into_iter())
}
