//! Runs `testscripts/*.txt`: what is done to a store, and what it then holds.
//!
//! Segments have 200
//! bytes and space is allocated by 64, so that little fills them. Commands:
//!
//!     open | kill | power-cut           the last two leave the store closed
//!     put N TEXT | fill N BYTES         appends record N
//!     get N... | read N...              by the store, unflushed records too | by a reader made now, as a list
//!     garbage N | flush | segments | files
//!     keep-reader | read-kept N...      a reader of that moment
//!     checkpoint full|delta META        with one block, its meta; the script's records that count are those of then
//!     begin META | commit full|delta | finish | give-up

use crate::caller::DIRECTORY;
use bytes::Bytes;
use simdisk::{Random, SimDisk};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use store::{CheckpointWriter, Done, Fault, Location, Mode, Options, Reader, Store};

#[test]
fn scripts() {
    golden::check(env!("CARGO_MANIFEST_DIR"), 5, Session::default, |session, line, out| {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a command");
        if let Err(fault) = session.run(name, &words.collect::<Vec<_>>(), out) {
            writeln!(out, "fault: {fault}").expect("strings take everything");
        }
    });
}

#[derive(Default)]
struct Session {
    disk: SimDisk,
    store: Option<Store>,
    /// By the script's number, garbage or not.
    records: BTreeMap<u32, Location>,
    garbage: BTreeSet<u32>,
    /// What counted in the newest checkpoint.
    durable: BTreeMap<u32, Location>,
    kept: Option<Reader>,
    checkpoint: Option<(String, CheckpointWriter, BTreeMap<u32, Location>)>,
    done: Option<Done>,
}

impl Session {
    fn store(&mut self) -> &mut Store {
        self.store.as_mut().expect("the script opens the store first")
    }

    fn locations(&self, words: &[&str]) -> Vec<Location> {
        words.iter().map(|word| self.records[&number(word)]).collect()
    }

    fn run(&mut self, name: &str, words: &[&str], out: &mut String) -> Result<(), Fault> {
        match (name, words) {
            ("open", []) => self.open(out)?,
            ("kill", []) => self.close(self.disk.after_kill()),
            ("power-cut", []) => self.close(self.disk.after_power_cut(&mut Random::new(1))),
            ("put", [record, text]) => self.append(number(record), text.as_bytes(), out)?,
            ("fill", [record, bytes]) => self.append(number(record), &vec![b'x'; number(bytes) as usize], out)?,
            ("flush", []) => self.store().flush()?,
            ("garbage", [record]) => {
                let location = self.records[&number(record)];
                self.store().mark_garbage(location);
                self.garbage.insert(number(record));
            }
            ("get", records) => {
                for location in self.locations(records) {
                    show(&[self.store().read(location)?], out);
                }
            }
            ("read", records) => {
                let reader = self.store().reader();
                self.read(&reader, records, out)?;
            }
            ("keep-reader", []) => self.kept = Some(self.store().reader()),
            ("read-kept", records) => {
                let reader = self.kept.clone().expect("the script keeps one first");
                self.read(&reader, records, out)?;
            }
            ("segments", []) => {
                for stat in self.store().segments() {
                    writeln!(out, "segment {}: {} of {} bytes live", stat.id, stat.live_bytes, stat.total_bytes)
                        .expect("strings take everything");
                }
            }
            ("seal", []) => self.store().seal()?,
            ("reclaim", [segment]) => self.reclaim(number(segment), out)?,
            ("files", []) => {
                for (path, content) in self.disk.image() {
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    writeln!(out, "{name} {}", content.len()).expect("strings take everything");
                }
            }
            ("checkpoint", [mode, meta]) => {
                self.run("begin", &[meta], out)?;
                self.run("commit", &[mode], out)?;
                self.run("finish", &[], out)?;
            }
            ("begin", [meta]) => {
                let writer = self.store().begin_checkpoint()?;
                let mut counts = self.records.clone();
                counts.retain(|record, _| !self.garbage.contains(record));
                self.checkpoint = Some(((*meta).to_owned(), writer, counts));
            }
            ("commit", [mode]) => {
                let (meta, writer, records) = self.checkpoint.as_mut().expect("the script begins it first");
                let mode = if *mode == "full" { Mode::Full } else { Mode::Delta };
                self.done = Some(writer.commit(meta.as_bytes(), &mut std::iter::once(meta.clone().into()), mode)?);
                self.durable = records.clone();
            }
            ("finish", []) => {
                let done = self.done.take().expect("the script commits it first");
                self.checkpoint = None;
                self.store().finish_checkpoint(done).remove()?;
            }
            ("give-up", []) => self.checkpoint = None,
            other => panic!("no such command: {other:?}"),
        }
        Ok(())
    }

    /// Copies the live records of a segment and makes them garbage there.
    fn reclaim(&mut self, segment: u32, out: &mut String) -> Result<(), Fault> {
        let mut scan = self.store().scan(segment).expect("the segment is sealed");
        let mut cold = self.store().begin_cold_segment();
        let mut moved = Vec::new();
        while let Some((from, payload)) = scan.next_record()? {
            let live = self.records.iter().find(|(record, at)| **at == from && !self.garbage.contains(record));
            let Some((&record, _)) = live else { continue };
            let to = cold.append(&payload)?;
            writeln!(out, "{record}: segment {} offset {} length {}", to.segment, to.offset, to.length)
                .expect("strings take everything");
            moved.push((record, from, to));
        }
        if let Some(segment) = cold.finish()? {
            self.store().adopt(segment);
        }
        for (record, from, to) in moved {
            self.store().mark_garbage(from);
            self.records.insert(record, to);
        }
        Ok(())
    }

    fn open(&mut self, out: &mut String) -> Result<(), Fault> {
        let options = Options { segment_bytes: 200, allocate_bytes: 64, reserve_bytes: 0, ..Options::default() };
        let (mut store, checkpoint) = Store::open(Arc::new(self.disk.clone()), Path::new(DIRECTORY), options)?;
        self.records = self.durable.clone();
        self.garbage.clear();
        self.records.values().for_each(|location| assert!(store.mark_live(*location)));
        self.store = Some(store);
        let Some(checkpoint) = checkpoint else {
            out.push_str("no checkpoint\n");
            return Ok(());
        };
        write!(out, "checkpoint {}, blocks", text(&checkpoint.meta)).expect("strings take everything");
        for mut run in checkpoint.runs {
            while let Some(block) = run.next_block()? {
                write!(out, " {}", text(&block)).expect("strings take everything");
            }
        }
        out.push('\n');
        Ok(())
    }

    fn close(&mut self, disk: SimDisk) {
        (self.store, self.kept, self.checkpoint, self.done) = (None, None, None, None);
        self.disk = disk;
    }

    fn append(&mut self, record: u32, payload: &[u8], out: &mut String) -> Result<(), Fault> {
        let location = self.store().append(&[payload])?;
        writeln!(out, "{record}: segment {} offset {} length {}", location.segment, location.offset, location.length)
            .expect("strings take everything");
        self.records.insert(record, location);
        self.garbage.remove(&record);
        Ok(())
    }

    fn read(&self, reader: &Reader, records: &[&str], out: &mut String) -> Result<(), Fault> {
        let mut read = Vec::new();
        reader.read_many(&self.locations(records), &mut read)?;
        show(&read, out);
        Ok(())
    }
}

fn number(word: &str) -> u32 {
    word.parse().expect("a number")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn show(read: &[Bytes], out: &mut String) {
    let short = |bytes: &Bytes| match bytes.len() {
        1..=30 => text(bytes),
        length => format!("{length} bytes"),
    };
    writeln!(out, "{}", read.iter().map(short).collect::<Vec<_>>().join(" ")).expect("strings take everything");
}
