//! The log's side of a member: writes what the driver asks for, one sync for all that waits, and says when it is
//! durable.
//!
//! Stepped by whoever may wait for the disk. Invariants: a failed write or sync is never retried on the same file; what
//! cannot be written is kept, in order, and tried again with the next step. Lack of space, descriptors or memory leaves
//! the log as it was; after anything else it fails over to another file, and tries that again and again: reads go on
//! meanwhile.

use crate::disk_health::{Ailment, Sign};
use crate::messages::{LogReport, LogRequest, LogWork};
use crate::shared::Shared;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wal::Wal;

/// etcd's: a sync that takes longer is worth a line.
const SLOW_SYNC: Duration = Duration::from_secs(1);

pub(crate) struct Log {
    shared: Arc<Shared>,
    wal: Wal,
    /// Asked for and not durable, oldest first.
    waiting: VecDeque<LogWork>,
    /// So many of them the log has taken; a sync is missing.
    appended: usize,
    /// The log's file failed: it must fail over to another before it is written again.
    failed: bool,
    stalled: bool,
}

impl Log {
    pub(crate) fn new(shared: Arc<Shared>, wal: Wal) -> Log {
        Log { shared, wal, waiting: VecDeque::new(), appended: 0, failed: false, stalled: false }
    }

    /// True if there is something to try again.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Does what is asked for, and what could not be done before. Returns a report if there was something to make
    /// durable. `requests` is left empty.
    pub(crate) fn step(&mut self, requests: &mut Vec<LogRequest>) -> Option<LogReport> {
        let mut prove = false;
        for request in requests.drain(..) {
            match request {
                LogRequest::Write(work) => {
                    let before = self.waiting.back().map_or(0, |before| before.number);
                    assert!(work.number > before, "ready {} is to be written after {before}", work.number);
                    self.waiting.push_back(work);
                }
                LogRequest::Trim(index) => self.wal.trim(index),
                LogRequest::Prove => prove = true,
            }
        }
        let Some(newest) = self.waiting.back().map(|work| work.number) else {
            if prove {
                self.prove();
            }
            return None;
        };
        self.shared.progress.log_is_busy.store(true, Ordering::Relaxed);
        let written = self.write();
        self.shared.progress.log_is_busy.store(false, Ordering::Relaxed);
        match written {
            Ok(()) => {
                self.waiting.clear();
                self.appended = 0;
                if std::mem::take(&mut self.stalled) {
                    self.shared.disks.clear(Sign::LogStalled);
                }
                Some(LogReport { durable: Some(newest), stalled: false })
            }
            Err(fault) => {
                self.failed |= !fault.may_pass();
                self.stalled = true;
                let ailment = Ailment::of(fault.is_no_space(), fault.is_read_only());
                self.shared.disks.raise(Sign::LogStalled, ailment, &fault, self.shared.clock.monotonic());
                Some(LogReport { durable: None, stalled: true })
            }
        }
    }

    fn write(&mut self) -> wal::Result<()> {
        if self.failed {
            self.wal.fail_over()?;
            self.failed = false;
        }
        assert!(self.appended <= self.waiting.len(), "what the log has taken is still waited for");
        let started = self.shared.clock.monotonic();
        let appends = self.appended < self.waiting.len();
        while let Some(work) = self.waiting.get(self.appended) {
            self.wal.append(&work.entries, work.hard_state)?;
            self.appended += 1;
        }
        if appends {
            self.shared.metrics.wal_write.observe(self.since(started));
        }
        let started = self.shared.clock.monotonic();
        let synced = self.wal.sync();
        let took = self.since(started);
        self.shared.metrics.wal_sync.observe(took);
        if took > SLOW_SYNC {
            tracing::warn!(took = ?took, "expected-duration" = ?SLOW_SYNC, "slow fdatasync");
        }
        self.shared.metrics.wal_bytes.add(synced? as u64);
        Ok(())
    }

    fn since(&self, started: Duration) -> Duration {
        self.shared.clock.monotonic().saturating_sub(started)
    }

    fn prove(&mut self) {
        if !self.failed
            && let Err(fault) = self.wal.write()
        {
            self.failed = !fault.may_pass();
            tracing::warn!(error = %fault, "write raft log");
        }
    }

    /// Makes the end of the log known to be its end, for a clean stop.
    pub(crate) fn close(self) {
        if let Err(fault) = self.wal.close() {
            tracing::warn!(error = %fault, "close raft log");
        }
    }
}
