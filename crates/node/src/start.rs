//! Start and stop of a member, each written once and in order.
//!
//! Start: what is on the disk (`open`) → consensus → threads → the first entry of our own term → our name and URLs in
//! the member list. Only then is the member ready. Stop is the reverse: what leases have left goes to the log, the
//! driver refuses, answers what is in flight, apply ends, a last checkpoint makes the next start quick, the log is
//! synced.

use crate::apply::{Apply, ApplyConfig};
use crate::auto_compaction::AutoCompaction;
use crate::background::Background;
use crate::disk_health::DiskHealth;
use crate::driver::{Driver, DriverConfig};
use crate::handle::Handle;
use crate::inbox::Inbox;
use crate::limits::{INBOX_BYTES_MAX, INBOX_MESSAGES_MAX};
use crate::log::Log;
use crate::messages::Retention;
use crate::open::{Opened, Place, StartError, open, to_consensus};
use crate::parts::{Parts, Queues, Seat};
use crate::pinned_views::PinnedViews;
use crate::scrub::Scrub;
use crate::shared::Shared;
use crate::signal::EventSignals;
use crate::status::{Metrics, Progress};
use crate::threads::Threads;
use arc_swap::{ArcSwap, ArcSwapOption};
use consensus::Consensus;
use io::{Clock, Disk, Rng};
use model::{Command, DeleteRange, KeyRange, MemberId, MemberPublish, QuotaSet};
use state::{AccountDepth, Membership, Quota, State};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use store::{DataDir, Identity, read_given_up, write_given_up};

/// What a member is started with. Times and counts are validated by the caller.
pub struct Config {
    pub name: String,
    pub data_dir: PathBuf,
    /// Where the raft log is kept; inside the data directory if unset.
    pub wal_dir: Option<PathBuf>,
    pub peer_urls: Vec<String>,
    pub client_urls: Vec<String>,
    pub cluster_token: String,
    pub tick: Duration,
    pub election_ticks: usize,
    /// How long a proposal or a read may take: 5 s and two election timeouts, as etcd.
    pub request_timeout: Duration,
    /// Entries between checkpoints.
    pub checkpoint_entries: u64,
    /// Bound of retained bytes; `None` for no bound. It is in force at once in a new cluster, and else once this member
    /// is in office and has written it to the log.
    pub quota_bytes: Option<u64>,
    /// NOSPACE as in etcd: up until it is disarmed, and while it is, whatever puts is refused. Goes with the quota.
    pub strict_latch: bool,
    /// How many components of a key's directory name its account.
    pub account_depth: AccountDepth,
    /// What the server keeps of its history by itself; `None` to compact nothing.
    pub auto_compaction: Option<AutoCompaction>,
    /// History that is kept when the quota is nearly used up; `None` to compact nothing then.
    pub pressure_retention: Option<Duration>,
    /// Largest proposal in bytes.
    pub request_bytes_max: usize,
    /// What the scrub reads of the store's files; 0 for no scrub.
    pub scrub_bytes_per_s: u64,
    pub warning_apply_duration: Duration,
    /// Never wait for the disk: for tests that can lose everything.
    pub no_sync: bool,
    /// Called from the failing thread when the member cannot go on; it should end the process.
    pub on_fault: Arc<dyn Fn(String) + Send + Sync>,
}

/// A running member. Dropping it without `stop` leaves its threads running.
pub struct Node {
    handle: Handle,
    threads: Threads,
    _data_dir: DataDir,
}

impl Node {
    /// Opens everything and starts the threads. The member answers once it has applied its log and its own first entry;
    /// `Handle::publish` waits for that.
    pub fn start(
        config: Config,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        rng: &mut dyn Rng,
    ) -> Result<Node, StartError> {
        let tick = config.tick;
        let (parts, queues, data_dir) = assemble(config, disk, clock, rng)?;
        let handle = Handle::new(queues.shared.clone());
        let threads = Threads::start(parts, queues, tick).map_err(StartError::Thread)?;
        Ok(Node { handle, threads, _data_dir: data_dir })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Refuses new requests, answers what is in flight, writes a last checkpoint and closes the log.
    pub fn stop(self) {
        if let Some(state) = self.threads.stop() {
            write_last_checkpoint(state);
        }
    }
}

/// Opens everything and puts a member's parts together; nothing of it runs yet.
pub(crate) fn assemble(
    config: Config,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    rng: &mut dyn Rng,
) -> Result<(Parts, Queues, DataDir), StartError> {
    let place = Place {
        data_dir: &config.data_dir,
        wal_dir: config.wal_dir.as_deref(),
        membership: Membership::bootstrap(&config.cluster_token, [(config.name.clone(), config.peer_urls.clone())])
            .map_err(StartError::Membership)?,
        state: state::Options {
            quota: Quota(config.quota_bytes),
            strict_latch: config.strict_latch,
            account_depth: config.account_depth,
        },
        no_sync: config.no_sync,
    };
    let Opened { data_dir, mut state, mut wal, recovered } = open(place, &disk, rng)?;
    take_given_up(&*disk, &data_dir, &mut state)?;
    let Identity { cluster, member } = data_dir.identity();
    let consensus = consensus(&config, member, recovered, state.applied().index.0, rng.next_u64())?;
    let view = state.view();
    let shared = Arc::new(Shared {
        cluster: model::ClusterId(cluster),
        member: MemberId(member),
        clock,
        inbox: Inbox::new(INBOX_MESSAGES_MAX, INBOX_BYTES_MAX),
        events: Arc::new(watch::EventLog::new(view.revision(), watch::Limits::default())),
        event_signals: EventSignals::default(),
        view: ArcSwap::from_pointee(view),
        live: state.live(),
        office: ArcSwapOption::empty(),
        pinned_views: PinnedViews::default(),
        // What fails before anything is applied reports this.
        progress: Progress { applied: AtomicU64::new(state.applied().index.0), ..Progress::default() },
        disks: DiskHealth::default(),
        halt: ArcSwapOption::empty(),
        handed_on_bytes: Arc::default(),
        metrics: Metrics::default(),
        next_request: AtomicU64::new(rng.next_u64() >> 16),
        on_fault: config.on_fault,
    });
    let driver_config = DriverConfig {
        tick: config.tick,
        request_timeout: config.request_timeout,
        retention: Retention { auto_compaction: config.auto_compaction, under_pressure: config.pressure_retention },
        quota: QuotaSet { bytes: config.quota_bytes, strict_latch: config.strict_latch },
    };
    let apply_config = ApplyConfig {
        checkpoint_entries: config.checkpoint_entries,
        warning_apply_duration: config.warning_apply_duration,
        request_timeout: config.request_timeout,
    };
    let scrub = Scrub::new(shared.clone(), disk, data_dir.store_dir(), config.scrub_bytes_per_s);
    let background = Background::new(shared.clone(), wal.preparer(), state.write_back(), scrub);
    let driver = Driver::new(driver_config, shared.clone(), consensus, state.write_window());
    let parts = Parts {
        driver: Seat::new(driver),
        log: Seat::new(Log::new(shared.clone(), wal)),
        apply: Seat::new(Apply::new(apply_config, shared.clone(), state)),
        background: Seat::new(background),
    };
    Ok((parts, Queues::new(shared), data_dir))
}

/// What `bowline util salvage` wrote down. It is forgotten once the checkpoint knows nothing of it.
fn take_given_up(disk: &dyn Disk, data_dir: &DataDir, state: &mut State) -> Result<(), StartError> {
    let written = read_given_up(disk, data_dir.member_dir()).map_err(StartError::Store)?;
    if written.is_empty() {
        return Ok(());
    }
    let count = written.len();
    let held = state.give_up(written).map_err(StartError::State)?;
    for substitute in held.values() {
        tracing::warn!(key = %substitute.key.escape_ascii(), "a lost value was given up: it counts as empty, and its key is to go");
    }
    if held.len() < count
        && let Err(fault) = write_given_up(disk, data_dir.member_dir(), &held)
    {
        tracing::warn!(error = %fault, "forget given-up records that are gone: tried again at the next start");
    }
    Ok(())
}

/// Makes the next start quick; without it, the log is applied again.
pub(crate) fn write_last_checkpoint(mut state: State) {
    match state.begin_checkpoint().and_then(|mut job| job.write()) {
        // What cannot be removed goes at the next start.
        Ok(done) => drop(state.finish_checkpoint(done).remove()),
        Err(fault) => {
            tracing::warn!(error = %fault, "write last checkpoint: the next start applies the log instead");
        }
    }
}

fn consensus(
    config: &Config,
    member: u64,
    recovered: wal::Recovered,
    applied: u64,
    seed: u64,
) -> Result<Consensus, StartError> {
    let settings = consensus::Config {
        election_ticks: config.election_ticks,
        entry_bytes_max: config.request_bytes_max.saturating_add(1 << 20).min(wal::ENTRY_BYTES_MAX),
        uncommitted_bytes_max: INBOX_BYTES_MAX as u64,
        ..consensus::Config::new(member, vec![member], seed)
    };
    let recovered = to_consensus(recovered, applied);
    let mut consensus = Consensus::new(settings, recovered).map_err(StartError::Consensus)?;
    // The only voter need not wait for an election timeout to find that nobody else leads.
    consensus.campaign();
    Ok(consensus)
}

impl Handle {
    /// Waits until this member leads with its log applied, then makes its name and client URLs known and sets the
    /// cluster version, unless the cluster knows them. After this the member is ready.
    pub async fn publish(&self, name: &str, client_urls: &[String]) -> Result<(), crate::Refused> {
        let view = self.read_barrier().await?;
        for (location, substitute) in view.given_up() {
            let key = &substitute.key;
            if view.kv().get(key).is_some_and(|current| current.location == *location) {
                let range = KeyRange::single(key.clone());
                let reply = self.propose(Command::DeleteRange(DeleteRange { range, prev_kv: false })).await?;
                tracing::warn!(key = %key.escape_ascii(), revision = reply.revision.0, "deleted a key whose value was given up");
            }
        }
        let known = view.membership().member(self.member());
        if known.is_none_or(|known| known.name != name || known.client_urls != client_urls) {
            let publish =
                MemberPublish { member: self.member(), name: name.to_owned(), client_urls: client_urls.to_vec() };
            self.propose(Command::MemberPublish(publish)).await?;
        }
        if view.membership().cluster_version() != Some(model::ETCD_CLUSTER_VERSION) {
            self.propose(Command::ClusterVersionSet(model::ETCD_CLUSTER_VERSION.to_owned())).await?;
        }
        Ok(())
    }
}
