//! Where long work of a rim has its turns: one slice at a time, then everything else that is ready, then the next.
//!
//! ```text
//! connection a: list ── list ── txn        turns go around the connections, and around the work of each:
//! connection b: list                       a.1  b.1  a.2  b.1  a.3  …
//! ```
//!
//! Invariants: one slice runs between two looks at the sockets, however much work waits; nobody waits for more than one
//! slice of each other connection; who goes away gives its turn to the next.
//! Not here: how long a slice is; that is for who cuts it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Names a connection among those of a rim.
pub(crate) type Of = usize;

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The connection whose turn it is, and what else of it waits.
    running: Option<Waiting>,
    /// In the order of their turns; each has something that waits.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    of: Of,
    tickets: VecDeque<Rc<Ticket>>,
}

#[derive(Debug, Default)]
struct Ticket {
    has_turn: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Lane {
    /// Runs one slice of work for a connection when its turn has come. Everything else that is ready runs before this
    /// returns.
    pub(crate) async fn slice<T>(&self, of: Of, work: impl FnOnce() -> T) -> T {
        let turn = self.turn(of).await;
        let result = work();
        // Wakes once the sockets were looked at.
        tokio::task::yield_now().await;
        drop(turn);
        result
    }

    async fn turn(&self, of: Of) -> Turn<'_> {
        let Some(ticket) = self.enter(of) else { return Turn(self) };
        let place = Place { lane: self, of, ticket };
        poll_fn(|context| {
            if place.ticket.has_turn.take() {
                return Poll::Ready(());
            }
            *place.ticket.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        Turn(self)
    }

    /// A place in the line, or none if the turn is free and is taken.
    fn enter(&self, of: Of) -> Option<Rc<Ticket>> {
        let state = &mut *self.state.borrow_mut();
        let Some(running) = &mut state.running else {
            state.running = Some(Waiting { of, tickets: VecDeque::new() });
            return None;
        };
        let ticket = Rc::new(Ticket::default());
        let known = std::iter::once(running).chain(&mut state.waiting).find(|waiting| waiting.of == of);
        match known {
            Some(waiting) => waiting.tickets.push_back(ticket.clone()),
            None => state.waiting.push_back(Waiting { of, tickets: VecDeque::from([ticket.clone()]) }),
        }
        Some(ticket)
    }

    fn leave(&self, of: Of, ticket: &Rc<Ticket>) {
        let state = &mut *self.state.borrow_mut();
        let known = state.running.iter_mut().chain(&mut state.waiting).find(|waiting| waiting.of == of);
        if let Some(waiting) = known {
            waiting.tickets.retain(|other| !Rc::ptr_eq(other, ticket));
        }
        state.waiting.retain(|waiting| !waiting.tickets.is_empty());
    }

    /// The turn of the next: who had it goes behind all others.
    fn pass_on(&self) {
        let state = &mut *self.state.borrow_mut();
        state.waiting.extend(state.running.take().filter(|waiting| !waiting.tickets.is_empty()));
        let Some(mut next) = state.waiting.pop_front() else { return };
        let ticket = next.tickets.pop_front().expect("a connection that is listed has work that waits");
        state.running = Some(next);
        ticket.has_turn.set(true);
        if let Some(waker) = ticket.waker.take() {
            waker.wake();
        }
    }
}

/// The turn of one slice, passed on when dropped.
struct Turn<'a>(&'a Lane);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

/// A place in the line, left when dropped.
struct Place<'a> {
    lane: &'a Lane,
    of: Of,
    ticket: Rc<Ticket>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.ticket.has_turn.get() {
            // It was given a turn and did not live to see it.
            self.lane.pass_on();
        } else {
            self.lane.leave(self.of, &self.ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::{JoinHandle, LocalSet};

    /// Runs `test` with a lane and a list of what ran.
    fn run(test: impl AsyncFnOnce(Rc<Lane>, Rc<RefCell<Vec<&'static str>>>)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        LocalSet::new().block_on(&runtime, test(Rc::default(), Rc::default()));
    }

    fn work(
        lane: &Rc<Lane>,
        ran: &Rc<RefCell<Vec<&'static str>>>,
        of: Of,
        name: &'static str,
        slices: usize,
    ) -> JoinHandle<()> {
        let (lane, ran) = (lane.clone(), ran.clone());
        tokio::task::spawn_local(async move {
            for _ in 0..slices {
                lane.slice(of, || ran.borrow_mut().push(name)).await;
            }
        })
    }

    #[test]
    fn connections_take_turns_however_much_work_one_has() {
        run(async |lane, ran| {
            let flood: Vec<_> = (0..20).map(|_| work(&lane, &ran, 1, "flood", 5)).collect();
            tokio::task::yield_now().await;
            let one = work(&lane, &ran, 2, "one", 3);
            one.await.expect("ends");
            let before = ran.borrow().len();
            assert!(before <= 8, "three slices of one took {before} turns of {:?}", ran.borrow());
            for work in flood {
                work.await.expect("ends");
            }
            assert_eq!(ran.borrow().len(), 103);
            assert!(lane.state.borrow().running.is_none());
        });
    }

    #[test]
    fn what_is_ready_runs_between_two_slices() {
        run(async |lane, ran| {
            let flood = work(&lane, &ran, 1, "flood", 10);
            let beside = {
                let ran = ran.clone();
                tokio::task::spawn_local(async move {
                    for _ in 0..10 {
                        ran.borrow_mut().push("beside");
                        tokio::task::yield_now().await;
                    }
                })
            };
            flood.await.expect("ends");
            beside.await.expect("ends");
            let ran = ran.borrow();
            // The runtime turns the order around each time.
            assert!(ran.windows(3).all(|three| three != ["flood"; 3]), "{ran:?}");
        });
    }

    #[test]
    fn who_goes_away_gives_the_turn_to_the_next() {
        run(async |lane, ran| {
            let gone: Vec<_> = (0..3).map(|_| work(&lane, &ran, 1, "gone", 1000)).collect();
            let stays = work(&lane, &ran, 2, "stays", 3);
            tokio::task::yield_now().await;
            // One has the turn, and the others wait.
            gone.iter().for_each(JoinHandle::abort);
            stays.await.expect("ends");
            assert_eq!(ran.borrow().iter().filter(|name| **name == "stays").count(), 3);
            let state = lane.state.borrow();
            assert!(state.running.is_none() && state.waiting.is_empty());
        });
    }
}
