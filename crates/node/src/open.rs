//! Opening what a member has on its disk, in two steps. First everything is read and held against each other: the
//! identity, the store's newest checkpoint, the raft log and its mark. Whatever does not fit is refused, and not a byte
//! has changed. Only then is anything made, cut or removed.
//!
//! ```text
//! identity ──names──▶ log ◀──names── mark (how far it was synced)
//!    │ same ids         ▲ same number
//!    └──▶ state tables  └── store's manifest
//! ```
//! A first start ends with the identity naming the log. Until then nothing was acknowledged, so what is missing can be
//! made again; from then on whatever is missing was lost.

use consensus::HardState;
use io::{Disk, Rng};
use model::MemberId;
use state::{BootstrapError, Membership, State};
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Checkpoint, DataDir, Identity, Log, Store};
use wal::{Look, Owner, Wal};

/// What is found on the disk, ready to be used.
pub(crate) struct Opened {
    pub(crate) data_dir: DataDir,
    pub(crate) state: State,
    pub(crate) wal: Wal,
    pub(crate) recovered: wal::Recovered,
}

/// Where a member's data are, and what a new one begins with.
pub(crate) struct Place<'a> {
    pub(crate) data_dir: &'a Path,
    /// Inside the data directory if unset.
    pub(crate) wal_dir: Option<&'a Path>,
    pub(crate) membership: Membership,
    pub(crate) state: state::Options,
    pub(crate) no_sync: bool,
}

/// Why a member could not start. Its text says what was being done, with which file, and what to do.
#[derive(Debug)]
pub enum StartError {
    Membership(BootstrapError),
    Store(store::Fault),
    State(state::Fault),
    Log(wal::Fault),
    Consensus(consensus::RecoverError),
    /// A directory whose first start ended half-way, under flags that describe another member.
    Foreign {
        found: Identity,
        configured: Identity,
    },
    /// What was found is not one member's, or not all of it; the text says what, and what to do.
    Refused(String),
    Thread(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Membership(error) => error.fmt(f),
            StartError::Store(fault) => fault.fmt(f),
            StartError::State(fault) => write!(f, "open state: {fault}"),
            StartError::Log(fault) => fault.fmt(f),
            StartError::Consensus(error) => error.fmt(f),
            StartError::Foreign { found, configured } => write!(
                f,
                "open data directory: it was made for member {:x} of cluster {:x}, the flags describe member {:x} of cluster \
                 {:x}; correct the peer URLs and the cluster token, or choose another directory",
                found.member, found.cluster, configured.member, configured.cluster
            ),
            StartError::Refused(why) => f.write_str(why),
            StartError::Thread(error) => write!(f, "start thread: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

pub(crate) fn open(place: Place<'_>, disk: &Arc<dyn Disk>, rng: &mut dyn Rng) -> Result<Opened, StartError> {
    let Place { data_dir, wal_dir, membership, state, no_sync } = place;
    let member = membership.members().next().map_or(0, |member| member.id.0);
    let configured = Identity { cluster: membership.cluster().0, member };
    let found = Found::look(disk, data_dir, wal_dir, configured)?;
    found.check(configured)?;
    let log = wal::Options { no_sync, ..wal::Options::new(found.log_id(rng)) };
    found.load(state)?.claim(&**disk, membership, state, log)
}

/// What was looked at.
struct Found {
    data_dir: DataDir,
    wal_dir: PathBuf,
    store: Store,
    checkpoint: Option<Checkpoint>,
    log: Look,
}

impl Found {
    fn look(
        disk: &Arc<dyn Disk>,
        path: &Path,
        wal_dir: Option<&Path>,
        configured: Identity,
    ) -> Result<Found, StartError> {
        let data_dir = DataDir::look(&**disk, path, configured).map_err(StartError::Store)?;
        if let Some(mode) = data_dir.loose_mode {
            tracing::warn!(mode = format!("{mode:o}"), "the data directory is open to others, it should have mode 700");
        }
        if let Some(stray) = &data_dir.stray {
            tracing::warn!(
                file = %stray.display(),
                "a real etcd was started on this directory and left its database, which is not used here: remove it"
            );
        }
        let wal_dir = wal_dir.map_or_else(|| data_dir.wal_dir(), Path::to_path_buf);
        data_dir.check_wal_dir(&**disk, &wal_dir).map_err(StartError::Store)?;
        let options = store::Options::default();
        let (store, checkpoint) =
            Store::look(disk.clone(), &data_dir.store_dir(), options).map_err(StartError::Store)?;
        let log = wal::look(disk.clone(), &wal_dir, Some(&data_dir.mark_path())).map_err(StartError::Log)?;
        Ok(Found { data_dir, wal_dir, store, checkpoint, log })
    }

    /// Whether these parts are one member's, and complete.
    fn check(&self, configured: Identity) -> Result<(), StartError> {
        let found = self.data_dir.identity();
        match self.data_dir.log() {
            Log::New => self.check_new()?,
            Log::Unfinished if found != configured => return Err(StartError::Foreign { found, configured }),
            Log::Unfinished => self.check_unfinished()?,
            Log::Named(log_id) => self.check_complete(Some(log_id))?,
            Log::Unnamed => self.check_complete(None)?,
        }
        self.check_owner()?;
        let (of_store, of_log) = (self.store.owner(), self.log.log_id());
        if of_store != 0 && of_log.is_some_and(|log_id| log_id != of_store) {
            let why = format!(
                "it belongs with the raft log {of_store:016x}, and {} holds another; put back the directory that belongs here",
                self.wal_dir.display()
            );
            return Err(refused("open store", &self.data_dir.store_dir(), why));
        }
        Ok(())
    }

    fn check_new(&self) -> Result<(), StartError> {
        if self.log.log_id().is_none() {
            return Ok(());
        }
        let why = format!(
            "it holds the raft log {}, and the data directory is new; if that was lost, restore it, otherwise choose an \
             empty directory",
            self.described_log()
        );
        Err(refused("begin a raft log in", &self.wal_dir, why))
    }

    /// A first start that goes on where it ended: it may have made everything, and nothing was written to it.
    fn check_unfinished(&self) -> Result<(), StartError> {
        let is_empty = |log: &wal::Recovered| {
            log.entries.is_empty() && log.trimmed_to.index == 0 && log.hard_state == HardState::default()
        };
        if self.log.recovered().is_none_or(is_empty) {
            return Ok(());
        }
        Err(refused("read", &self.data_dir.identity_path(), OLD_IDENTITY))
    }

    /// Everything was there once.
    fn check_complete(&self, named: Option<u64>) -> Result<(), StartError> {
        if self.store.is_new() || self.checkpoint.is_none() {
            let why = "it has no checkpoint, but its member was started; restore the data directory from a backup, or \
                       remove all of it to begin anew";
            return Err(refused("open store", &self.data_dir.store_dir(), why));
        }
        let name = named.map(|log_id| format!(" {log_id:016x}")).unwrap_or_default();
        let Some(log_id) = self.log.log_id() else {
            let why = format!(
                "the raft log{name} of this member is not there; if the member was started with --wal-dir, give that \
                 directory again, otherwise restore the log"
            );
            return Err(refused("open raft log in", &self.wal_dir, why));
        };
        if named.is_some_and(|named| named != log_id) {
            let why = format!(
                "the raft log there is {}, and {} names{name}; put back the one that belongs here, or give the right --wal-dir",
                self.described_log(),
                self.data_dir.identity_path().display()
            );
            return Err(refused("open raft log in", &self.wal_dir, why));
        }
        if named.is_some() {
            self.log.require_mark().map_err(StartError::Log)?;
        }
        if let Some(marked) = self.log.marked_log().filter(|marked| *marked != log_id) {
            let why = format!(
                "it speaks of the raft log {marked:016x}, not of {log_id:016x}; put back the file that belongs here"
            );
            return Err(refused("read how far the raft log was synced from", &self.data_dir.mark_path(), why));
        }
        if self.log.is_accepted() {
            let last = self.log.recovered().map_or(0, last_index);
            tracing::warn!(
                last,
                "the raft log is taken as it ends, by the word in {}",
                self.data_dir.mark_path().display()
            );
        }
        Ok(())
    }

    fn check_owner(&self) -> Result<(), StartError> {
        let Identity { cluster, member } = self.data_dir.identity();
        if self.log.owner().is_none_or(|owner| owner == Owner { cluster, member }) {
            return Ok(());
        }
        let why = format!(
            "the raft log there is {}, and {} says member {member:x} of cluster {cluster:x}; put back the one that belongs here",
            self.described_log(),
            self.data_dir.identity_path().display()
        );
        Err(refused("open raft log in", &self.wal_dir, why))
    }

    fn described_log(&self) -> String {
        let log_id = self.log.log_id().unwrap_or(0);
        match self.log.owner() {
            Some(Owner { cluster, member }) => format!("{log_id:016x} of member {member:x} of cluster {cluster:x}"),
            None => format!("{log_id:016x}"),
        }
    }

    /// Of the log that is there or was to be made; a new one is random.
    fn log_id(&self, rng: &mut dyn Rng) -> u64 {
        let planned = Some(self.store.owner()).filter(|owner| *owner != 0);
        self.log.log_id().or(planned).unwrap_or_else(|| rng.next_u64().max(1))
    }

    /// Loads the checkpoint and holds it against the identity and the log.
    fn load(self, options: state::Options) -> Result<Loaded, StartError> {
        let Found { data_dir, store, checkpoint, log, .. } = self;
        let state = match checkpoint {
            Some(checkpoint) => Ok(State::open(store, checkpoint, options).map_err(StartError::State)?),
            None => Err(store),
        };
        if let Ok(state) = &state {
            check_ids(state, &data_dir)?;
            let applied = state.applied().index.0;
            if applied > 0 && data_dir.is_new() {
                return Err(refused("read", &data_dir.identity_path(), OLD_IDENTITY));
            }
            let recovered = log.recovered().cloned().unwrap_or_default();
            to_consensus(recovered, applied).check().map_err(StartError::Consensus)?;
        }
        Ok(Loaded { data_dir, state, log })
    }
}

const OLD_IDENTITY: &str = "it is of a first start that did not end, and the directory holds data of a member that was \
                            started; put back the file that belongs here";

/// The tables name the cluster and its members.
fn check_ids(state: &State, data_dir: &DataDir) -> Result<(), StartError> {
    let Identity { cluster, member } = data_dir.identity();
    let of = state.membership();
    if of.cluster().0 == cluster && of.member(MemberId(member)).is_some() {
        return Ok(());
    }
    let members: Vec<String> = of.members().map(|member| format!("{:x}", member.id.0)).collect();
    let why = format!(
        "it is of cluster {:x} with members {}, and {} says member {member:x} of cluster {cluster:x}; put back the file or \
         the directory that belongs here",
        of.cluster().0,
        members.join(", "),
        data_dir.identity_path().display()
    );
    Err(refused("open store", &data_dir.store_dir(), why))
}

/// Everything fits.
struct Loaded {
    data_dir: DataDir,
    /// The store alone, if it has no checkpoint yet.
    state: Result<State, Store>,
    log: Look,
}

impl Loaded {
    /// From here on the disk is changed. What a first start makes comes in this order, and the identity that names it
    /// last.
    fn claim(
        self,
        disk: &dyn Disk,
        membership: Membership,
        state_options: state::Options,
        wal_options: wal::Options,
    ) -> Result<Opened, StartError> {
        let Loaded { mut data_dir, state, log } = self;
        let log_id = wal_options.seed;
        data_dir.claim(disk).map_err(StartError::Store)?;
        let state = match state {
            Ok(mut state) => state.claim(log_id).map(|()| state),
            Err(mut store) => {
                store.claim(log_id).map_err(StartError::Store)?;
                bootstrap(store, membership, state_options)
            }
        };
        let state = state.map_err(StartError::State)?;
        let Identity { cluster, member } = data_dir.identity();
        let options = wal::Options { owner: Owner { cluster, member }, ..wal_options };
        let (wal, recovered) = log.claim(options).map_err(StartError::Log)?;
        complete(disk, &mut data_dir, log_id, wal.is_marked())?;
        if let Some(torn) = &recovered.torn {
            tracing::info!(file = %torn.path.display(), offset = torn.offset, "raft log: cut a write that never finished");
        }
        if !options.no_sync && !wal.is_direct() {
            tracing::info!(
                "raft log: the file system does not take direct writes, each group is written and then synced"
            );
        }
        Ok(Opened { data_dir, state, wal, recovered })
    }
}

/// An identity that names the log promises a mark. For one of format 1 both can wait until the disk has space.
fn complete(disk: &dyn Disk, data_dir: &mut DataDir, log_id: u64, is_marked: bool) -> Result<(), StartError> {
    let mark = data_dir.mark_path();
    match data_dir.log() {
        _ if is_marked => match data_dir.complete(disk, log_id) {
            Err(fault) if fault.is_no_space() && data_dir.log() == Log::Unnamed => {
                tracing::warn!(error = %fault, "upgrade the data directory: tried again at the next start");
                Ok(())
            }
            completed => completed.map_err(StartError::Store),
        },
        Log::New | Log::Unfinished => {
            Err(refused("write how far the raft log was synced to", &mark, "no space is left"))
        }
        Log::Named(_) | Log::Unnamed => {
            tracing::warn!(file = %mark.display(), "no space is left to write down how far the raft log was synced");
            Ok(())
        }
    }
}

/// The state of a new cluster, durable before anything happens in it: later starts take the members from there,
/// whatever their flags say.
fn bootstrap(store: Store, membership: Membership, options: state::Options) -> state::Result<State> {
    let mut state = State::bootstrap(store, membership, options)?;
    let done = state.begin_checkpoint()?.write()?;
    // Before it the directory had no file that a checkpoint named.
    drop(state.finish_checkpoint(done));
    Ok(state)
}

/// What consensus starts with.
pub(crate) fn to_consensus(recovered: wal::Recovered, applied: u64) -> consensus::Recovered {
    // A new cluster counts its members' configuration as term 1, as etcd does: its first leader has term 2.
    let term = recovered.hard_state.term.max(1);
    consensus::Recovered {
        hard_state: HardState { term, ..recovered.hard_state },
        trimmed_to: recovered.trimmed_to,
        entries: recovered.entries,
        applied,
    }
}

fn last_index(log: &wal::Recovered) -> u64 {
    log.entries.last().map_or(log.trimmed_to.index, |entry| entry.index)
}

fn refused(doing: &str, path: &Path, why: impl Display) -> StartError {
    StartError::Refused(format!("{doing} {}: {why}", path.display()))
}
