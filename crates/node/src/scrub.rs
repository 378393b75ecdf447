//! The scrub: reads all that the newest checkpoint names, round after round and slowly, so that a record that rotted on
//! the disk is known before somebody needs it.
//!
//! Invariants: at most so many bytes a second are read; what is found is named in the log once, and counted until a
//! round no longer finds it: it was put anew and its segment went, or the disk has it again. Nothing is changed, and no
//! request is refused for it.
//! Reads go through the system's cache like all others, 256 KiB at a time: a page that was only read once is the first
//! to leave it, and to drop pages by hand would drop those that clients read.
//! Not here: how files are read (`store::Walk`), and when a step has its turn (`background`).

use crate::limits::{
    BACKGROUND_INTERVAL, SCRUB_FINDINGS_MAX, SCRUB_LOOKS_MAX, SCRUB_PAUSE, SCRUB_STEP_BYTES, UPKEEP_RETRY_INTERVAL,
};
use crate::shared::Shared;
use io::Disk;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::{Fault, Named, Walk};

/// A file, and an offset in it; no file for the manifest.
type Place = (Option<Named>, u64);

/// See the file's head.
pub(crate) struct Scrub {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// 0: never.
    bytes_per_s: u64,
    /// Of the round under way.
    walk: Option<Walk>,
    /// When the next step is.
    due: Duration,
    /// What the round before found, and what this one did.
    known: BTreeSet<Place>,
    found: BTreeSet<Place>,
    /// Of `found`, what is not known.
    fresh: usize,
    /// How often the key index was gone over for one segment.
    looks: (Option<Named>, usize),
}

/// How a step ended.
enum Stepped {
    /// So much was read.
    Read(u64),
    RoundDone,
    /// Descriptors or memory were short.
    TryAgain,
}

impl Scrub {
    pub(crate) fn new(shared: Arc<Shared>, disk: Arc<dyn Disk>, directory: PathBuf, bytes_per_s: u64) -> Scrub {
        let due = shared.clock.monotonic() + SCRUB_PAUSE;
        Scrub {
            shared,
            disk,
            directory,
            bytes_per_s,
            walk: None,
            due,
            known: BTreeSet::new(),
            found: BTreeSet::new(),
            fresh: 0,
            looks: (None, 0),
        }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.bytes_per_s > 0 && self.shared.clock.monotonic() >= self.due
    }

    /// Reads a piece, if it is time.
    pub(crate) fn step(&mut self) {
        if !self.is_due() {
            return;
        }
        if let Some(walk) = &mut self.walk {
            walk.let_go_of_removed();
        }
        let now = self.shared.clock.monotonic();
        self.due = match self.read_on() {
            Stepped::Read(bytes) => {
                self.shared.metrics.scrub_bytes.add(bytes);
                let took_ns = u128::from(bytes.max(SCRUB_STEP_BYTES)) * 1_000_000_000 / u128::from(self.bytes_per_s);
                // What the turn came late by is made up for.
                let began = self.due.max(now.saturating_sub(BACKGROUND_INTERVAL));
                began + Duration::from_nanos(u64::try_from(took_ns).unwrap_or(u64::MAX))
            }
            Stepped::RoundDone => now + SCRUB_PAUSE,
            Stepped::TryAgain => now + UPKEEP_RETRY_INTERVAL,
        };
    }

    fn read_on(&mut self) -> Stepped {
        let mut walk = match self.walk.take() {
            Some(walk) => walk,
            None => match Walk::begin(self.disk.clone(), &self.directory) {
                Ok(walk) => walk,
                Err(fault) if fault.may_pass() => return Stepped::TryAgain,
                Err(fault) => {
                    self.find(
                        (None, 0),
                        &fault,
                        "the manifest: until the next checkpoint writes it anew, a start is refused",
                    );
                    return self.end_round();
                }
            },
        };
        let mut bytes = 0;
        while bytes < SCRUB_STEP_BYTES {
            match walk.step() {
                Ok(Some(sound)) => bytes += sound.bytes(),
                Ok(None) if bytes > 0 => break,
                Ok(None) => return self.end_round(),
                Err(fault) => {
                    let is_passed = !fault.may_pass() && self.pass_damage(&mut walk, &fault);
                    self.walk = Some(walk);
                    return if is_passed { Stepped::Read(bytes) } else { Stepped::TryAgain };
                }
            }
        }
        self.walk = Some(walk);
        Stepped::Read(bytes)
    }

    /// Names what is damaged, unless it went meanwhile. False if that cannot be told now.
    fn pass_damage(&mut self, walk: &mut Walk, fault: &Fault) -> bool {
        let Some(file) = walk.file() else { return true };
        match walk.is_still_named(file) {
            Ok(true) => {}
            Ok(false) => {
                walk.leave();
                return true;
            }
            Err(fault) if fault.may_pass() => return false,
            // The next round names the manifest.
            Err(_) => {}
        }
        let offset = fault.offset().filter(|_| walk.is_in_file());
        match (file, offset) {
            (Named::Segment(id), Some(offset)) => self.pass_record(walk, id, offset, fault),
            (Named::Segment(_), None) => {
                self.find((Some(file), 0), fault, "the segment cannot be opened: the next start is refused");
                walk.leave();
            }
            (Named::Run(_), offset) => {
                let says = "the key index of the checkpoint: a start needs it, and is refused";
                self.find((Some(file), offset.unwrap_or(0)), fault, says);
                walk.leave();
            }
        }
        true
    }

    fn pass_record(&mut self, walk: &mut Walk, segment: u32, offset: u64, fault: &Fault) {
        let file = Some(Named::Segment(segment));
        let place = (file, offset);
        if self.looks.0 != file {
            self.looks = (file, 0);
        }
        self.looks.1 += 1;
        let offset = u32::try_from(offset).ok().filter(|_| self.looks.1 <= SCRUB_LOOKS_MAX);
        let Some(offset) = offset else {
            self.find(place, fault, "one of many in this segment");
            walk.pass();
            return;
        };
        let around = self.shared.view.load().kv().around(segment, offset);
        // What is passed over is this record, or garbage.
        walk.pass_to(around.next);
        let Some(owner) = around.owner else {
            self.find(place, fault, "garbage: nobody needs it");
            return;
        };
        if self.note(place) {
            let (key, revision) = (owner.key.escape_ascii(), owner.revision.0);
            let kind = if owner.is_current { "current" } else { "history" };
            tracing::error!(%key, revision, kind, error = %fault, "scrub: a damaged record");
        }
    }

    fn find(&mut self, place: Place, fault: &Fault, says: &'static str) {
        if self.note(place) {
            tracing::error!(kind = says, error = %fault, "scrub: damage that is no pair's");
        }
    }

    /// True if it is to be named. What there is no memory for is not, and is not counted.
    fn note(&mut self, place: Place) -> bool {
        if self.found.len() >= SCRUB_FINDINGS_MAX || !self.found.insert(place) || self.known.contains(&place) {
            return false;
        }
        self.fresh += 1;
        self.publish(self.known.len() + self.fresh);
        true
    }

    fn end_round(&mut self) -> Stepped {
        let gone = self.known.difference(&self.found).count();
        if gone > 0 {
            tracing::info!(gone, left = self.found.len(), "scrub: damage that was found before is gone");
        }
        self.known = std::mem::take(&mut self.found);
        self.fresh = 0;
        self.publish(self.known.len());
        self.shared.metrics.scrub_rounds.increment();
        Stepped::RoundDone
    }

    fn publish(&self, damaged: usize) {
        self.shared.metrics.damaged_records.set(i64::try_from(damaged).unwrap_or(i64::MAX));
    }
}
