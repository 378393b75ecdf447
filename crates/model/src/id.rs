//! Newtypes for the numbers that could be swapped for one another.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// The store-wide counter: 1 on an empty store, one more for every command that writes. Never negative in the
    /// store; requests may carry any i64.
    Revision,
    i64
);
number!(
    /// A lease as clients name it; 0 means none.
    LeaseId,
    i64
);
number!(
    /// Identity of a member in the cluster.
    MemberId,
    u64
);
number!(
    /// Identity of a cluster, fixed at bootstrap.
    ClusterId,
    u64
);
number!(
    /// Position in the raft log; the first entry has 1.
    LogIndex,
    u64
);
number!(
    /// Raft term.
    Term,
    u64
);
number!(
    /// Names one proposal of one member so that its answer finds its way back; never 0.
    RequestId,
    u64
);

impl LeaseId {
    pub const NONE: LeaseId = LeaseId(0);

    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// One change: the revision of its command and its position among that command's changes. Orders all changes of a
/// store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct VersionedRevision {
    pub main: Revision,
    pub sub: u32,
}

impl fmt::Display for VersionedRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.main, self.sub)
    }
}
