//! Opening a log in two steps: looking at it, which reads everything and changes nothing, and claiming it, once what
//! was found fits the rest of the member.

use crate::fault::{Fault, Result};
use crate::files::{self, FIRST_TEMPORARY, Name};
use crate::format::{HEADER_BYTES, Header, Owner};
use crate::mark::{self, FoundMark};
use crate::pool::SPARES_MAX;
use crate::recover::{Found, Recovered, recover};
use crate::wal::{Options, Wal};
use consensus::{HardState, Position};
use io::{Disk, LockGuard, Open};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A log that was read and is not changed yet. Nobody else can claim it.
pub struct Look {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    lock: Option<LockGuard>,
    found: Option<Found>,
    mark: Option<(PathBuf, FoundMark)>,
}

/// Reads the log in `directory`, every byte that counts. `mark` is the file that says how far it was synced. Refuses a
/// log that is damaged or does not reach its mark, see `docs/formats/wal.md`, one that another process uses, and a real
/// etcd's.
pub fn look(disk: Arc<dyn Disk>, directory: &Path, mark: Option<&Path>) -> Result<Look> {
    let lock = match lock_directory(&*disk, directory) {
        Err(Fault::Io { source, .. }) if source.kind() == ErrorKind::NotFound => None,
        locked => locked?,
    };
    let mark = mark.map(|path| Ok((path.to_path_buf(), mark::read(&*disk, path)?))).transpose()?;
    let is_there = disk.exists(directory).map_err(Fault::io("look for", directory))?;
    let known = mark.as_ref().and_then(|(path, found)| Some((found.mark()?, path.as_path())));
    let found = if is_there { recover(&*disk, directory, known)? } else { None };
    if is_there && found.is_none() {
        refuse_etcds(&*disk, directory)?;
    }
    Ok(Look { disk, directory: directory.to_path_buf(), lock, found, mark })
}

impl Wal {
    /// Opens the log in `directory`, or begins one there, without a mark. Refuses a log that is damaged; see
    /// `docs/formats/wal.md`.
    pub fn open(disk: Arc<dyn Disk>, directory: &Path, options: Options) -> Result<(Wal, Recovered)> {
        look(disk, directory, None)?.claim(options)
    }
}

impl Look {
    /// The number that names the log; `None` if there is none.
    pub fn log_id(&self) -> Option<u64> {
        self.found.as_ref().map(|found| found.log_id)
    }

    /// Whose log it is; `None` if there is none, or if a release before format 2 wrote its newest segment.
    pub fn owner(&self) -> Option<Owner> {
        self.found.as_ref().and_then(|found| found.owner)
    }

    pub fn recovered(&self) -> Option<&Recovered> {
        self.found.as_ref().map(|found| &found.recovered)
    }

    /// The log that the mark speaks of; `None` if it speaks of none.
    pub fn marked_log(&self) -> Option<u64> {
        let (_, found) = self.mark.as_ref()?;
        found.mark().map(|mark| mark.log_id)
    }

    /// An operator said that the log is to be taken as it ends.
    pub fn is_accepted(&self) -> bool {
        matches!(self.mark, Some((_, FoundMark::Accepted)))
    }

    /// Refuses a log whose mark is missing.
    pub fn require_mark(&self) -> Result<()> {
        match &self.mark {
            Some((path, FoundMark::Missing)) => Err(mark::unusable(path, "it is missing")),
            _ => Ok(()),
        }
    }

    /// Makes the log ready to be written, or begins it.
    pub fn claim(self, options: Options) -> Result<(Wal, Recovered)> {
        assert!(
            (4096..=1 << 30).contains(&options.segment_bytes) && options.segment_bytes.is_multiple_of(4096),
            "segments of {} bytes",
            options.segment_bytes
        );
        let Look { disk, directory, lock, found, mark } = self;
        if found.is_none() {
            disk.create_dir_durably(&directory).map_err(Fault::io("create directory", &directory))?;
        }
        let lock = match lock {
            None => lock_directory(&*disk, &directory)?,
            held => held,
        };
        let found = match found {
            Some(found) => found,
            None => {
                if recover(&*disk, &directory, None)?.is_some() {
                    return Err(Fault::refused(
                        "begin in",
                        &directory,
                        "another process has just begun one; start again",
                    ));
                }
                begin_log(&*disk, &directory, options)?;
                recover(&*disk, &directory, None)?.expect("the first segment was just made")
            }
        };
        let spares = tidy(&*disk, &directory, found.unused)?;
        let (mut wal, recovered) = Wal::resume(disk, &directory, options, found, spares)?;
        wal.hold(lock, mark)?;
        Ok((wal, recovered))
    }
}

/// `None` where only files can be locked.
fn lock_directory(disk: &dyn Disk, directory: &Path) -> Result<Option<LockGuard>> {
    match disk.lock_directory(directory) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock => {
                let why = "another process uses this directory; stop that one or choose another directory";
                Err(Fault::refused("lock", directory, why))
            }
            ErrorKind::Unsupported => Ok(None),
            _ => Err(Fault::io("lock", directory)(error)),
        },
    }
}

fn refuse_etcds(disk: &dyn Disk, directory: &Path) -> Result<()> {
    let names = disk.list(directory).map_err(Fault::io("list", directory))?;
    match names.iter().find(|name| files::is_etcds(name)) {
        None => Ok(()),
        Some(name) => {
            let why = format!("{name} is the log of a real etcd; choose another directory");
            Err(Fault::refused("begin in", directory, why))
        }
    }
}

/// Makes the first segment. It takes its name only when all of it is durable, so the oldest segment always has a valid
/// header.
fn begin_log(disk: &dyn Disk, directory: &Path, options: Options) -> Result<()> {
    let path = directory.join(FIRST_TEMPORARY);
    let header = Header {
        sequence: 1,
        log_id: options.seed,
        run: 0,
        link: 0,
        end: 0,
        last: Position::default(),
        hard_state: HardState::default(),
        owner: Some(options.owner),
    };
    let mut bytes = vec![0; files::segment_bytes(1, options.segment_bytes) as usize];
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode().0);
    let file = disk.open(&path, Open::CREATE).map_err(Fault::io("create", &path))?;
    let written = file.set_len(0).and_then(|()| file.write_at(&bytes, 0)).and_then(|()| file.sync_all());
    written.map_err(Fault::io("write", &path))?;
    disk.replace(&path, &files::segment_path(directory, 1)).map_err(Fault::io("rename", &path))
}

/// Removes what an earlier run left half made. Returns the spares, oldest first.
fn tidy(disk: &dyn Disk, directory: &Path, unused: Option<u64>) -> Result<Vec<u64>> {
    let names = disk.list(directory).map_err(Fault::io("list", directory))?;
    let mut spares: Vec<u64> = Vec::new();
    let mut useless: Vec<PathBuf> =
        unused.map(|sequence| files::segment_path(directory, sequence)).into_iter().collect();
    for name in &names {
        match files::parse(name) {
            Name::Spare(spare) => spares.push(spare),
            Name::Temporary => useless.push(directory.join(name)),
            Name::Segment(_) | Name::Foreign => {}
        }
    }
    spares.sort_unstable();
    useless.extend(spares.drain(spares.len().min(SPARES_MAX + 1)..).map(|spare| files::spare_path(directory, spare)));
    for path in &useless {
        disk.remove(path).map_err(Fault::io("remove", path))?;
    }
    if !useless.is_empty() {
        disk.sync_dir(directory).map_err(Fault::io("sync directory", directory))?;
    }
    Ok(spares)
}
