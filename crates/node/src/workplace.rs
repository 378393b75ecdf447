//! A part that several threads may step, one at a time, without one waiting for another.
//!
//! Invariant: what was queued before a `work_off` is stepped by it, or by whoever is at the part: who leaves the part
//! looks at the queue again.

use crate::sync::{Mutex, lock, try_lock};

pub(crate) struct Workplace<P> {
    /// `None` once it failed or was taken away.
    part: Mutex<Option<P>>,
}

impl<P> Workplace<P> {
    pub(crate) fn new(part: P) -> Workplace<P> {
        Workplace { part: Mutex::new(Some(part)) }
    }

    /// Steps the part while something is left, unless somebody is at it. `step` returns false if another one now is in
    /// vain.
    pub(crate) fn work_off(&self, is_left: impl Fn() -> bool, mut step: impl FnMut(&mut P) -> bool) {
        loop {
            let Some(mut part) = try_lock(&self.part) else { return };
            let Some(at_work) = &mut *part else { return };
            let goes_on = step(at_work);
            drop(part);
            if !goes_on || !is_left() {
                return;
            }
        }
    }

    /// Runs `act` on the part, unless somebody is at it.
    pub(crate) fn try_with<T>(&self, act: impl FnOnce(&mut Option<P>) -> T) -> Option<T> {
        try_lock(&self.part).map(|mut part| act(&mut part))
    }

    /// Runs `act` on the part, when nobody else is at it.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Option<P>) -> T) -> T {
        act(&mut lock(&self.part))
    }
}
