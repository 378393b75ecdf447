//! Why a request was refused: the caller's mistake or a state of the cluster that every member computes alike. Each variant
//! is mapped once, in `api`, to etcd's gRPC code and text.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// The revision asked for lies below the compacted one (or at it, for a compaction).
    Compacted,
    /// The revision asked for lies above the current one.
    FutureRevision,
    LeaseNotFound,
    LeaseExists,
    LeaseTtlTooLarge,
    /// A put that keeps value or lease names a key that does not exist.
    KeyNotFound,
    /// Only growth is refused: the quota is used up.
    NoSpace,
    /// The CORRUPT alarm is up: nothing is written.
    Corrupt,
    MemberNotFound,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rejection::Compacted => "required revision has been compacted",
            Rejection::FutureRevision => "required revision is a future revision",
            Rejection::LeaseNotFound => "requested lease not found",
            Rejection::LeaseExists => "lease already exists",
            Rejection::LeaseTtlTooLarge => "too large lease ttl",
            Rejection::KeyNotFound => "key not found",
            Rejection::NoSpace => "database space exceeded",
            Rejection::Corrupt => "corrupt cluster",
            Rejection::MemberNotFound => "member not found",
        })
    }
}

impl std::error::Error for Rejection {}
