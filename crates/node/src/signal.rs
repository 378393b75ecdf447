//! Tells the watch hub of a rim that there are new events. A batch of events wakes a rim at most once, together with the
//! answers that go there, and not at all if nobody on that rim has asked.

use crate::reply::{Mailbox, Outbox, lock};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
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
    fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl EventSignal {
    /// Waits for the next events. The caller reads the log after it resolves; what is pushed while it reads resolves the
    /// next call at once.
    pub fn changed(&mut self) -> impl Future<Output = ()> + '_ {
        std::future::poll_fn(|context| {
            // Armed first: events pushed from here on raise the signal.
            self.shared.armed.store(true, Ordering::Release);
            if self.shared.raised.swap(false, Ordering::AcqRel) {
                return Poll::Ready(());
            }
            *lock(&self.shared.waker) = Some(context.waker().clone());
            // Raised between the look and the waker.
            if self.shared.raised.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
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
            armed: AtomicBool::new(false),
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
