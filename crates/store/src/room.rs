//! Room for records: space that is allocated ahead of them, and what happens on a disk that has none.
//!
//! ```text
//! segment   ├── records in the file ──┬── taken ──┬── allocated ahead ──┤
//!                                flushed        end               file_bytes
//! ```
//! Who appends has committed what it appends, so a full disk refuses nothing here. A large piece is allocated ahead, a
//! smaller one if that does not fit, at last just what is needed; then what is needed is taken of the reserve; and what
//! finds no space even so stays in memory, readable, until `flush` finds some. From the first of these on the store is
//! *short of space*, and whoever decides what is committed is to refuse growth. That ends once the reserve is whole and
//! a large piece is allocated ahead.

use crate::fault::{Fault, Result};
use crate::open::FILE_HEADER_BYTES;
use crate::segments::{Active, Store};

/// What is known of the room for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes of records that are allocated, or may be taken of the reserve.
    pub certain_bytes: u64,
    /// Of them what is allocated, with what the file system says is free.
    pub growth_bytes: u64,
}

impl Store {
    /// True if records of so many bytes, headers included, have space that is allocated already.
    pub fn is_allocated(&self, bytes: u64) -> bool {
        let Some(segment) = self.active.as_ref().and_then(|active| self.segments.get(&active.id)) else { return false };
        segment.length.saturating_add(bytes) <= segment.file_bytes.min(self.segment_bytes_max())
    }

    /// True from a lack of space until there is much again.
    pub fn is_short_of_space(&self) -> bool {
        self.shortage.is_some()
    }

    /// What the lack of space was.
    pub fn shortage(&self) -> Option<&Fault> {
        self.shortage.as_ref()
    }

    /// Asks the file system, too.
    pub fn room(&self) -> Room {
        let segment = self.active.as_ref().and_then(|active| self.segments.get(&active.id));
        let (length, file_bytes) = segment.map_or((0, 0), |segment| (segment.length, segment.file_bytes));
        let certain_bytes = (file_bytes + self.space.record_bytes_left()).saturating_sub(length);
        // Who cannot say does not slow anybody down.
        let free = self.disk.free_space(&self.directory).unwrap_or(u64::MAX);
        Room { certain_bytes, growth_bytes: file_bytes.saturating_sub(length).saturating_add(free) }
    }

    /// After a lack of space: writes what stayed in memory, makes the reserve whole and allocates ahead, as far as
    /// there is space. To be called now and then.
    pub fn look_for_space(&mut self) -> Result<()> {
        if self.shortage.is_none() {
            return Ok(());
        }
        let looked = self.flush().and_then(|()| self.allocate_ahead());
        self.note_shortage(looked)
    }

    /// Writes what stayed in memory with all of the reserve, so that a checkpoint can be begun.
    pub fn flush_with_reserve(&mut self) -> Result<()> {
        match self.flush() {
            Err(fault) if fault.may_pass() && self.space_is_ours() && self.space.give_up() => self.flush(),
            flushed => flushed,
        }
    }

    /// Lets others have the reserve: the log, without which nothing can be given back. It is made again once there is
    /// space.
    pub fn give_up_reserve(&mut self) {
        if self.space_is_ours() && self.space.give_up() {
            self.shortage.get_or_insert_with(|| Fault::no_space("keep the reserve of", &self.directory));
        }
    }

    /// Finds a segment for a record, and space in it if there is some.
    pub(crate) fn make_room(&mut self, record_bytes: u64) -> Result<()> {
        if !self.fits(record_bytes) {
            let rolled = self.roll();
            self.note_shortage(rolled)?;
        }
        if self.active.is_none() {
            self.resume_segment()?;
        }
        let allocated = self.allocate(record_bytes);
        self.note_shortage(allocated)
    }

    /// A lack of space is no failure here.
    fn note_shortage(&mut self, result: Result<()>) -> Result<()> {
        match result {
            Err(fault) if fault.may_pass() => {
                self.shortage.get_or_insert(fault);
                Ok(())
            }
            other => {
                self.failed |= other.is_err();
                other
            }
        }
    }

    fn fits(&self, record_bytes: u64) -> bool {
        let Some(segment) = self.active.as_ref().and_then(|active| self.segments.get(&active.id)) else { return false };
        segment.length == FILE_HEADER_BYTES || segment.length + record_bytes <= self.segment_bytes_max()
    }

    /// Goes on in a new segment; in the same one, if there is no space for another.
    fn roll(&mut self) -> Result<()> {
        self.flush()?;
        let next = self.begin_segment()?;
        self.seal()?;
        self.take_segment(next);
        Ok(())
    }

    /// Goes on in the newest segment, although it was sealed. One without a live record may be about to be removed.
    fn resume_segment(&mut self) -> Result<()> {
        let newest = self.segments.iter().rev().find(|(_, segment)| {
            let has_room = segment.length < self.options.segment_bytes.max(self.options.segment_bytes_min);
            segment.live_bytes > 0 && has_room
        });
        if let Some((&id, segment)) = newest {
            self.active = Some(Active::new(id, segment.length));
            return Ok(());
        }
        self.give_up_reserve();
        let next = self.begin_segment()?;
        self.take_segment(next);
        Ok(())
    }

    /// Space for a record behind those that were taken.
    fn allocate(&mut self, record_bytes: u64) -> Result<()> {
        let (length, file_bytes) = self.active_extent();
        let needed = length + record_bytes;
        if needed <= file_bytes {
            return Ok(());
        }
        if self.shortage.is_some() {
            return self.allocate_of_reserve(needed);
        }
        let ahead = (length + self.options.allocate_bytes).min(self.segment_bytes_max()).max(needed);
        match self.make_reserve().and_then(|()| self.extend_as_far(needed, ahead)) {
            Err(fault) if fault.may_pass() => {
                self.shortage = Some(fault);
                self.allocate_of_reserve(needed)
            }
            extended => extended,
        }
    }

    /// Space for what was taken and has none. From here on there is a lack of it.
    pub(crate) fn allocate_taken(&mut self) -> Result<()> {
        let (length, file_bytes) = self.active_extent();
        if length <= file_bytes { Ok(()) } else { self.allocate_of_reserve(length) }
    }

    fn allocate_of_reserve(&mut self, needed: u64) -> Result<()> {
        let (_, file_bytes) = self.active_extent();
        // Somebody may have made space by now.
        match self.extend(needed) {
            Err(fault) if fault.may_pass() => {
                let given = self.space_is_ours() && self.space.give_up_for_records(needed - file_bytes);
                if given { self.extend(needed) } else { Err(fault) }
            }
            extended => extended,
        }
    }

    /// The end of a shortage, if there is space for it.
    fn allocate_ahead(&mut self) -> Result<()> {
        self.make_reserve()?;
        if self.active.is_some() {
            let (length, file_bytes) = self.active_extent();
            let ahead = length + self.options.allocate_bytes.min(self.segment_bytes_max());
            if ahead > file_bytes {
                self.extend(ahead)?;
            }
        }
        self.shortage = None;
        Ok(())
    }

    /// While the reserve is not whole, what space there is belongs to giving space back.
    fn make_reserve(&self) -> Result<()> {
        if self.space_is_ours() {
            return self.space.reserve();
        }
        let missing = || Fault::no_space("allocate space in", &self.directory);
        if self.space.is_reserved() { Ok(()) } else { Err(missing()) }
    }

    /// Nobody is at work who might give the reserve up.
    fn space_is_ours(&self) -> bool {
        std::sync::Arc::strong_count(&self.space) == 1
    }

    /// Allocates up to `ahead`, or half as far, and so on; at least up to `needed`.
    fn extend_as_far(&mut self, needed: u64, ahead: u64) -> Result<()> {
        let mut to = ahead;
        loop {
            match self.extend(to) {
                Err(fault) if fault.may_pass() && to > needed => {
                    let (_, file_bytes) = self.active_extent();
                    to = (file_bytes + (to - file_bytes) / 2).max(needed);
                }
                extended => return extended,
            }
        }
    }

    fn extend(&mut self, to: u64) -> Result<()> {
        let active = self.active.as_ref().expect("records are taken by an active segment");
        let segment = self.segments.get_mut(&active.id).expect("the active segment is one of the segments");
        let file = &segment.open.file;
        file.allocate(segment.file_bytes, to - segment.file_bytes)
            .map_err(Fault::io("allocate space for", &segment.open.path))?;
        self.file_bytes += to - segment.file_bytes;
        segment.file_bytes = to;
        Ok(())
    }

    /// End of the active segment's records, and of its file.
    fn active_extent(&self) -> (u64, u64) {
        let active = self.active.as_ref().expect("records are taken by an active segment");
        let segment = self.segments.get(&active.id).expect("the active segment is one of the segments");
        (segment.length, segment.file_bytes)
    }
}
