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

/// Bytes of the store's files, and of them those that hold live pairs and history. Neither is ever 0: tools divide by
/// them.
pub(crate) fn sizes(view: &StateView) -> (i64, i64) {
    let retained = view.retained_bytes().max(1);
    let bytes = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
    (bytes(view.physical_bytes().max(retained)), bytes(retained))
}
