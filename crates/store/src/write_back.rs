//! Starts write-back of records as they come, so that the sync of a checkpoint finds little to do: a sync that has many
//! bytes to write keeps the device busy, and the log's syncs wait behind it.
//!
//! Invariant: after a step, what waits for a start is less than `WAITING_BYTES_MAX` and younger than `WAITING_AGE_MAX`.
//! Nothing is promised about durability: checkpoints sync as if this did not exist. They do so through the handle that
//! write-back was started through, and that sync reports a write that failed meanwhile. `sync` does so between
//! checkpoints, so that a disk that is slow or fails is known while there is little to write.
//!
//! Not here: copies and runs, whose writers start write-back piece by piece themselves; threads and clocks.

use crate::fault::Result;
use crate::reader::OpenSegment;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Large enough to be written in one go, and small enough that a sync of the log does not wait long behind it.
const WAITING_BYTES_MAX: u64 = 1 << 20;
/// Less waits no longer than this, which is far below the age at which the system writes by itself.
const WAITING_AGE_MAX: Duration = Duration::from_secs(1);

/// For any thread; clones are the same. It goes on with each segment that is appended to.
#[derive(Debug, Clone, Default)]
pub struct WriteBack {
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// In the order of writing.
    ranges: Vec<Range>,
    /// The first step that found some of it.
    since: Option<Duration>,
    /// Segments written to since the last sync.
    unsynced: Vec<Weak<OpenSegment>>,
}

/// Bytes that were written to a segment's file.
#[derive(Debug)]
struct Range {
    /// A segment that is removed meanwhile must not be kept open.
    segment: Weak<OpenSegment>,
    from: u64,
    to: u64,
}

impl WriteBack {
    pub(crate) fn note_written(&self, segment: &Arc<OpenSegment>, from: u64, to: u64) {
        let mut waiting = self.lock();
        if waiting.unsynced.last().is_none_or(|last| !std::ptr::eq(last.as_ptr(), Arc::as_ptr(segment))) {
            waiting.unsynced.push(Arc::downgrade(segment));
        }
        match waiting.ranges.last_mut() {
            Some(last) if last.to == from && std::ptr::eq(last.segment.as_ptr(), Arc::as_ptr(segment)) => last.to = to,
            _ => waiting.ranges.push(Range { segment: Arc::downgrade(segment), from, to }),
        }
    }

    /// Starts write-back of what waits, if that is much or old. To be called every few tens of milliseconds; `now` is
    /// of any monotonic clock. May wait for the device to accept the bytes, without the lock.
    pub fn step(&self, now: Duration) {
        let ranges = self.lock().take(now);
        for Range { segment, from, to } in ranges {
            if let Some(segment) = segment.upgrade() {
                segment.file.start_write_back(from, to - from);
            }
        }
    }

    /// Syncs what was written since the last call. True if there was something.
    pub fn sync(&self) -> Result<bool> {
        let unsynced = std::mem::take(&mut self.lock().unsynced);
        let segments: Vec<_> = unsynced.iter().filter_map(Weak::upgrade).collect();
        segments.iter().try_for_each(|segment| segment.sync())?;
        Ok(!segments.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.to - range.from).sum()
    }

    /// All of it, if it is much or old.
    fn take(&mut self, now: Duration) -> Vec<Range> {
        if self.ranges.is_empty() {
            return Vec::new();
        }
        let since = *self.since.get_or_insert(now);
        if self.bytes() < WAITING_BYTES_MAX && now.saturating_sub(since) < WAITING_AGE_MAX {
            return Vec::new();
        }
        self.since = None;
        std::mem::take(&mut self.ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mode, Options, Store};
    use simdisk::{Random, SimDisk};
    use std::path::Path;

    fn opened(disk: &SimDisk) -> Store {
        let options =
            Options { segment_bytes: 3 << 20, segment_bytes_min: 3 << 20, reserve_bytes: 0, ..Options::default() };
        Store::open(Arc::new(disk.clone()), Path::new("/d/store"), options).expect("the store opens").0
    }

    fn write(store: &mut Store, bytes: u64) {
        store.append(&[&vec![7; bytes as usize]]).expect("there is space");
        store.flush().expect("it is written");
    }

    #[test]
    fn what_waits_stays_below_the_bounds_from_segment_to_segment() {
        let mut store = opened(&SimDisk::new());
        let mut random = Random::new(8);
        let mut now = Duration::ZERO;
        let mut not_waiting_at = now;
        for _ in 0..2000 {
            write(&mut store, random.below(60_000));
            now += Duration::from_millis(random.below(200));
            store.write_back().step(now);
            let waiting = store.write_back().lock().bytes();
            assert!(waiting < WAITING_BYTES_MAX, "{waiting} bytes wait");
            if waiting == 0 {
                not_waiting_at = now;
            }
            assert!(now - not_waiting_at < WAITING_AGE_MAX + Duration::from_millis(200));
        }
        assert!(store.segments().count() > 10, "it went on from segment to segment");
    }

    #[test]
    fn all_that_is_written_is_started_once_and_little_of_it_only_when_it_is_old() {
        let disk = SimDisk::new();
        let mut store = opened(&disk);
        write(&mut store, 100);
        write(&mut store, 100);
        let started = |now: Duration| {
            let before = disk.steps();
            store.write_back().step(now);
            disk.steps() - before
        };
        assert_eq!(started(Duration::ZERO), 0);
        assert_eq!(started(WAITING_AGE_MAX - Duration::from_millis(1)), 0);
        assert_eq!(started(WAITING_AGE_MAX), 1, "what was written one behind the other is one range");
        assert_eq!(started(WAITING_AGE_MAX * 9), 0);
        write(&mut store, WAITING_BYTES_MAX);
        let before = disk.steps();
        store.write_back().step(WAITING_AGE_MAX * 9);
        assert_eq!(disk.steps() - before, 1, "much of it is started at once");
    }

    #[test]
    fn what_was_written_is_synced_once_and_a_sync_that_fails_is_told() {
        let disk = SimDisk::new();
        let mut store = opened(&disk);
        assert!(!store.write_back().sync().expect("nothing to do"));
        write(&mut store, 100);
        assert!(store.write_back().sync().expect("it is synced"));
        assert!(!store.write_back().sync().expect("nothing to do"));
        write(&mut store, 100);
        disk.fail_at(disk.steps(), std::io::ErrorKind::Other);
        assert!(store.write_back().sync().is_err());
    }

    #[test]
    fn a_segment_that_is_removed_is_not_kept_open() {
        let disk = SimDisk::new();
        let mut store = opened(&disk);
        let location = store.append(&[&[7; 100_000]]).expect("there is space");
        store.seal().expect("it is sealed");
        store.mark_garbage(location);
        let mut writer = store.begin_checkpoint().expect("a checkpoint begins");
        let done = writer.commit(b"", &mut std::iter::empty(), Mode::Full).expect("it is durable");
        drop(writer);
        store.finish_checkpoint(done).remove().expect("the file is removed");
        assert!(disk.used() < 100_000, "the file is closed");
        store.write_back().step(Duration::ZERO);
        store.write_back().step(WAITING_AGE_MAX);
        assert_eq!(store.write_back().lock().bytes(), 0);
    }
}
