//! How an answer finds its way back: a slot per request, a mailbox per rim thread.
//!
//! A request's future and the thread that answers it share one cell. Answers for requests of one rim are handed over
//! together and wake that rim once; the rim then wakes its own tasks, which costs no system call. A handle without a
//! mailbox (tests, tools) is woken directly.
//! Invariant: of several answers a cell takes the first, and it gets one also when its request is dropped unanswered
//! (`Slot::drop` says stopped).

use crate::Refused;
use crate::sync::{Arc, Mutex, lock};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Result of one request as the answering thread produces it.
pub(crate) type Answer<T> = Result<T, Refused>;

struct Cell<T> {
    state: Mutex<CellState<T>>,
}

enum CellState<T> {
    Waiting(Option<Waker>),
    Answered(Answer<T>),
    Taken,
}

impl<T> Cell<T> {
    /// False if it was answered before.
    fn answer(&self, answer: Answer<T>) -> bool {
        let mut state = lock(&self.state);
        let CellState::Waiting(waker) = &mut *state else { return false };
        let waker = waker.take();
        *state = CellState::Answered(answer);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }
}

/// The future of a request: resolves when the node has answered.
pub struct Pending<T> {
    cell: Arc<Cell<T>>,
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Refused>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.cell.state);
        match std::mem::replace(&mut *state, CellState::Taken) {
            CellState::Answered(answer) => Poll::Ready(answer),
            CellState::Waiting(_) => {
                *state = CellState::Waiting(Some(context.waker().clone()));
                Poll::Pending
            }
            CellState::Taken => Poll::Ready(Err(Refused::Stopped)),
        }
    }
}

impl<T> Pending<T> {
    /// A request that was answered before it was sent.
    pub(crate) fn answered(answer: Answer<T>) -> Pending<T> {
        Pending { cell: Arc::new(Cell { state: Mutex::new(CellState::Answered(answer)) }) }
    }
}

/// The answering side of a request.
pub(crate) struct Slot<T: Send + 'static> {
    cell: Option<Arc<Cell<T>>>,
    mailbox: Option<Arc<Mailbox>>,
}

impl<T: Send + 'static> Slot<T> {
    pub(crate) fn new(mailbox: Option<Arc<Mailbox>>) -> (Slot<T>, Pending<T>) {
        let cell = Arc::new(Cell { state: Mutex::new(CellState::Waiting(None)) });
        (Slot { cell: Some(cell.clone()), mailbox }, Pending { cell })
    }

    /// True if the request's future is still there.
    pub(crate) fn is_awaited(&self) -> bool {
        self.cell.as_ref().is_some_and(|cell| Arc::strong_count(cell) > 1)
    }

    pub(crate) fn watch(&self) -> SlotWatch<T> {
        SlotWatch { cell: self.cell.clone() }
    }

    /// Answers now, waking the request's task itself; for refusals, which are rare.
    pub(crate) fn refuse(mut self, refused: Refused) {
        if let Some(cell) = self.cell.take() {
            cell.answer(Err(refused));
        }
    }
}

/// A second hand on a slot's cell, for who must answer in time whoever has the slot.
pub(crate) struct SlotWatch<T> {
    cell: Option<Arc<Cell<T>>>,
}

impl<T> SlotWatch<T> {
    /// Answers, if nobody has. True if it did.
    pub(crate) fn refuse(self, refused: Refused) -> bool {
        self.cell.is_some_and(|cell| cell.answer(Err(refused)))
    }
}

impl<T: Send + 'static> Drop for Slot<T> {
    fn drop(&mut self) {
        if let Some(cell) = self.cell.take() {
            cell.answer(Err(Refused::Stopped));
        }
    }
}

pub(crate) type Delivery = Box<dyn FnOnce() + Send>;

/// Where answers for the requests of one rim thread are left.
#[derive(Default)]
pub struct Mailbox {
    inner: Mutex<MailboxInner>,
}

#[derive(Default)]
struct MailboxInner {
    deliveries: Vec<Delivery>,
    waker: Option<Waker>,
}

impl Mailbox {
    pub fn new() -> Arc<Mailbox> {
        Arc::new(Mailbox::default())
    }

    /// A future that never ends: the rim runs it as a task, and it hands out what arrives.
    pub fn deliver(self: &Arc<Mailbox>) -> impl Future<Output = std::convert::Infallible> + Send + 'static {
        let mailbox = self.clone();
        let mut taken = Vec::new();
        std::future::poll_fn(move |context| {
            {
                let mut inner = lock(&mailbox.inner);
                std::mem::swap(&mut inner.deliveries, &mut taken);
                if !inner.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                    inner.waker = Some(context.waker().clone());
                }
            }
            for delivery in taken.drain(..) {
                delivery();
            }
            Poll::Pending
        })
    }

    fn post_all(&self, work: &mut Vec<Delivery>) {
        let waker = {
            let mut inner = lock(&self.inner);
            let was_empty = inner.deliveries.is_empty();
            inner.deliveries.append(work);
            was_empty.then(|| inner.waker.clone()).flatten()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Collects the answers of one batch and hands them over together.
#[derive(Default)]
pub(crate) struct Outbox {
    rims: Vec<(Arc<Mailbox>, Vec<Delivery>)>,
}

impl Outbox {
    pub(crate) fn put<T: Send + 'static>(&mut self, mut slot: Slot<T>, answer: Answer<T>) {
        let Some(cell) = slot.cell.take() else { return };
        let Some(mailbox) = slot.mailbox.take() else {
            cell.answer(answer);
            return;
        };
        let deliver = move || {
            cell.answer(answer);
        };
        self.post(&mailbox, Box::new(deliver));
    }

    /// Asks the rim of `mailbox` to run `delivery`, together with the answers that go there.
    pub(crate) fn post(&mut self, mailbox: &Arc<Mailbox>, delivery: Delivery) {
        match self.rims.iter_mut().find(|(known, _)| Arc::ptr_eq(known, mailbox)) {
            Some((_, deliveries)) => deliveries.push(delivery),
            None => self.rims.push((mailbox.clone(), vec![delivery])),
        }
    }

    pub(crate) fn send(&mut self) {
        for (mailbox, deliveries) in &mut self.rims {
            if !deliveries.is_empty() {
                mailbox.post_all(deliveries);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    struct CountWakes(AtomicUsize);

    impl Wake for CountWakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll<F: Future + Unpin>(future: &mut F, wakes: &Arc<CountWakes>) -> Poll<F::Output> {
        let waker = wakes.clone().into();
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn a_batch_wakes_the_rim_once_and_every_request_once() {
        let (rim_wakes, task_wakes) = (Arc::new(CountWakes(0.into())), Arc::new(CountWakes(0.into())));
        let mailbox = Mailbox::new();
        let mut deliver = Box::pin(mailbox.deliver());
        assert!(poll(&mut deliver, &rim_wakes).is_pending());
        let mut outbox = Outbox::default();
        let mut pending: Vec<Pending<u64>> = (0..10)
            .map(|n| {
                let (slot, mut pending) = Slot::new(Some(mailbox.clone()));
                assert!(poll(&mut pending, &task_wakes).is_pending());
                outbox.put(slot, Ok(n));
                pending
            })
            .collect();
        outbox.send();
        assert_eq!((rim_wakes.0.load(Ordering::SeqCst), task_wakes.0.load(Ordering::SeqCst)), (1, 0));
        assert!(poll(&mut deliver, &rim_wakes).is_pending());
        assert_eq!(task_wakes.0.load(Ordering::SeqCst), 10);
        for (n, pending) in pending.iter_mut().enumerate() {
            assert!(matches!(poll(pending, &task_wakes), Poll::Ready(Ok(answer)) if answer == n as u64));
        }
    }

    #[test]
    fn a_slot_dropped_unanswered_says_stopped() {
        let wakes = Arc::new(CountWakes(0.into()));
        let (slot, mut pending) = Slot::<u64>::new(None);
        assert!(poll(&mut pending, &wakes).is_pending());
        drop(slot);
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        assert!(matches!(poll(&mut pending, &wakes), Poll::Ready(Err(Refused::Stopped))));
    }
}
