//! The state of a simulated disk and what a power cut leaves of it.

use crate::content::Content;
use crate::random::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};

const SECTOR_BYTES: usize = 512;

pub(crate) type FileId = usize;

#[derive(Debug, Clone, Default)]
pub(crate) struct Platter {
    pub(crate) files: Vec<FileState>,
    /// What a running process sees.
    pub(crate) entries: BTreeMap<PathBuf, FileId>,
    durable_entries: BTreeMap<PathBuf, FileId>,
    pub(crate) directories: BTreeSet<PathBuf>,
    /// Of them, those whose entry no sync of the directory above has made durable.
    pub(crate) unsynced_directories: BTreeSet<PathBuf>,
    pub(crate) locks: BTreeSet<PathBuf>,
    /// Steps taken so far.
    pub(crate) steps: u64,
    pub(crate) plan: Plan,
}

/// What goes wrong, and when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// The power goes off before this step: it and everything later fails.
    pub(crate) power_off_at: Option<u64>,
    /// This step fails once with this kind of error; a sync that fails drops the dirty data, as Linux does.
    pub(crate) fail_at: Option<(u64, ErrorKind)>,
    /// Every read fails.
    pub(crate) reads_fail: bool,
    /// Syncs do nothing.
    pub(crate) syncs_lie: bool,
    /// Bytes of all files together; more fails with `StorageFull`.
    pub(crate) capacity: Option<u64>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct FileState {
    pub(crate) content: Content,
    durable: Content,
    pending: Vec<Change>,
    /// No sync has said so yet.
    write_back_failure: Option<ErrorKind>,
    /// How many times it is open now.
    pub(crate) handles: usize,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, data: Content },
    SetLength(usize),
}

fn power_is_off() -> Error {
    Error::other("the simulated power is off")
}

impl Platter {
    /// Counts a step; says what goes wrong with it.
    pub(crate) fn step(&mut self) -> std::io::Result<()> {
        let step = self.steps;
        if self.plan.power_off_at.is_some_and(|at| step >= at) {
            return Err(power_is_off());
        }
        self.steps += 1;
        match self.plan.fail_at {
            Some((at, kind)) if at == step => Err(kind.into()),
            _ => Ok(()),
        }
    }

    pub(crate) fn check_power(&self) -> std::io::Result<()> {
        if self.plan.power_off_at.is_some_and(|at| self.steps >= at) { Err(power_is_off()) } else { Ok(()) }
    }

    /// Fails if the file may not grow to `length`.
    pub(crate) fn check_space(&self, file: FileId, length: usize) -> std::io::Result<()> {
        let grows = length > self.files[file].content.len();
        if grows && length as u64 > self.length_max(file) { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// How long the file may get.
    pub(crate) fn length_max(&self, file: FileId) -> u64 {
        let Some(capacity) = self.plan.capacity else { return u64::MAX };
        capacity.saturating_sub(self.used()) + self.files[file].content.len() as u64
    }

    /// Bytes of all files that have a name or are open. What a power cut may bring back takes no space.
    pub(crate) fn used(&self) -> u64 {
        let named: BTreeSet<FileId> = self.entries.values().copied().collect();
        let counts = |(id, file): &(FileId, &FileState)| file.handles > 0 || named.contains(id);
        self.files.iter().enumerate().filter(counts).map(|(_, file)| file.content.len() as u64).sum()
    }

    pub(crate) fn write(&mut self, file: FileId, offset: usize, data: &[u8]) {
        let change = Change::Write { offset, data: Content::new(data) };
        change.apply(&mut self.files[file].content);
        self.files[file].pending.push(change);
    }

    pub(crate) fn set_length(&mut self, file: FileId, length: usize) {
        let change = Change::SetLength(length);
        change.apply(&mut self.files[file].content);
        self.files[file].pending.push(change);
    }

    /// Only what is pending: what an earlier failed sync dropped stays lost.
    pub(crate) fn sync(&mut self, file: FileId) {
        if self.plan.syncs_lie {
            return;
        }
        let state = &mut self.files[file];
        for change in state.pending.drain(..) {
            change.apply(&mut state.durable);
        }
    }

    /// The end of a durable write: only what it wrote is on the disk, or, if it failed, dropped as by a failed sync.
    pub(crate) fn sync_range(&mut self, file: FileId, range: Range<usize>, succeeds: bool) {
        if self.plan.syncs_lie {
            return;
        }
        let state = &mut self.files[file];
        let pending = std::mem::take(&mut state.pending);
        state.pending = pending.into_iter().flat_map(|change| change.outside(&range)).collect();
        if succeeds {
            state.durable.write_part(range.start, &state.content, range);
        }
    }

    /// The content as it is now is what the disk holds.
    pub(crate) fn make_durable(&mut self, file: FileId) {
        let state = &mut self.files[file];
        state.pending.clear();
        state.durable.clone_from(&state.content);
    }

    /// A failed sync: what was dirty is gone from the disk's view but still in the page cache, marked clean.
    pub(crate) fn drop_dirty(&mut self, file: FileId) {
        self.files[file].pending.clear();
    }

    pub(crate) fn fail_write_back(&mut self, file: FileId, kind: ErrorKind) {
        self.drop_dirty(file);
        self.files[file].write_back_failure = Some(kind);
    }

    /// What the next sync has to say, which it says once.
    pub(crate) fn take_write_back_failure(&mut self, file: FileId) -> std::io::Result<()> {
        self.files[file].write_back_failure.take().map_or(Ok(()), |kind| Err(kind.into()))
    }

    pub(crate) fn sync_dir(&mut self, directory: &Path) {
        if self.plan.syncs_lie {
            return;
        }
        let inside = |path: &PathBuf| path.parent() == Some(directory);
        self.unsynced_directories.retain(|path| !inside(path));
        let before: BTreeSet<FileId> = self.durable_entries.values().copied().collect();
        self.durable_entries.retain(|path, _| !inside(path));
        let now = self.entries.iter().filter(|(path, _)| inside(path));
        self.durable_entries.extend(now.map(|(path, id)| (path.clone(), *id)));
        for file in before {
            self.forget_if_unused(file);
        }
    }

    /// A file is gone once no name leads to it, not even after a power cut, and nobody has it open.
    pub(crate) fn forget_if_unused(&mut self, file: FileId) {
        let named = self.entries.values().chain(self.durable_entries.values()).any(|&id| id == file);
        if !named && self.files[file].handles == 0 {
            self.files[file] = FileState::default();
        }
    }

    /// The disk as it comes up after the power was cut now.
    pub(crate) fn after_power_cut(&self, random: &mut Random) -> Platter {
        let mut files = Vec::new();
        for file in &self.files {
            let content = file.after_power_cut(random);
            files.push(FileState { durable: content.clone(), content, ..FileState::default() });
        }
        // Each entry that differs from its durable state may have made it or not.
        let mut entries = BTreeMap::new();
        let paths: BTreeSet<&PathBuf> = self.entries.keys().chain(self.durable_entries.keys()).collect();
        for path in paths {
            let (now, durable) = (self.entries.get(path), self.durable_entries.get(path));
            let kept = if now == durable || random.coin() { now } else { durable };
            if let Some(id) = kept {
                entries.insert(path.clone(), *id);
            }
        }
        // One file cannot come up under two names: the copy keeps the bytes, not the identity.
        let mut seen = BTreeSet::new();
        for id in entries.values_mut() {
            if !seen.insert(*id) {
                files.push(files[*id].clone());
                *id = files.len() - 1;
            }
        }
        Platter {
            files,
            durable_entries: entries.clone(),
            entries,
            directories: self.directories.clone(),
            unsynced_directories: self.unsynced_directories.clone(),
            ..Platter::default()
        }
    }

    /// The disk as a killed process leaves it: the page cache survives.
    pub(crate) fn after_kill(&self) -> Platter {
        let mut platter = Platter { locks: BTreeSet::new(), steps: 0, plan: Plan::default(), ..self.clone() };
        for file in 0..platter.files.len() {
            platter.files[file].handles = 0;
            platter.forget_if_unused(file);
        }
        platter
    }
}

impl Change {
    fn apply(&self, content: &mut Content) {
        match self {
            Change::SetLength(length) => content.resize(*length),
            Change::Write { offset, data } => content.write_part(*offset, data, 0..data.len()),
        }
    }

    /// The parts of it that do not lie in `range`.
    fn outside(self, range: &Range<usize>) -> Vec<Change> {
        let Change::Write { offset, data } = self else { return vec![self] };
        let end = offset + data.len();
        let before = offset..end.min(range.start);
        let after = offset.max(range.end)..end;
        let kept = [before, after].into_iter().filter(|part| !part.is_empty());
        kept.map(|part| Change::Write { offset: part.start, data: data.part(part.start - offset..part.end - offset) })
            .collect()
    }

    /// Applies the part of it that a power cut lets through: whole sectors, any of them.
    fn apply_torn(&self, content: &mut Content, random: &mut Random) {
        let Change::Write { offset, data } = self else { return self.apply(content) };
        let end = offset + data.len();
        let mut at = *offset;
        while at < end {
            let sector_end = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
            let upto = sector_end.min(end);
            if random.coin() {
                content.write_part(at, data, at - offset..upto - offset);
            }
            at = upto;
        }
    }
}

impl FileState {
    fn after_power_cut(&self, random: &mut Random) -> Content {
        let mut content = self.durable.clone();
        for change in &self.pending {
            match random.below(4) {
                0 => {}
                1 => change.apply_torn(&mut content, random),
                _ => change.apply(&mut content),
            }
        }
        content
    }
}
