//! One member as a process on a machine: started, stepped, killed, cut off from power, stopped, and started again on
//! what its disk kept.

use crate::clock::SimClock;
use mvcc::AccountDepth;
use node::{Config, Handle, Part, StartError, Stepped};
use simdisk::{Random, SimDisk};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub const TICK: Duration = Duration::from_millis(100);
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(7);
pub const NAME: &str = "one";
pub const CLIENT_URL: &str = "http://localhost:2379";

/// What differs between runs.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub checkpoint_entries: u64,
    /// Of the first start; if there is one, later starts sometimes have another.
    pub quota_bytes: Option<u64>,
    /// History that the member keeps when the quota is nearly used up.
    pub pressure_retention: Option<Duration>,
    /// The disk says that it synced, and did not. A checker that does not find that is worth nothing.
    pub syncs_lie: bool,
}

/// See the file's head.
pub struct Member {
    settings: Settings,
    clock: Arc<SimClock>,
    random: Random,
    disk: SimDisk,
    running: Option<Stepped>,
    /// Why the process said that it cannot go on.
    fault: Arc<Mutex<Option<String>>>,
    lives: u64,
}

/// Small enough to be met.
pub fn any_quota(random: &mut Random) -> u64 {
    64 << (10 + random.below(6))
}

impl Member {
    pub fn new(settings: Settings, clock: Arc<SimClock>, random: Random) -> Member {
        let disk = SimDisk::new();
        disk.set_syncs_lie(settings.syncs_lie);
        Member { settings, clock, random, disk, running: None, fault: Arc::default(), lives: 0 }
    }

    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    pub fn has_quota(&self) -> bool {
        self.settings.quota_bytes.is_some()
    }

    /// How often it was started.
    pub fn lives(&self) -> u64 {
        self.lives
    }

    pub fn start(&mut self) -> Result<(), StartError> {
        assert!(self.running.is_none(), "it does not run");
        self.lives += 1;
        if self.lives > 1 && self.has_quota() && self.random.below(3) == 0 {
            self.settings.quota_bytes = Some(any_quota(&mut self.random));
        }
        let fault = Arc::default();
        self.fault = Arc::clone(&fault);
        let on_fault = move |why| {
            lock(&fault).get_or_insert(why);
        };
        let config = Config {
            name: NAME.to_owned(),
            data_dir: "/data".into(),
            wal_dir: None,
            peer_urls: vec!["http://localhost:2380".to_owned()],
            client_urls: vec![CLIENT_URL.to_owned()],
            cluster_token: "etcd-cluster".to_owned(),
            tick: TICK,
            election_ticks: 10,
            request_timeout: REQUEST_TIMEOUT,
            checkpoint_entries: self.settings.checkpoint_entries,
            quota_bytes: self.settings.quota_bytes,
            strict_latch: false,
            account_depth: AccountDepth::default(),
            auto_compaction: None,
            pressure_retention: self.settings.pressure_retention,
            request_bytes_max: 1536 << 10,
            scrub_bytes_per_s: 64 << 10,
            warning_apply_duration: Duration::from_secs(10),
            no_sync: false,
            on_fault: Arc::new(on_fault),
        };
        let mut random = Random::new(self.random.next_u64());
        self.running = Some(Stepped::open(config, Arc::new(self.disk.clone()), self.clock.clone(), &mut random)?);
        Ok(())
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    pub fn handle(&self) -> Option<&Handle> {
        self.running.as_ref().map(Stepped::handle)
    }

    pub fn has_work(&self, part: Part) -> bool {
        self.running.as_ref().is_some_and(|running| running.has_work(part))
    }

    pub fn step(&mut self, part: Part) {
        if let Some(running) = &mut self.running {
            running.step(part);
        }
    }

    pub fn step_apply_lone(&mut self) -> bool {
        self.running.as_mut().is_some_and(Stepped::step_apply_lone)
    }

    /// Why the process ended itself.
    pub fn fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }

    /// The process is gone; the page cache survives.
    pub fn kill(&mut self) {
        self.running = None;
        self.replace_disk(self.disk.after_kill());
    }

    /// The power is gone, and with it some of what was not synced.
    pub fn cut_power(&mut self, random: &mut Random) {
        let disk = self.disk.after_power_cut(random);
        self.running = None;
        self.replace_disk(disk);
    }

    fn replace_disk(&mut self, disk: SimDisk) {
        disk.set_syncs_lie(self.settings.syncs_lie);
        self.disk = disk;
    }

    pub fn begin_stop(&mut self) {
        if let Some(running) = &mut self.running {
            running.begin_stop();
        }
    }

    pub fn is_stopped(&self) -> bool {
        self.running.as_ref().is_some_and(Stepped::is_stopped)
    }

    /// What follows an orderly stop; the disk is as the process leaves it.
    pub fn finish(&mut self) {
        if let Some(running) = self.running.take() {
            running.finish();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
