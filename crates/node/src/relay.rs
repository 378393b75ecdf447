//! One value that two threads relay: who holds it works with it, and puts it down before doing what may block.
//!
//! The holder puts the value down, does what may take long (a sync of the log), and picks it up again; nobody is woken
//! for that. The other thread looks now and then, and takes over what has lain there for longer than its patience: then
//! the first one finds nothing when it comes back, and is the one who looks from then on. So the value is never out of
//! reach for long, whatever a disk does.
//!
//! Invariant: the value is in one place: with one thread, or put down here.

use crate::sync::{Condvar, Mutex, lock, wait};
use std::time::Duration;

pub(crate) struct Relay<T> {
    state: Mutex<State<T>>,
    ended: Condvar,
}

struct State<T> {
    /// With the time at which it was put down.
    down: Option<(T, Duration)>,
    has_ended: bool,
}

/// What the other thread finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Looked<T> {
    Taken(T),
    /// It is held, or does not lie for long.
    Nothing,
    Ended,
}

impl<T> Relay<T> {
    /// The caller has the value.
    pub(crate) fn new() -> Relay<T> {
        Relay { state: Mutex::new(State { down: None, has_ended: false }), ended: Condvar::new() }
    }

    /// Puts the value down at `now`.
    pub(crate) fn put_down(&self, value: T, now: Duration) {
        let before = lock(&self.state).down.replace((value, now));
        assert!(before.is_none(), "the value is in one place");
    }

    /// Takes back what was put down, unless the other thread took over.
    pub(crate) fn pick_up(&self) -> Option<T> {
        lock(&self.state).down.take().map(|(value, _)| value)
    }

    /// Waits until the value has lain for as long as `patience`, and takes it. `None` once the relay has ended.
    pub(crate) fn take_over(&self, patience: Duration, now: impl Fn() -> Duration) -> Option<T> {
        loop {
            match self.take_now(patience, &now) {
                Looked::Taken(value) => return Some(value),
                Looked::Ended => return None,
                Looked::Nothing => {}
            }
            let state = lock(&self.state);
            if !state.has_ended {
                drop(wait(&self.ended, state, patience));
            }
        }
    }

    /// Takes the value if it has lain for as long as `patience`.
    pub(crate) fn take_now(&self, patience: Duration, now: impl Fn() -> Duration) -> Looked<T> {
        let mut state = lock(&self.state);
        if state.has_ended {
            return Looked::Ended;
        }
        match state.down.take_if(|(_, since)| now().saturating_sub(*since) >= patience) {
            Some((value, _)) => Looked::Taken(value),
            None => Looked::Nothing,
        }
    }

    /// Nobody needs the value any more.
    pub(crate) fn end(&self) {
        lock(&self.state).has_ended = true;
        self.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(5);

    #[test]
    fn who_comes_back_in_time_finds_it_and_who_does_not_finds_nothing() {
        let relay = Relay::new();
        relay.put_down("driver", Duration::ZERO);
        assert_eq!(relay.pick_up(), Some("driver"));
        relay.put_down("driver", Duration::ZERO);
        assert_eq!(relay.take_over(PATIENCE, || PATIENCE), Some("driver"));
        assert_eq!(relay.pick_up(), None);
    }

    #[test]
    fn who_looks_waits_until_it_has_lain_long_enough_or_the_end() {
        let relay = Relay::new();
        relay.put_down("driver", Duration::ZERO);
        let looks = std::cell::Cell::new(0);
        let now = || {
            looks.set(looks.get() + 1);
            Duration::from_millis(looks.get())
        };
        assert_eq!(relay.take_over(PATIENCE, now), Some("driver"));
        assert_eq!(looks.get(), 5);
        relay.end();
        assert_eq!(relay.take_over(PATIENCE, || PATIENCE), None);
    }
}
