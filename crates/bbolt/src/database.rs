//! An opened file: its newest commit, and its pages by their ids.

use crate::bucket::{Bucket, Cursor, Item};
use crate::meta::{self, Meta};
use crate::page::{HEADER, Header, PAGE_BYTES_MAX, Page};
use crate::read_at::{ReadAt, read_up_to};
use crate::{Error, Result};
use bytes::Bytes;

/// A file as of its newest commit. It must not be written while it is read: take the lock that a running etcd holds.
#[derive(Debug)]
pub struct Database<R> {
    file: R,
    bytes: u64,
    meta: Meta,
}

impl<R: ReadAt> Database<R> {
    /// Reads no more than the meta pages: what else is wrong shows where it is read, or in [`Database::check`].
    pub fn open(file: R) -> Result<Database<R>> {
        let bytes = file.len().map_err(|error| Error::Read { offset: 0, error })?;
        let meta = meta::newest(&file)?;
        Ok(Database { file, bytes, meta })
    }

    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    pub fn file(&self) -> &R {
        &self.file
    }

    /// Of the file, a hash behind it included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The tree that names the buckets.
    pub fn root(&self) -> Bucket {
        Bucket::at(self.meta.root)
    }

    /// A bucket of the first level; none if there is none.
    pub fn bucket(&self, name: &str) -> Result<Option<Bucket>> {
        let mut cursor = Cursor::new(self, &self.root());
        while let Some((_, key, item)) = cursor.next_item()? {
            if let (true, Item::Bucket(bucket)) = (key == name, item) {
                return Ok(Some(bucket));
            }
        }
        Ok(None)
    }

    /// Page ids below this are in the file, as far as the file reaches.
    pub(crate) fn pages(&self) -> u64 {
        self.meta.pages.min(self.bytes / u64::from(self.meta.page_size))
    }

    pub(crate) fn header(&self, id: u64) -> Result<Header> {
        let mut bytes = [0; HEADER];
        if id >= self.pages() || read_up_to(&self.file, &mut bytes, self.offset(id))? < bytes.len() {
            return Err(self.missing(id));
        }
        let header = Header::parse(&bytes).ok_or_else(|| self.missing(id))?;
        if header.id != id {
            return Err(Error::damaged(id, format!("it says that it is page {}", header.id)));
        }
        let behind = id.saturating_add(u64::from(header.overflow));
        let page_bytes = self.page_bytes(&header);
        match () {
            () if behind >= self.pages() => Err(self.missing(behind)),
            () if page_bytes > PAGE_BYTES_MAX => Err(Error::damaged(
                id,
                format!("it has {page_bytes} bytes, and no more than {PAGE_BYTES_MAX} are read"),
            )),
            () => Ok(header),
        }
    }

    /// A page with its overflow.
    pub(crate) fn page(&self, id: u64) -> Result<Page> {
        Page::new(id, self.page_content(id)?)
    }

    pub(crate) fn page_content(&self, id: u64) -> Result<Bytes> {
        let page_bytes = self.page_bytes(&self.header(id)?);
        // At most PAGE_BYTES_MAX, and no more than the file has.
        let mut bytes = vec![0; usize::try_from(page_bytes).map_err(|_| self.missing(id))?];
        if read_up_to(&self.file, &mut bytes, self.offset(id))? < bytes.len() {
            return Err(self.missing(id));
        }
        Ok(bytes.into())
    }

    fn page_bytes(&self, header: &Header) -> u64 {
        (u64::from(header.overflow) + 1).saturating_mul(u64::from(self.meta.page_size))
    }

    fn offset(&self, id: u64) -> u64 {
        id.saturating_mul(u64::from(self.meta.page_size))
    }

    fn missing(&self, id: u64) -> Error {
        let (pages, bytes) = (self.meta.pages, self.bytes);
        Error::damaged(
            id,
            format!("it is not in the file, which has {pages} pages by its own account and {bytes} bytes"),
        )
    }
}
