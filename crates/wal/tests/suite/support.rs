//! Logs to test on, and images of them that can be cut, torn and flipped.

use bytes::Bytes;
use consensus::{Entry, EntryKind, HardState};
use io::{Disk, Open, OsDisk};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use wal::{Fault, Options, Recovered, Wal};

pub fn options() -> Options {
    Options { segment_bytes: 4096, ..Options::new(0x5eed) }
}

/// Entries of `term` with the given data, from `index` on.
pub fn entries(term: u64, index: u64, data: &[&str]) -> Vec<Entry> {
    let entry = |(data, index): (&&str, u64)| Entry {
        term,
        index,
        kind: EntryKind::Normal,
        data: Bytes::copy_from_slice(data.as_bytes()),
    };
    data.iter().zip(index..).map(entry).collect()
}

pub fn state(term: u64, commit: u64) -> Option<HardState> {
    Some(HardState { term, vote: 1, commit })
}

/// A directory with a log in it. Nothing here depends on being durable, so it may be in memory.
pub struct Place {
    directory: TempDir,
}

impl Place {
    pub fn new() -> Place {
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        Place { directory: directory.expect("a temporary directory") }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("wal")
    }

    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(OsDisk)
    }

    pub fn open(&self, options: Options) -> Result<(Wal, Recovered), Fault> {
        Wal::open(self.disk(), &self.path(), options)
    }

    pub fn read(&self) -> Result<Recovered, Fault> {
        wal::read(&OsDisk, &self.path())
    }

    pub fn image(&self) -> Image {
        let names = OsDisk.list(&self.path()).expect("list");
        let read = |name: String| {
            let file = OsDisk.open(&self.path().join(&name), Open::READ).expect("open");
            let mut bytes = vec![0; file.len().expect("length") as usize];
            file.read_exact_at(&mut bytes, 0).expect("read");
            (name, bytes)
        };
        Image(names.into_iter().map(read).collect())
    }

    /// Makes the directory hold exactly `image`.
    pub fn put(&self, image: &Image) {
        for name in OsDisk.list(&self.path()).expect("list") {
            if !image.0.contains_key(&name) {
                OsDisk.remove(&self.path().join(name)).expect("remove");
            }
        }
        for (name, bytes) in &image.0 {
            self.put_file(name, bytes);
        }
    }

    pub fn put_file(&self, name: &str, bytes: &[u8]) {
        let file = OsDisk.open(&self.path().join(name), Open::CREATE).expect("create");
        file.set_len(bytes.len() as u64).expect("cut");
        file.write_at(bytes, 0).expect("write");
    }
}

/// The files of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image(pub BTreeMap<String, Vec<u8>>);

impl Image {
    /// The newest segment's name.
    pub fn newest(&self) -> String {
        self.0.keys().rfind(|name| name.ends_with(".wal")).expect("a log has a segment").clone()
    }
}

/// Numbers from a seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
