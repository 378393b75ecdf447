//! Every bound of a running member, with its unit, and how they relate.

use std::time::Duration;

/// Requests that may wait for the driver; one more is answered "too many requests".
pub(crate) const INBOX_MESSAGES_MAX: usize = 65_536;
/// Their payloads together.
pub(crate) const INBOX_BYTES_MAX: usize = 256 << 20;
/// While as many proposals wait for the log, new ones are answered "too many requests": a disk may not return for long.
pub(crate) const IN_FLIGHT_MAX: usize = INBOX_MESSAGES_MAX;
/// Committed entries that may wait for apply before new proposals are answered "too many requests" (etcd's figure).
pub(crate) const APPLY_LAG_ENTRIES_MAX: u64 = 5_000;
/// Entries applied before their view is published and their answers are sent.
pub(crate) const APPLY_BATCH_ENTRIES: usize = 256;
/// Keys that one step of physical compaction visits between two batches.
pub(crate) const COMPACTION_STEP_KEYS: usize = 512;
/// Copied records that the key index follows in one step between two batches.
pub(crate) const RELOCATION_STEP_RECORDS: usize = 128;
/// How soon copying is tried again after the disk was full.
pub(crate) const RECLAIM_RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// How long the event log may hold removed files open.
pub(crate) const REMOVED_FILES_HELD_MAX: Duration = Duration::from_secs(5);
/// Bytes of removed files above which views kept for pages are let go in that time.
pub(crate) const REMOVED_BYTES_HELD_MAX: u64 = 32 << 20;
/// How often a lone write asks for a turn in which reclaim is looked after.
pub(crate) const RECLAIM_LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Bytes of log behind which the next checkpoint starts, whatever the number of entries.
pub(crate) const CHECKPOINT_LOG_BYTES: u64 = 64 << 20;
/// Least time between checkpoints that are due by number of entries only.
pub(crate) const CHECKPOINT_INTERVAL_MIN: Duration = Duration::from_secs(5);
/// Views kept for pages at a pinned revision, and for how long.
pub(crate) const PINNED_VIEWS_MAX: usize = 8;
pub(crate) const PINNED_VIEW_AGE_MAX: Duration = Duration::from_secs(60);
/// Leases revoked per expiry check, and how often the check runs (etcd's figures).
pub(crate) const LEASE_REVOKES_MAX: usize = 500;
pub(crate) const LEASE_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How often a quota that is wanted and not in force is proposed again: the first one may have been refused.
pub(crate) const QUOTA_SET_INTERVAL: Duration = Duration::from_secs(5);
/// How often renewals are written down, so that a restart honours what was left of a lease.
pub(crate) const LEASE_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(5);
/// The leader's clock moves at most this far per tick: leases do not expire because of our own stall.
pub(crate) const LEADER_CLOCK_STEP_MAX: Duration = Duration::from_secs(1);
/// How long a stop waits for what the log has at work.
pub(crate) const STOP_WAIT_MAX: Duration = Duration::from_secs(3);
/// And for the threads to end, after which those that a disk keeps are left to the process's end.
pub(crate) const STOP_THREADS_MAX: Duration = Duration::from_secs(10);
/// A longer entry is for the apply thread, however short its work is told to be.
pub(crate) const LONE_ENTRY_BYTES_MAX: usize = 64 << 10;
/// Bytes of records that lone entries may leave in memory, until the next tick or entry has them written to the store's
/// files.
pub(crate) const UNWRITTEN_BYTES_MAX: u64 = 64 << 10;
/// How old what was written to the store's files gets before it is synced, unless a checkpoint does that. A slow disk
/// is to be seen within the minutes of an alert; each sync costs the log's a little.
pub(crate) const STORE_SYNC_INTERVAL: Duration = Duration::from_secs(10);
/// How often write-back, the log's next segment and removed files are looked after.
pub(crate) const BACKGROUND_INTERVAL: Duration = Duration::from_millis(50);
/// Records that were read for commands and are on their way to apply and to the answers, in bytes.
pub(crate) const HANDED_ON_BYTES_MAX: u64 = 64 << 20;
/// How often a record that apply needs and that cannot be read is tried again.
pub(crate) const HALT_RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Bytes that one step of the scrub reads, unless a record is longer: what it reads ahead.
pub(crate) const SCRUB_STEP_BYTES: u64 = 256 << 10;
/// Between the scrub's rounds, and before its first.
pub(crate) const SCRUB_PAUSE: Duration = Duration::from_secs(5);
/// Places of damage that the scrub remembers.
pub(crate) const SCRUB_FINDINGS_MAX: usize = 1 << 16;
/// Looks over the whole key index for the owners of one segment's damaged records.
pub(crate) const SCRUB_LOOKS_MAX: usize = 16;
/// How often a full disk is tried again.
pub(crate) const DISK_RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// How often a checkpoint that could not be written is tried again: each may write much before it finds out.
pub(crate) const CHECKPOINT_RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// How often files that could not be removed are tried again.
pub(crate) const UPKEEP_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How often space is asked for the log, and how long it may lack before growth is refused for it.
pub(crate) const LOG_SPACE_INTERVAL: Duration = Duration::from_millis(200);
pub(crate) const LOG_SHORT_AFTER: Duration = Duration::from_secs(1);
/// Room for records below which the disk counts as nearly full.
pub(crate) const LOW_ROOM_BYTES: u64 = 32 << 20;
/// What may be committed at a time however full the disk is: it stays in memory if it finds no space.
pub(crate) const WINDOW_BYTES_MIN: u64 = 1 << 20;
/// A write that lasts longer is said to be stuck.
pub(crate) const DISK_STUCK_AFTER: Duration = Duration::from_secs(3);

const _: () = assert!(STOP_WAIT_MAX.as_millis() < STOP_THREADS_MAX.as_millis());
const _: () = assert!(APPLY_BATCH_ENTRIES < APPLY_LAG_ENTRIES_MAX as usize);
const _: () = assert!(LEADER_CLOCK_STEP_MAX.as_millis() >= LEASE_CHECK_INTERVAL.as_millis());
