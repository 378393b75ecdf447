//! Tells the watch hub of a rim that there are new events. A batch of events wakes a rim at most once, together with
//! the answers that go there, and not at all if nobody on that rim has asked.

use crate::reply::{Mailbox, Outbox};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Mutex, lock};
use std::future::Future;
use std::task::{Poll, Waker};

/// One rim's side: `changed` resolves once there may be events that came after the call before.
pub struct EventSignal {
    shared: Arc<Signal>,
}

struct Signal {
    mailbox: Option<Arc<Mailbox>>,
    armed: AtomicBool,
    raised: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Signal {
    /// True if it was raised. Then it is armed again before the caller reads the log, so that what is pushed from there
    /// on raises it anew; not before it is lowered, or a push in between would take the arming and be lowered with it.
    /// While it is not armed a raise is on its way.
    fn take(&self) -> bool {
        let was_raised = self.raised.swap(false, Ordering::AcqRel);
        if was_raised {
            self.armed.store(true, Ordering::Release);
        }
        was_raised
    }

    fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl EventSignal {
    /// Waits for the next events. The caller reads the log after it resolves; what is pushed while it reads resolves
    /// the next call at once.
    pub fn changed(&mut self) -> impl Future<Output = ()> + '_ {
        std::future::poll_fn(|context| {
            let signal = &*self.shared;
            if signal.take() {
                return Poll::Ready(());
            }
            *lock(&signal.waker) = Some(context.waker().clone());
            // Raised between the look and the waker.
            if signal.take() { Poll::Ready(()) } else { Poll::Pending }
        })
    }
}

/// The apply thread's side: all rims that watch.
#[derive(Default)]
pub(crate) struct EventSignals {
    signals: Mutex<Vec<Arc<Signal>>>,
}

impl EventSignals {
    pub(crate) fn subscribe(&self, mailbox: Option<Arc<Mailbox>>) -> EventSignal {
        let shared = Arc::new(Signal {
            mailbox,
            // Who subscribes has read nothing yet.
            armed: AtomicBool::new(true),
            raised: AtomicBool::new(false),
            waker: Mutex::new(None),
        });
        lock(&self.signals).push(shared.clone());
        EventSignal { shared }
    }

    /// Events were pushed: the rims that wait hear of it with the next sending of `outbox`.
    pub(crate) fn raise(&self, outbox: &mut Outbox) {
        let mut signals = lock(&self.signals);
        signals.retain(|signal| Arc::strong_count(signal) > 1);
        for signal in signals.iter().filter(|signal| signal.armed.swap(false, Ordering::AcqRel)) {
            match &signal.mailbox {
                Some(mailbox) => {
                    let signal = signal.clone();
                    outbox.post(mailbox, Box::new(move || signal.raise()));
                }
                None => signal.raise(),
            }
        }
    }
}
