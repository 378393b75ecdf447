//! Views kept for the pages of a list. kube-apiserver reads its second and later pages at the revision of the first,
//! and needs their `count` at that revision: answered from the first page's view, a page costs the same at any
//! distance.
//!
//! A view pins memory and segment files, so few are kept and none for long; without one, a page at an old revision is
//! answered from the history, slower and just as exact.

use crate::limits::{PINNED_VIEW_AGE_MAX, PINNED_VIEWS_MAX};
use crate::sync::lock;
use model::Revision;
use state::StateView;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
pub(crate) struct PinnedViews {
    /// Oldest first. Times are the node's monotonic clock.
    views: Mutex<VecDeque<(Duration, Arc<StateView>)>>,
}

impl PinnedViews {
    /// Keeps `view` for pages to come.
    pub(crate) fn keep(&self, view: &Arc<StateView>, now: Duration) {
        let mut views = lock(&self.views);
        if views.iter().any(|(_, kept)| kept.revision() == view.revision()) {
            return;
        }
        if views.len() == PINNED_VIEWS_MAX {
            views.pop_front();
        }
        views.push_back((now, view.clone()));
    }

    pub(crate) fn at(&self, revision: Revision) -> Option<Arc<StateView>> {
        lock(&self.views).iter().find(|(_, view)| view.revision() == revision).map(|(_, view)| view.clone())
    }

    /// Lets go of all.
    pub(crate) fn let_go(&self) {
        let views = std::mem::take(&mut *lock(&self.views));
        drop(views);
    }

    /// Lets go of what is too old.
    pub(crate) fn expire(&self, now: Duration) {
        let mut views = lock(&self.views);
        while views.front().is_some_and(|(kept_at, _)| now.saturating_sub(*kept_at) > PINNED_VIEW_AGE_MAX) {
            views.pop_front();
        }
    }
}
