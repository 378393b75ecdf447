//! Tells the watch hub of a rim that there are new events, or that a compaction is about to be. A batch of events wakes
//! a rim at most once, together with the answers that go there, and not at all if nobody on that rim has asked.

use crate::reply::{Mailbox, Outbox, Slot};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Mutex, lock};
use model::Revision;
use std::future::Future;
use std::task::{Poll, Waker};

/// One rim's side: `changed` resolves once there may be events that came after the call before.
pub struct EventSignal {
    shared: Arc<Signal>,
}

/// A compaction that is about to be. Whoever asks for it waits until all who hold this have dropped it, though not for
/// long.
pub struct Announcement {
    pub revision: Revision,
    _waits: Option<Slot<()>>,
}

struct Signal {
    mailbox: Option<Arc<Mailbox>>,
    /// Compactions are announced to it.
    wants_announcements: AtomicBool,
    announced: Mutex<Vec<Arc<Announcement>>>,
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
    /// Waits for the next events or announcements. The caller reads the log after it resolves; what is pushed while it
    /// reads resolves the next call at once. For one task.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
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

    /// Whether somebody on this rim is to be told before a compaction.
    pub fn want_announcements(&self, wants: bool) {
        self.shared.wants_announcements.store(wants, Ordering::Release);
    }

    /// What was announced since the last call.
    pub fn announced(&self) -> Vec<Arc<Announcement>> {
        std::mem::take(&mut lock(&self.shared.announced))
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
            wants_announcements: AtomicBool::new(false),
            announced: Mutex::default(),
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

    /// Announces a compaction to all rims that want to hear of it. False if there is none.
    pub(crate) fn announce(&self, revision: Revision, waits: Option<Slot<()>>) -> bool {
        let announcement = Arc::new(Announcement { revision, _waits: waits });
        let mut outbox = Outbox::default();
        let signals = lock(&self.signals);
        let listening = signals.iter().filter(|signal| signal.wants_announcements.load(Ordering::Acquire));
        let mut is_heard = false;
        for signal in listening {
            is_heard = true;
            lock(&signal.announced).push(announcement.clone());
            match &signal.mailbox {
                Some(mailbox) => {
                    let signal = signal.clone();
                    outbox.post(mailbox, Box::new(move || signal.raise()));
                }
                None => signal.raise(),
            }
        }
        drop(signals);
        outbox.send();
        is_heard
    }
}
