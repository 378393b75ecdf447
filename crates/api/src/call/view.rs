//! What answers of several services take from a view of the store.

use super::rim::Rim;
use model::Revision;
use proto::etcdserverpb as pb;
use state::StateView;

/// A header as of `revision`.
pub(crate) fn header(rim: &Rim, revision: Revision) -> Option<pb::ResponseHeader> {
    rim.identity().header(rim.stamp(revision))
}

/// Revision that answers about nothing in particular carry.
pub(crate) fn current_revision(rim: &Rim) -> Revision {
    rim.node.view().revision()
}

/// The database's size under etcd's names, both of the total and of what is in use: what the quota counts, as etcd's
/// tools hold it against the quota. Never 0: they divide by it. The files' size has names of its own.
pub(crate) fn database_bytes(view: &StateView) -> i64 {
    i64::try_from(view.retained_bytes().max(1)).unwrap_or(i64::MAX)
}
