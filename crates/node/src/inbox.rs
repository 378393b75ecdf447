//! The bounded queues in front of the driver and the apply thread: many senders, one receiver that takes all there is.
//!
//! A sender makes a system call only when the receiver sleeps, so under load a batch costs one wake-up. Bounds are the
//! caller's: `push` refuses what would exceed them, `push_always` is for a producer that is bounded otherwise, and
//! `leave` for one that looks after the message itself, or does not care when it is read.

use crate::sync::{Condvar, Mutex, lock, wait};
use std::time::Duration;

pub(crate) struct Inbox<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    messages_max: usize,
    bytes_max: usize,
}

struct State<T> {
    messages: Vec<T>,
    bytes: usize,
    receiver_sleeps: bool,
    closed: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    Full,
    Closed,
}

impl<T> Inbox<T> {
    pub(crate) fn new(messages_max: usize, bytes_max: usize) -> Inbox<T> {
        let state = State { messages: Vec::new(), bytes: 0, receiver_sleeps: false, closed: false };
        Inbox { state: Mutex::new(state), arrived: Condvar::new(), messages_max, bytes_max }
    }

    /// Adds a message that weighs `bytes`; gives it back if the inbox is full or closed.
    pub(crate) fn push(&self, message: T, bytes: usize) -> Result<(), (PushError, T)> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err((PushError::Closed, message));
        }
        if state.messages.len() >= self.messages_max || state.bytes.saturating_add(bytes) > self.bytes_max {
            return Err((PushError::Full, message));
        }
        state.messages.push(message);
        state.bytes += bytes;
        if std::mem::take(&mut state.receiver_sleeps) {
            drop(state);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Adds a message whatever the bounds, unless the inbox is closed.
    pub(crate) fn push_always(&self, message: T) {
        self.leave(|messages| messages.push(message));
        self.wake();
    }

    /// Lets `add` put something behind the messages, whatever the bounds, without waking the receiver; not if the inbox
    /// is closed.
    pub(crate) fn leave(&self, add: impl FnOnce(&mut Vec<T>)) {
        let mut state = lock(&self.state);
        if !state.closed {
            add(&mut state.messages);
        }
    }

    /// Wakes the receiver if it sleeps on something that was left.
    pub(crate) fn wake(&self) {
        let mut state = lock(&self.state);
        if !state.messages.is_empty() && std::mem::take(&mut state.receiver_sleeps) {
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// Waits up to `timeout` until there is a message; may return before. False once the inbox is closed and empty.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let mut state = lock(&self.state);
        if state.messages.is_empty() && !state.closed && !timeout.is_zero() {
            state.receiver_sleeps = true;
            state = wait(&self.arrived, state, timeout);
            state.receiver_sleeps = false;
        }
        !(state.messages.is_empty() && state.closed)
    }

    /// Moves all messages into `taken`, which must be empty; its space is reused.
    pub(crate) fn take(&self, taken: &mut Vec<T>) {
        self.take_if(taken, |_| true);
    }

    /// As `take`, if they are as wanted.
    pub(crate) fn take_if(&self, taken: &mut Vec<T>, is_wanted: impl FnOnce(&mut [T]) -> bool) -> bool {
        assert!(taken.is_empty(), "what was taken before is worked off");
        let mut state = lock(&self.state);
        let wanted = is_wanted(&mut state.messages);
        if wanted {
            std::mem::swap(&mut state.messages, taken);
            state.bytes = 0;
        }
        wanted
    }

    /// Messages, and what they weigh.
    pub(crate) fn held(&self) -> (usize, usize) {
        let state = lock(&self.state);
        (state.messages.len(), state.bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.state).messages.is_empty()
    }

    /// Refuses messages from now on and drops those inside.
    pub(crate) fn abandon(&self) {
        let dropped = {
            let mut state = lock(&self.state);
            state.closed = true;
            std::mem::take(&mut state.messages)
        };
        self.arrived.notify_one();
        drop(dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn bounds_are_refused_and_freed_by_taking() {
        let inbox = Inbox::new(2, 10);
        assert!(inbox.push(1, 5).is_ok());
        assert_eq!(inbox.push(2, 6), Err((PushError::Full, 2)));
        assert!(inbox.push(2, 5).is_ok());
        assert_eq!(inbox.push(3, 0), Err((PushError::Full, 3)));
        let mut taken = Vec::new();
        assert!(inbox.wait(Duration::ZERO));
        inbox.take(&mut taken);
        assert_eq!(taken, [1, 2]);
        assert!(inbox.push(3, 10).is_ok());
    }

    #[test]
    fn an_abandoned_inbox_drops_what_it_holds_and_takes_nothing() {
        let inbox = Inbox::new(2, 10);
        assert!(inbox.push(1, 1).is_ok());
        inbox.abandon();
        assert_eq!(inbox.push(2, 1), Err((PushError::Closed, 2)));
        inbox.push_always(3);
        assert!(!inbox.wait(Duration::from_secs(60)));
        assert!(inbox.is_empty());
    }

    #[test]
    fn a_sleeping_receiver_is_woken() {
        let inbox = Arc::new(Inbox::new(10, 10));
        let receiver = std::thread::spawn({
            let inbox = inbox.clone();
            move || {
                let mut taken = Vec::new();
                assert!(inbox.wait(Duration::from_secs(60)));
                inbox.take(&mut taken);
                taken
            }
        });
        assert!(inbox.push(7, 0).is_ok());
        assert_eq!(receiver.join().expect("receiver ends"), [7]);
    }

    #[test]
    fn what_is_left_wakes_nobody_until_somebody_wakes() {
        let inbox = Inbox::new(10, 10);
        inbox.leave(|messages| messages.push(1));
        inbox.leave(|messages| messages.push(2));
        let mut taken = Vec::new();
        assert!(!inbox.take_if(&mut taken, |messages| messages.len() == 1));
        assert!(taken.is_empty() && !inbox.is_empty());
        assert!(inbox.take_if(&mut taken, |messages| messages.len() == 2));
        assert_eq!(taken, [1, 2]);
    }
}
