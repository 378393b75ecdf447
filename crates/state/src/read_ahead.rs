//! Reading ahead: the stored values that a command needs, read and verified before it may change anything.
//!
//! Most commands need none. One that compares values, keeps a value or sorts by it does, and a disk may return damage
//! or nothing for a record. So such a command is read for twice, and each time what was read goes on with it:
//!
//! ```text
//! ReadAhead, before it is proposed ──records──▶ State::read_ahead, before it is applied ──records──▶ State::apply_with
//! all that it may need, on a view               all that it does need, on the state
//! ```
//! What fails the first is refused, and nothing is in the log. What fails the second leaves the state as it was, before
//! the entry, and the entry is to be applied once the record can be read: to skip it would make members differ.
//!
//! Invariant: a record that is needed in the second read and was not part of the first is one that was written since.
//! Not here: when to try again, and what a member does meanwhile (`node::apply`).

use crate::apply::ApplyTxn;
use crate::fault::{Fault, Result};
use crate::footprint::{MeasuredEntry, is_by_value, is_of_value, needs_values};
use crate::state::State;
use crate::txn::{self, Keys};
use crate::view::StateView;
use bytes::Bytes;
use model::{Command, DeleteRange, KeyRange, Operation, Put, PutValue, Range, Revision, SortOrder, Txn};
use mvcc::{Key, Meta, Records};
use std::cell::RefCell;
use std::sync::Arc;
use store::Location;

/// Records read at a time.
const STEP_RECORDS: usize = 256;
/// And their payloads together, but for one record.
const STEP_BYTES: u64 = 1 << 20;
/// Payloads handed on with one command; of a command that needs more none is, and apply reads again.
const HANDED_ON_BYTES_MAX: u64 = 4 << 20;

/// True if the answer shows pairs that the command replaces or deletes.
fn shows_previous(command: &Command) -> bool {
    fn operation(operation: &Operation) -> bool {
        match operation {
            Operation::Put(put) => put.prev_kv,
            Operation::DeleteRange(delete) => delete.prev_kv,
            Operation::Range(_) => false,
            Operation::Txn(inner) => txn(inner),
        }
    }
    fn txn(txn: &Txn) -> bool {
        txn.success.iter().chain(&txn.failure).any(operation)
    }
    match command {
        Command::Put(put) => put.prev_kv,
        Command::DeleteRange(delete) => delete.prev_kv,
        Command::Txn(command) => txn(command),
        _ => false,
    }
}

/// Called with each pair that is to be read.
type Visit<'a> = dyn FnMut(Key<'_>, &Meta) + 'a;

/// All that apply of a command may need, whatever its compares come to when it is applied.
fn each_needed(keys: &impl Keys, command: &Command, visit: &mut Visit<'_>) {
    match command {
        Command::Put(put) => each_kept(keys, put, visit),
        Command::Txn(txn) => each_needed_by_txn(keys, txn, visit),
        _ => {}
    }
}

fn each_needed_by_txn(keys: &impl Keys, txn: &Txn, visit: &mut Visit<'_>) {
    for compare in txn.compares.iter().filter(|compare| is_of_value(compare)) {
        each_now(keys, &compare.range, visit);
    }
    for operation in txn.success.iter().chain(&txn.failure) {
        match operation {
            Operation::Put(put) => each_kept(keys, put, visit),
            Operation::Range(range) => each_sorted(keys, range, visit),
            Operation::DeleteRange(_) => {}
            Operation::Txn(inner) => each_needed_by_txn(keys, inner, visit),
        }
    }
}

/// The pairs that a command replaces or deletes and that its answer shows, as far as can be told now.
fn each_shown(keys: &impl Keys, command: &Command, visit: &mut Visit<'_>) -> Result<()> {
    match command {
        Command::Put(put) => each_replaced(keys, put, visit),
        Command::DeleteRange(delete) => each_deleted(keys, delete, visit),
        Command::Txn(command) => {
            let path = txn::choose(keys, command)?;
            path.each(command, &mut |operation| match operation {
                Operation::Put(put) => each_replaced(keys, put, visit),
                Operation::DeleteRange(delete) => each_deleted(keys, delete, visit),
                Operation::Range(_) | Operation::Txn(_) => {}
            });
        }
        _ => {}
    }
    Ok(())
}

fn each_kept(keys: &impl Keys, put: &Put, visit: &mut Visit<'_>) {
    if put.value == PutValue::Keep {
        each_now(keys, &KeyRange::single(put.key.clone()), visit);
    }
}

fn each_replaced(keys: &impl Keys, put: &Put, visit: &mut Visit<'_>) {
    if put.prev_kv {
        each_now(keys, &KeyRange::single(put.key.clone()), visit);
    }
}

fn each_deleted(keys: &impl Keys, delete: &DeleteRange, visit: &mut Visit<'_>) {
    if delete.prev_kv {
        each_now(keys, &delete.range, visit);
    }
}

fn each_now(keys: &impl Keys, range: &KeyRange, visit: &mut Visit<'_>) {
    keys.each(range, keys.revision(), &mut |key, meta| {
        visit(key, meta);
        true
    });
}

/// The pairs whose values decide an order. Those of a revision that is still to come exist now, or will be new.
fn each_sorted(keys: &impl Keys, range: &Range, visit: &mut Visit<'_>) {
    let Some(sort) = range.sort.filter(|_| is_by_value(range)) else { return };
    let asked = if range.revision.0 <= 0 { keys.revision() } else { range.revision.min(keys.revision()) };
    if asked < keys.compacted_revision() {
        return;
    }
    let unbounded = range.mod_bounds.is_unset() && range.create_bounds.is_unset();
    let takes_first = unbounded && sort.order == SortOrder::Unspecified && range.limit > 0;
    let mut left = if takes_first { range.limit.saturating_add(1) } else { u64::MAX };
    keys.each(&range.range, asked, &mut |key, meta| {
        if range.mod_bounds.contains(meta.mod_revision()) && range.create_bounds.contains(meta.create_revision) {
            visit(key, meta);
        }
        left -= 1;
        left > 0
    });
}

/// The fault with the pair whose record it is about.
fn unreadable(fault: mvcc::Fault, at: Location, each: impl FnOnce(&mut Visit<'_>)) -> Fault {
    let mut found = None;
    each(&mut |key, meta| {
        if meta.location == at && found.is_none() {
            found = Some((Bytes::from(key.to_vec()), meta.mod_revision()));
        }
    });
    match found {
        Some((key, revision)) => Fault::Unreadable { key, revision, fault: Box::new(fault) },
        None => Fault::Keys(fault),
    }
}

/// Keys whose records are read once.
struct Reading<'a, K> {
    keys: &'a K,
    records: RefCell<&'a mut Records>,
}

impl<K: Keys> Keys for Reading<'_, K> {
    fn revision(&self) -> Revision {
        self.keys.revision()
    }

    fn compacted_revision(&self) -> Revision {
        self.keys.compacted_revision()
    }

    fn get(&self, key: &[u8]) -> Option<Meta> {
        self.keys.get(key)
    }

    fn each(&self, range: &KeyRange, at: Revision, visit: &mut dyn FnMut(Key<'_>, &Meta) -> bool) {
        self.keys.each(range, at, visit);
    }

    fn record(&self, at: Location) -> std::result::Result<Bytes, mvcc::Fault> {
        if let Some(record) = self.records.borrow().get(&at) {
            return Ok(record.clone());
        }
        let record = self.keys.record(at)?;
        self.records.borrow_mut().insert(at, record.clone());
        Ok(record)
    }
}

/// The first read, piece by piece; see the file's head. Pairs that the answer shows are read, too: what cannot be
/// shown is better refused than done.
pub struct ReadAhead {
    view: Arc<StateView>,
    places: std::vec::IntoIter<Location>,
    /// What the answer shows is still to be found.
    shows: bool,
    records: Records,
    bytes: u64,
}

impl ReadAhead {
    /// Something is to be read for `command`.
    pub fn is_due(command: &Command) -> bool {
        needs_values(command) || shows_previous(command)
    }

    pub fn new(view: Arc<StateView>, command: &Command) -> ReadAhead {
        let mut places = Vec::new();
        each_needed(view.kv(), command, &mut |_, meta| places.push(meta.location));
        let (places, shows) = (in_order(places), shows_previous(command));
        ReadAhead { view, places, shows, records: Records::new(), bytes: 0 }
    }

    /// Reads a piece of what `command` needs, of which this was made; false if that was the last. Fails if a record
    /// cannot be read: then the command must not be proposed.
    pub fn step(&mut self, command: &Command) -> Result<bool> {
        let piece = self.take_piece();
        if piece.is_empty() && self.shows {
            self.find_shown(command)?;
            return Ok(true);
        }
        let mut payloads = Vec::with_capacity(piece.len());
        if let Err((fault, at)) = self.load(&piece, &mut payloads) {
            let view = self.view.clone();
            return Err(unreadable(fault, at, |visit| {
                each_needed(view.kv(), command, visit);
                // What decides the path was read: this can only find less.
                let _ = each_shown(view.kv(), command, visit);
            }));
        }
        self.bytes += payloads.iter().map(|payload| payload.len() as u64).sum::<u64>();
        if self.bytes <= HANDED_ON_BYTES_MAX {
            self.records.extend(piece.into_iter().zip(payloads));
        } else {
            self.records.clear();
        }
        Ok(self.shows || !self.places.as_slice().is_empty())
    }

    /// What was read, as far as it is little enough to be handed on.
    pub fn finish(self) -> Records {
        self.records
    }

    fn take_piece(&mut self) -> Vec<Location> {
        let mut bytes = 0;
        let fits = self.places.as_slice().iter().take(STEP_RECORDS).take_while(|at| {
            let fits = bytes < STEP_BYTES;
            bytes += u64::from(at.length);
            fits
        });
        let count = fits.count();
        self.places.by_ref().take(count).collect()
    }

    fn find_shown(&mut self, command: &Command) -> Result<()> {
        self.shows = false;
        let ReadAhead { view, records, .. } = self;
        let mut places = Vec::new();
        let reading = Reading { keys: view.kv(), records: RefCell::new(records) };
        each_shown(&reading, command, &mut |_, meta| places.push(meta.location))?;
        places.retain(|place| !self.records.contains_key(place));
        self.places = in_order(places);
        Ok(())
    }

    /// Which record it is, if one of them cannot be read.
    fn load(&self, piece: &[Location], out: &mut Vec<Bytes>) -> std::result::Result<(), (mvcc::Fault, Location)> {
        let kv = self.view.kv();
        if kv.load(piece, out).is_ok() {
            return Ok(());
        }
        for at in piece {
            out.push(kv.read(*at).map_err(|fault| (fault, *at))?);
        }
        Ok(())
    }
}

/// As they lie, each once.
fn in_order(mut places: Vec<Location>) -> std::vec::IntoIter<Location> {
    places.sort_unstable();
    places.dedup();
    places.into_iter()
}

impl State {
    /// The second read; see the file's head. `records` holds what was read before, and gets what apply of the entry
    /// needs beside it. Changes nothing. Fails if a record cannot be read: then the entry must not be applied yet.
    pub fn read_ahead(&mut self, entry: &MeasuredEntry, records: &mut Records) -> Result<()> {
        if !entry.reads_values {
            return Ok(());
        }
        for (location, substitute) in self.given_up.iter() {
            records.insert(*location, substitute.payload.clone());
        }
        let keys = self.begin();
        let reading = Reading { keys: &keys, records: RefCell::new(records) };
        match entry.command() {
            Command::Put(put) => each_read(&reading, &mut |visit| each_kept(&reading, put, visit)),
            Command::Txn(txn) => read_for_txn(&reading, txn),
            _ => Ok(()),
        }
    }
}

fn read_for_txn(reading: &Reading<'_, ApplyTxn<'_>>, txn: &Txn) -> Result<()> {
    let path = match txn::choose(reading, txn) {
        Ok(path) => path,
        Err(Fault::Keys(fault)) => return Err(name_compared(reading, txn, fault)),
        Err(fault) => return Err(fault),
    };
    let mut read = Ok(());
    path.each(txn, &mut |operation| {
        if read.is_err() {
            return;
        }
        read = match operation {
            Operation::Put(put) => each_read(reading, &mut |visit| each_kept(reading, put, visit)),
            // Refused when it is applied.
            Operation::Range(range) if range.revision > reading.revision() => Ok(()),
            Operation::Range(range) => each_read(reading, &mut |visit| each_sorted(reading, range, visit)),
            Operation::DeleteRange(_) | Operation::Txn(_) => Ok(()),
        };
    });
    read
}

/// Reads each record that `each` visits.
fn each_read(keys: &impl Keys, each: &mut dyn FnMut(&mut Visit<'_>)) -> Result<()> {
    let mut read = Ok(());
    each(&mut |key, meta| {
        if read.is_ok()
            && let Err(fault) = keys.record(meta.location)
        {
            let (key, revision) = (key.to_vec().into(), meta.mod_revision());
            read = Err(Fault::Unreadable { key, revision, fault: Box::new(fault) });
        }
    });
    read
}

/// The first compared pair that cannot be read is the one that `choose` met, or one that it would have met.
fn name_compared(keys: &impl Keys, txn: &Txn, fault: mvcc::Fault) -> Fault {
    match each_read(keys, &mut |visit| each_needed_by_txn(keys, txn, visit)) {
        Err(named) => named,
        Ok(()) => Fault::Keys(fault),
    }
}
