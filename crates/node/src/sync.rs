//! The primitives under all that threads share here, in one place, so that a model checker can put its own in their
//! place: `testing/interleave` compiles the files that use them against shuttle and runs them under many schedules.

pub(crate) use std::sync::atomic;
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::sync::{PoisonError, TryLockError};
use std::time::Duration;

/// Locks that hold no invariant across a panic: a poisoned one is used as it is.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same if nobody has it.
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Waits up to `timeout` to be notified; may return before.
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>, timeout: Duration) -> MutexGuard<'a, T> {
    condvar.wait_timeout(guard, timeout).map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard)
}
