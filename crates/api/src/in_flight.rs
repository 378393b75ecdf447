//! Bytes in flight: what requests and answers hold in memory between the socket and the store. All of them share one
//! limit for the process, and those of a connection one that is a part of it.
//!
//! ```text
//! charge ── fits what the connection has free ──▶ taken          (no other thread hears of it)
//!        └─ else: the connection's limit, then the process's ──▶ taken, or waits in line, or is refused
//! ```
//!
//! Invariants:
//! - What is charged is given back exactly once: when its `Charge` is dropped.
//! - Who waits in line is served in the order of arrival, holds nothing meanwhile, and is refused after `WAIT_MAX`.
//! - A connection may always hold `FREE_BYTES`, so that small requests are served while others have taken everything.
//!
//! Not here: what is charged (bodies in `grpc`, answers where they are made).

use crate::status::{Code, Status};
use bytes::{Buf, Bytes};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use stdx::metrics::Counter;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// What each connection may hold beside the limit of the process.
const FREE_BYTES: usize = 32 << 10;
/// See `Account::is_crowded`.
const CROWDED_BYTES: usize = 1 << 20;
/// Longest wait in line.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// One connection has at most this part of the whole.
const CONNECTIONS_MIN: usize = 4;
/// The limits are counted in units of this size.
const UNIT_BYTES: usize = 1 << 10;
/// What a connection does not need any more is given back in pieces of at least this size.
const RETURN_BYTES: usize = 64 << 10;
const MIB: usize = 1 << 20;

/// The limit of the process.
#[derive(Debug)]
pub(crate) struct InFlight {
    units: Arc<Semaphore>,
    bytes_max: usize,
    connection_bytes_max: usize,
    wait_max: Duration,
    waiting: AtomicUsize,
    pub(crate) waits: Counter,
    pub(crate) refused: Counter,
}

impl InFlight {
    /// A connection gets a quarter of `bytes_max`, and at least what a message of `message_bytes_max` takes.
    pub(crate) fn new(bytes_max: usize, message_bytes_max: usize) -> Arc<InFlight> {
        InFlight::with_wait(bytes_max, message_bytes_max, WAIT_MAX)
    }

    fn with_wait(bytes_max: usize, message_bytes_max: usize, wait_max: Duration) -> Arc<InFlight> {
        let message_bytes = message_bytes_max.saturating_add(MIB);
        let bytes_max = bytes_max.max(message_bytes);
        Arc::new(InFlight {
            units: Arc::new(Semaphore::new(bytes_max / UNIT_BYTES)),
            bytes_max,
            connection_bytes_max: (bytes_max / CONNECTIONS_MIN).max(message_bytes),
            wait_max,
            waiting: AtomicUsize::new(0),
            waits: Counter::default(),
            refused: Counter::default(),
        })
    }

    /// Of the limit, what is taken.
    pub(crate) fn used_bytes(&self) -> usize {
        self.bytes_max.saturating_sub(self.units.available_permits() * UNIT_BYTES)
    }

    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Requests that wait in line.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn too_large(&self, bytes: usize) -> Status {
        self.refused.increment();
        let (needed, limit) = (bytes.div_ceil(UNIT_BYTES), self.connection_bytes_max / UNIT_BYTES);
        refusal(format!(
            "bowline: this takes {needed} KiB of memory at once, and a connection may have {limit} KiB in flight; ask for \
             less at a time (limit, pages), or start the server with a larger --memory-in-flight-mib"
        ))
    }

    fn waited_in_vain(&self, bytes: usize) -> Status {
        self.refused.increment();
        let (needed, used, limit) = (bytes.div_ceil(UNIT_BYTES), self.used_bytes() / MIB, self.bytes_max / MIB);
        refusal(format!(
            "bowline: no memory for this request within {}s: it takes {needed} KiB, and requests and answers in flight \
             have {used} of {limit} MiB; read the answers that wait, ask for less at a time, or start the server with a \
             larger --memory-in-flight-mib",
            self.wait_max.as_secs_f64()
        ))
    }
}

fn refusal(text: String) -> Status {
    Status::new(Code::ResourceExhausted, text)
}

/// What one connection has in flight.
#[derive(Debug)]
pub(crate) struct Account {
    in_flight: Arc<InFlight>,
    own: Arc<Semaphore>,
    used: Cell<usize>,
    /// Taken from both limits; covers what is used beyond `FREE_BYTES`, unless that was charged whatever the limits.
    held: RefCell<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    own: OwnedSemaphorePermit,
    all: OwnedSemaphorePermit,
}

impl Held {
    fn bytes(&self) -> usize {
        self.all.num_permits() * UNIT_BYTES
    }

    fn merge(&mut self, other: Held) {
        self.own.merge(other.own);
        self.all.merge(other.all);
    }
}

impl Account {
    pub(crate) fn new(in_flight: &Arc<InFlight>) -> Rc<Account> {
        let own = Arc::new(Semaphore::new(in_flight.connection_bytes_max / UNIT_BYTES));
        let in_flight = in_flight.clone();
        Rc::new(Account { in_flight, own, used: Cell::new(0), held: RefCell::new(None) })
    }

    /// Names the connection among those that are open.
    pub(crate) fn id(self: &Rc<Account>) -> usize {
        Rc::as_ptr(self).addr()
    }

    fn covered(&self) -> usize {
        FREE_BYTES + self.held.borrow().as_ref().map_or(0, Held::bytes)
    }

    /// True if more was charged than the limits have: nothing is begun before some of it is given back.
    pub(crate) fn is_over(&self) -> bool {
        self.used.get() > self.covered()
    }

    /// True if so much waits for the client that what can be left out is.
    pub(crate) fn is_crowded(&self) -> bool {
        self.used.get() > CROWDED_BYTES
    }

    /// Charges `bytes` if they can be had without waiting.
    pub(crate) fn charge_now(self: &Rc<Account>, bytes: usize) -> Option<Charge> {
        loop {
            let missing = (self.used.get() + bytes).saturating_sub(self.covered());
            if missing == 0 {
                return Some(self.take(bytes));
            }
            let units = u32::try_from(missing.div_ceil(UNIT_BYTES)).ok()?;
            let own = self.own.clone().try_acquire_many_owned(units).ok()?;
            let all = self.in_flight.units.clone().try_acquire_many_owned(units).ok()?;
            self.hold(Held { own, all });
        }
    }

    /// Charges `bytes` that are there already, whatever the limits. For what is small, and what is made where nobody
    /// can wait; see `is_over`.
    pub(crate) fn charge_anyway(self: &Rc<Account>, bytes: usize) -> Charge {
        self.charge_now(bytes).unwrap_or_else(|| self.take(bytes))
    }

    /// Charges `bytes`, in line behind others that wait.
    pub(crate) async fn charge(self: &Rc<Account>, bytes: usize) -> Result<Charge, Status> {
        if let Some(charge) = self.charge_now(bytes) {
            return Ok(charge);
        }
        if bytes > self.in_flight.connection_bytes_max {
            return Err(self.in_flight.too_large(bytes));
        }
        let in_line = InLine::enter(&self.in_flight);
        let waited = tokio::time::timeout(self.in_flight.wait_max, self.wait(bytes)).await;
        drop(in_line);
        match waited {
            Ok(Ok(charge)) => Ok(charge),
            // The semaphores are never closed.
            Ok(Err(_)) | Err(_) => Err(self.in_flight.waited_in_vain(bytes)),
        }
    }

    /// Charges `bytes` for an answer that has begun: whoever reads it would rather wait than have it broken off.
    pub(crate) async fn charge_begun(self: &Rc<Account>, bytes: usize) -> Charge {
        loop {
            if let Ok(charge) = self.charge(bytes).await {
                return charge;
            }
            if bytes > self.in_flight.connection_bytes_max {
                return self.take(bytes);
            }
        }
    }

    /// All of it is taken from the limits: what the connection has free may be gone when the turn comes.
    async fn wait(self: &Rc<Account>, bytes: usize) -> Result<Charge, AcquireError> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let own = self.own.clone().acquire_many_owned(units).await?;
        let all = self.in_flight.units.clone().acquire_many_owned(units).await?;
        self.hold(Held { own, all });
        Ok(self.take(bytes))
    }

    fn hold(&self, more: Held) {
        let mut held = self.held.borrow_mut();
        match &mut *held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
    }

    fn take(self: &Rc<Account>, bytes: usize) -> Charge {
        self.used.set(self.used.get() + bytes);
        Charge { account: self.clone(), bytes }
    }

    fn give_back(&self, bytes: usize) {
        self.used.set(self.used.get() - bytes);
        let mut held = self.held.borrow_mut();
        let Some(some) = &mut *held else { return };
        let needed = self.used.get().saturating_sub(FREE_BYTES);
        if needed == 0 {
            *held = None;
            return;
        }
        let surplus = some.bytes().saturating_sub(needed);
        if surplus >= RETURN_BYTES {
            let units = surplus / UNIT_BYTES;
            drop((some.own.split(units), some.all.split(units)));
        }
    }
}

/// A place among those that wait.
struct InLine<'a>(&'a InFlight);

impl InLine<'_> {
    fn enter(in_flight: &InFlight) -> InLine<'_> {
        in_flight.waiting.fetch_add(1, Ordering::Relaxed);
        in_flight.waits.increment();
        InLine(in_flight)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes that are charged until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    account: Rc<Account>,
    bytes: usize,
}

impl Charge {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A part of it that is given back by itself.
    pub(crate) fn split(&mut self, bytes: usize) -> Charge {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Charge { account: self.account.clone(), bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.account.give_back(self.bytes);
        }
    }
}

/// Bytes on their way to a client, charged until they are written to the socket.
#[derive(Debug)]
pub(crate) struct Piece {
    bytes: Bytes,
    charge: Charge,
}

impl Piece {
    /// `charge` is for these bytes.
    pub(crate) fn new(bytes: Bytes, charge: Charge) -> Piece {
        Piece { bytes, charge }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The first `at` bytes.
    pub(crate) fn split_to(&mut self, at: usize) -> Piece {
        if at == self.bytes.len() {
            let charge = self.charge.split(usize::MAX);
            return Piece { bytes: std::mem::take(&mut self.bytes), charge };
        }
        Piece { bytes: self.bytes.split_to(at), charge: self.charge.split(at) }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    fn process(mib: usize) -> Arc<InFlight> {
        InFlight::with_wait(mib * MIB, MIB, Duration::from_millis(1))
    }

    fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Waiting needs a clock.
    fn run(test: impl AsyncFnOnce()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(test());
    }

    #[test]
    fn what_is_small_takes_nothing_of_the_process() {
        let process = process(16);
        let account = Account::new(&process);
        let charges: Vec<Charge> =
            (0..32).map(|_| account.charge_now(FREE_BYTES / 32).expect("fits what is free")).collect();
        assert_eq!(process.used_bytes(), 0);
        let one_more = account.charge_now(1).expect("fits the process");
        assert_eq!(process.used_bytes(), UNIT_BYTES);
        drop((charges, one_more));
        assert_eq!((account.used.get(), process.used_bytes()), (0, 0));
    }

    #[test]
    fn a_connection_has_a_part_of_the_whole_and_all_together_the_whole() {
        let process = process(16);
        let accounts: Vec<Rc<Account>> = (0..5).map(|_| Account::new(&process)).collect();
        let full = accounts[0].charge_now(4 * MIB).expect("a quarter");
        assert!(accounts[0].charge_now(MIB).is_none(), "the connection's part is used up");
        let others: Vec<Charge> = accounts[1..4].iter().map(|other| other.charge_now(4 * MIB).expect("fits")).collect();
        assert!(accounts[4].charge_now(MIB).is_none(), "the whole is used up");
        assert!(accounts[4].charge_now(FREE_BYTES).is_some(), "but what is small is served");
        drop(full);
        assert!(accounts[4].charge_now(MIB).is_some());
        drop(others);
        assert_eq!(process.used_bytes(), 0);
    }

    #[test]
    fn who_does_not_fit_waits_in_line_and_is_served_in_order() {
        run(async || {
            let process = process(16);
            let accounts: Vec<Rc<Account>> = (0..6).map(|_| Account::new(&process)).collect();
            let mut full: Vec<Charge> =
                accounts[..4].iter().map(|account| account.charge_now(4 * MIB).expect("fits")).collect();
            let mut large = Box::pin(accounts[4].charge(3 * MIB));
            let mut small = Box::pin(accounts[5].charge(MIB / 2));
            assert!(poll(&mut large).is_pending() && poll(&mut small).is_pending());
            assert_eq!(process.waiting(), 2);
            assert!(accounts[5].charge_now(MIB / 2).is_none(), "nobody overtakes who waits");
            drop(full.pop());
            let Poll::Ready(Ok(first)) = poll(&mut large) else { panic!("its turn has come") };
            let Poll::Ready(Ok(second)) = poll(&mut small) else { panic!("there is space for both") };
            assert_eq!(process.waiting(), 0);
            drop((first, second, full));
            assert_eq!(process.used_bytes(), 0);
        });
    }

    #[test]
    fn who_gives_up_in_line_leaves_nothing_taken() {
        run(async || {
            let process = process(16);
            let accounts: Vec<Rc<Account>> = (0..5).map(|_| Account::new(&process)).collect();
            let full: Vec<Charge> =
                accounts[..4].iter().map(|account| account.charge_now(4 * MIB).expect("fits")).collect();
            let mut waiting = Box::pin(accounts[4].charge(2 * MIB));
            assert!(poll(&mut waiting).is_pending());
            drop(waiting);
            assert_eq!(process.waiting(), 0);
            drop(full);
            assert_eq!(process.used_bytes(), 0);
        });
    }

    #[test]
    fn refusals_say_what_was_needed_and_the_way_out() {
        run(async || {
            let process = process(16);
            let account = Account::new(&process);
            let status = account.charge(5 * MIB).await.expect_err("more than a connection may have");
            assert_eq!(status.code, Code::ResourceExhausted);
            assert!(status.message.contains("takes 5120 KiB of memory at once"), "{}", status.message);
            assert!(status.message.contains("a connection may have 4096 KiB in flight"), "{}", status.message);
            let _full = account.charge(4 * MIB).await.expect("fits");
            let status = account.charge(2 * MIB).await.expect_err("nothing is given back");
            assert_eq!(status.code, Code::ResourceExhausted);
            assert!(status.message.contains("have 3 of 16 MiB"), "{}", status.message);
            assert!(status.message.contains("--memory-in-flight-mib"), "{}", status.message);
            assert_eq!((process.refused.get(), process.waits.get()), (2, 1));
        });
    }

    #[test]
    fn the_largest_message_fits_however_small_the_limit() {
        let process = InFlight::new(1, 32 * MIB);
        let account = Account::new(&process);
        assert!(account.charge_now(32 * MIB).is_some());
    }

    #[test]
    fn what_was_charged_anyway_is_over_until_it_is_given_back() {
        let process = process(16);
        let account = Account::new(&process);
        let charge = account.charge_anyway(5 * MIB);
        assert!(account.is_over());
        drop(charge);
        assert!(!account.is_over());
    }

    #[test]
    fn a_piece_gives_back_its_parts_as_they_go() {
        let account = Account::new(&process(16));
        let charge = account.charge_anyway(100);
        let mut piece = Piece::new(vec![7; 90].into(), charge);
        let first = piece.split_to(40);
        assert_eq!((first.len(), piece.len(), account.used.get()), (40, 50, 100));
        drop(first);
        assert_eq!(account.used.get(), 60);
        let rest = piece.split_to(50);
        assert!(piece.is_empty());
        drop(piece);
        assert_eq!(account.used.get(), 60);
        drop(rest);
        assert_eq!(account.used.get(), 0);
    }
}
