//! Reads the bbolt files that etcd keeps its data in: the database of a stopped member, or a snapshot.
//!
//! A file is an array of pages; a B+tree of them maps names to buckets, and each bucket is a tree of its own. Bytes are
//! read where they lie, one page at a time, and every one of them may be hostile: an offset, a length or a page number
//! is checked before it is used, no page is visited twice in one walk, and nothing is allocated but what the file has.
//!
//! [`etcd`] knows what etcd puts into the buckets. Not here: writing, and the free list beyond the check of it.
#![forbid(unsafe_code)]

mod bucket;
mod check;
mod database;
mod error;
pub mod etcd;
mod hash;
mod meta;
mod page;
mod pages;
mod read_at;
mod wire;

pub use bucket::{Bucket, Cursor, Item, Position};
pub use check::{Check, PROBLEMS_MAX};
pub use database::Database;
pub use error::{Error, Result};
pub use hash::TrailingHash;
pub use meta::Meta;
pub use page::PAGE_BYTES_MAX;
pub use read_at::ReadAt;
