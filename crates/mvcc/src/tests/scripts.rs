//! Runs `testscripts/*.txt`: what is done to a store, and what it answers. Keys and values are
//! words; a range is `key`, `key..end`, `key..` or `key*` (prefix).

use super::*;
use crate::{Meta, ReadError, Txn};
use model::{Range, RangeEnd, RevisionBounds, Sort, SortOrder, SortTarget};
use std::fmt::Write;

#[test]
fn scripts() {
    golden::check(env!("CARGO_MANIFEST_DIR"), 6, Session::new, Session::run);
}

struct Session {
    disk: SimDisk,
    mvcc: Mvcc,
    views: Vec<View>,
}

fn range(word: &str) -> KeyRange {
    match (word.split_once(".."), word.strip_suffix('*')) {
        (Some((start, "")), _) => KeyRange { start: start.to_owned().into(), end: RangeEnd::Unbounded },
        (Some((start, end)), _) => KeyRange::from_wire(start.to_owned().into(), end.to_owned().into()),
        (None, Some(prefix)) => KeyRange::prefix(prefix.to_owned()),
        (None, None) => KeyRange::single(word.to_owned()),
    }
}

fn option(words: &[&str], name: &str) -> Option<i64> {
    words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

fn request(words: &[&str]) -> Range {
    let number = |name: &str| option(words, name).unwrap_or(0);
    let bounds = |name: &str| RevisionBounds {
        min: Revision(number(&format!("min-{name}"))),
        max: Revision(number(&format!("max-{name}"))),
    };
    let sort = words.iter().find_map(|word| word.strip_prefix("sort="));
    Range {
        revision: Revision(number("rev")),
        limit: number("limit") as u64,
        keys_only: words.contains(&"keys-only"),
        count_only: words.contains(&"count-only"),
        mod_bounds: bounds("mod"),
        create_bounds: bounds("create"),
        sort: sort.map(|sort| Sort {
            target: match sort.trim_start_matches('-') {
                "version" => SortTarget::Version,
                "create" => SortTarget::Create,
                "mod" => SortTarget::Mod,
                "value" => SortTarget::Value,
                _ => SortTarget::Key,
            },
            order: if sort.starts_with('-') { SortOrder::Descend } else { SortOrder::Ascend },
        }),
        ..Range::new(range(words[1]))
    }
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn kv_line(kv: &KeyValue) -> String {
    let KeyValue { key, create_revision, mod_revision, version, value, lease } = kv;
    let lease = if lease.is_none() { String::new() } else { format!(" lease={lease}") };
    format!("{}={} create={create_revision} mod={mod_revision} version={version}{lease}", text(key), text(value))
}

impl Session {
    fn new() -> Session {
        let disk = SimDisk::new();
        Session { mvcc: open(&disk), disk, views: Vec::new() }
    }

    fn run(&mut self, line: &str, out: &mut String) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let revision = |at: usize| Revision(words.get(at).and_then(|word| word.parse().ok()).expect("a number"));
        match words[0] {
            "txn" | "put" | "delete" => self.txn(line.strip_prefix("txn ").unwrap_or(line), out),
            "range" => {
                let view = flushed_view(&mut self.mvcc);
                range_lines(&view, &request(&words), out);
            }
            "keep-view" => self.views.push(flushed_view(&mut self.mvcc)),
            "kept-view" => range_lines(&self.views[0], &request(&words), out),
            "events" => {
                let view = flushed_view(&mut self.mvcc);
                let limit = option(&words, "limit").unwrap_or(1000) as usize;
                match view.events(&range(words[1]), revision(2), Revision(i64::MAX), limit) {
                    Ok(page) => {
                        page.events.iter().for_each(|event| event_line(&view, event, out));
                        writeln!(out, "next {}", page.next).expect("write");
                    }
                    Err(error) => writeln!(out, "{error}").expect("write"),
                }
            }
            "compact" => match self.mvcc.compact(revision(1)) {
                Ok(()) => self.status(out),
                Err(rejection) => writeln!(out, "{rejection}").expect("write"),
            },
            "remove" => {
                let more = self.mvcc.compaction_step(revision(1).0 as usize);
                let versions: u64 = self.mvcc.segments().map(|stat| stat.live_bytes).sum();
                writeln!(out, "{}, {versions} bytes in segments", if more { "more to do" } else { "done" })
                    .expect("write");
            }
            "hash" => match self.mvcc.view().hash_kv(revision(1)) {
                Ok(hash) => writeln!(
                    out,
                    "hash={} revision={} compact-revision={}",
                    hash.hash, hash.revision, hash.compact_revision
                )
                .expect("write"),
                Err(rejection) => writeln!(out, "{rejection}").expect("write"),
            },
            "status" => self.status(out),
            "checkpoint" => checkpoint(&mut self.mvcc),
            "kill-and-open" => {
                self.disk = self.disk.after_kill();
                self.mvcc = open(&self.disk);
                self.status(out);
            }
            word => panic!("unknown command {word}"),
        }
    }

    fn txn(&mut self, operations: &str, out: &mut String) {
        let mut txn = self.mvcc.begin();
        for operation in operations.split(';') {
            let words: Vec<&str> = operation.split_whitespace().collect();
            operate(&mut txn, &words, out);
        }
        let change = txn.commit();
        let view = flushed_view(&mut self.mvcc);
        match change {
            None => writeln!(out, "no revision used").expect("write"),
            Some(change) => change.events.iter().for_each(|event| event_line(&view, event, out)),
        }
    }

    fn status(&self, out: &mut String) {
        let mvcc = &self.mvcc;
        let (revision, compacted) = (mvcc.current_revision(), mvcc.compacted_revision());
        let (keys, retained) = (mvcc.key_count(), mvcc.retained_bytes());
        writeln!(out, "revision={revision} compacted={compacted} keys={keys} retained={retained}").expect("write");
    }
}

fn operate(txn: &mut Txn<'_>, words: &[&str], out: &mut String) {
    match words[0] {
        "put" => {
            let lease = LeaseId(option(words, "lease").unwrap_or(0));
            let value = words.get(2).filter(|word| !word.starts_with("lease=")).copied().unwrap_or_default();
            txn.put(words[1].to_owned().into(), value.to_owned().into(), lease).expect("put");
        }
        "delete" => {
            txn.delete_range(&range(words[1]));
        }
        "range" => match txn.range(&request(words)) {
            Err(error) => writeln!(out, "{error}").expect("write"),
            Ok(result) => {
                let range = range(words[1]);
                let all: Vec<(String, Meta)> =
                    txn.live(&range).map(|(key, meta)| (text(&key.to_vec()).into_owned(), meta)).collect();
                for (key, meta) in all {
                    writeln!(out, "in txn: {key} at {} version={}", meta.at, meta.version).expect("write");
                }
                writeln!(out, "in txn: count={} revision={}", result.count, result.revision).expect("write");
            }
        },
        word => panic!("unknown operation {word}"),
    }
}

fn range_lines(view: &View, request: &Range, out: &mut String) {
    match view.range(request) {
        Ok(result) => {
            pairs(view, &result.items).iter().for_each(|kv| writeln!(out, "{}", kv_line(kv)).expect("write"));
            let more = if result.more { " more" } else { "" };
            writeln!(out, "count={} revision={}{more}", result.count, result.revision).expect("write");
        }
        Err(ReadError::Rejected(rejection)) => writeln!(out, "{rejection}").expect("write"),
        Err(ReadError::Fault(fault)) => panic!("{fault}"),
    }
}

fn event_line(view: &View, event: &crate::Event, out: &mut String) {
    let load = |location| KeyValue::decode(&view.read(location).expect("read")).expect("a pair");
    let prev = event.prev.map_or(String::new(), |prev| format!(" was {}", text(&load(prev).value)));
    match event.kv {
        Some(location) => writeln!(out, "{} put {}{prev}", event.at, kv_line(&load(location))),
        None => writeln!(out, "{} delete {}{prev}", event.at, text(&event.key)),
    }
    .expect("write");
}
