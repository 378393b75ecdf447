//! Where the doctor looks: each source shows the same entries, so that the same rules find the same things.
//!
//! A source only reads. What a kind of source cannot see it says, instead of showing nothing: a server does not tell
//! its history, a folder of manifests has no members. Changes go through a client to a server that runs, never through
//! here.

mod data_directory;
mod live;
mod manifests;
mod snapshot;

pub use data_directory::{DataDirectory, open_data_directory};
pub use live::{Live, open_live};
pub use manifests::{Manifests, open_manifests};
pub use snapshot::{Snapshot, open_snapshot};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::ControlFlow;

/// The newest version of a key, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Bytes,
    /// Empty if only keys were asked for.
    pub value: Bytes,
    pub create_revision: i64,
    pub mod_revision: i64,
    /// Changes since its creation, which is 1.
    pub version: i64,
    /// 0: none, or only keys were asked for.
    pub lease: i64,
}

/// One change that the store still keeps, the newest ones included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub key: Bytes,
    pub revision: i64,
    /// Of key and value.
    pub bytes: u64,
    pub is_delete: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub id: i64,
    /// As granted, in seconds.
    pub granted: i64,
    /// Seconds left; none if the source is no running server.
    pub left: Option<i64>,
    pub keys: Vec<Bytes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// A running server that is not Bowline.
    Etcd,
    /// A running server.
    Bowline,
    /// Bowline's, of a member that is stopped.
    DataDirectory,
    /// A file in etcd's format: a snapshot, or the database of a stopped member.
    Snapshot,
    /// YAML and JSON files that are not applied yet.
    Manifests,
}

/// Which source it is, for the head of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceInfo {
    pub kind: SourceKind,
    /// Endpoint or path.
    pub place: String,
    /// Of the server, if it told one.
    pub version: Option<String>,
    /// What this source cannot show, each a sentence.
    pub blind: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmKind {
    NoSpace,
    Corrupt,
}

/// One member as it describes itself, or as its files do: then the numbers are those of the files, and nobody leads.
/// What an old server does not tell is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    pub id: u64,
    pub name: String,
    pub endpoint: String,
    pub is_leader: bool,
    pub is_learner: bool,
    pub version: String,
    /// What it gives as its size: etcd that of its file, Bowline what the quota counts.
    pub db_bytes: u64,
    pub db_bytes_in_use: u64,
    /// Absent: the server does not tell. 0: no quota.
    pub quota_bytes: Option<u64>,
    pub raft_term: u64,
    pub raft_index: u64,
    pub applied_index: u64,
    /// Over the history up to a revision that all members have: (revision, compact revision, hash).
    pub hash: Option<(i64, i64, u32)>,
    pub errors: Vec<String>,
    /// Why a running cluster's member could not be asked; then the numbers are zero.
    pub unreachable: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    pub members: Vec<Member>,
    /// By member id.
    pub alarms: Vec<(u64, AlarmKind)>,
    pub revision: i64,
    /// Absent: the source does not tell.
    pub compact_revision: Option<i64>,
}

/// Why a source could not be read, in a sentence that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError(pub String);

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SourceError {}

pub type Result<T> = std::result::Result<T, SourceError>;

/// Takes one thing after another and says whether it wants more.
pub type Visit<'a, T> = &'a mut dyn FnMut(&T) -> ControlFlow<()>;

/// A state of a store, all of it at one revision. Nobody has to hold more of it than one page.
pub trait Source {
    /// What it cannot show may grow while it is read: ask again for the report.
    fn info(&self) -> SourceInfo;

    /// The newest version of every key that begins with `prefix`, in ascending order of keys.
    fn range(&mut self, prefix: &[u8], visit: Visit<'_, Entry>) -> Result<()>;

    /// The same without values and leases, if that is cheaper here. A server that is asked for keys only tells no
    /// leases.
    fn keys(&mut self, prefix: &[u8], visit: Visit<'_, Entry>) -> Result<()>;

    /// Every version that is kept, in no order that matters. False: this source cannot see history, and nothing was
    /// visited.
    fn history(&mut self, visit: Visit<'_, Version>) -> Result<bool>;

    fn leases(&mut self, visit: Visit<'_, Lease>) -> Result<()>;

    fn status(&mut self) -> Result<Status>;
}
