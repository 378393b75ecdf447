//! Runs `testscripts/*.txt`: writes, watchers and what they are handed.

use crate::world::{Seen, World, delete, put, seen};
use model::{KeyRange, Revision};
use std::collections::HashMap;
use std::fmt::Write;
use watch::{CatchUp, Delivery, Limits, Spec, Standing, WatcherId};

#[test]
fn scripts() {
    golden::check(env!("CARGO_MANIFEST_DIR"), 5, Runner::new, |runner, line, out| {
        runner.run(line);
        out.push_str(&std::mem::take(&mut runner.output));
    });
}

struct Runner {
    world: World,
    ids: HashMap<String, WatcherId>,
    names: HashMap<WatcherId, String>,
    output: String,
}

impl Runner {
    fn new() -> Runner {
        let world = World::new(Limits::default());
        Runner { world, ids: HashMap::new(), names: HashMap::new(), output: String::new() }
    }

    fn line(&mut self, line: &str) {
        self.output.push_str(line);
        self.output.push('\n');
    }

    fn run(&mut self, command: &str) {
        let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        match name {
            "limits" => {
                let events_max = words[0].trim_start_matches("events=").parse().expect("a number of events");
                self.world = World::new(Limits { events_max, ..Limits::default() });
            }
            "txn" => self.world.write(|txn| {
                for operation in rest.split(';') {
                    match operation.split_whitespace().collect::<Vec<_>>().as_slice() {
                        ["put", key, value] => put(txn, key, value),
                        ["del", key] => delete(txn, &KeyRange::single(key.to_string())),
                        other => panic!("unknown operation {other:?}"),
                    }
                }
            }),
            "put" => self.world.put(words[0], words[1]),
            "fill" => {
                let count: usize = words[1].parse().expect("a number of puts");
                (0..count).for_each(|value| self.world.put(words[0], &value.to_string()));
            }
            "del" => self.world.delete(words[0]),
            "compact" => self.world.mvcc.compact(Revision(words[0].parse().expect("a revision"))).expect("compacts"),
            "hold" => self.world.hold(),
            "publish" => self.world.publish(),
            "watch" => self.watch(&words),
            "cancel" => {
                let known = self.world.registry.cancel(self.ids[words[0]]);
                self.line(if known { "cancelled" } else { "not there" });
            }
            "pause" => self.world.registry.pause(self.ids[words[0]]),
            "resume" => self.world.registry.resume(self.ids[words[0]]),
            "progress" => {
                let progress = self.world.registry.progress(self.ids[words[0]]);
                self.line(&format!("{} progress {}", words[0], progress.map_or("none".into(), |at| at.to_string())));
            }
            "advance" => {
                let mut deliveries = Vec::new();
                while self.world.registry.advance(&mut deliveries) {}
                deliveries.iter().for_each(|delivery| self.print_delivery(delivery));
            }
            "catch-up" => {
                let pieces = words.first().map_or(usize::MAX, |pieces| pieces.parse().expect("a number"));
                for _ in 0..pieces {
                    let view = self.world.mvcc.view();
                    let Some(piece) = self.world.registry.catch_up(&view).expect("the disk works") else { break };
                    self.print_piece(&piece);
                }
            }
            "status" => {
                let registry = &self.world.registry;
                let status = format!(
                    "watchers={} slow={} ranges={} revision={} log={}",
                    registry.len(),
                    registry.slow(),
                    registry.distinct_ranges(),
                    registry.revision(),
                    self.world.log.size().0
                );
                self.line(&status);
            }
            other => panic!("unknown command {other}"),
        }
    }

    /// `watch NAME KEY [end=KEY|prefix|from] [rev=N] [no-put] [no-delete]`
    fn watch(&mut self, words: &[&str]) {
        let (name, key) = (words[0], words[1].to_string());
        let mut spec =
            Spec { range: KeyRange::single(key.clone()), start_revision: Revision(0), no_put: false, no_delete: false };
        for option in &words[2..] {
            match option.split_once('=').unwrap_or((option, "")) {
                ("end", end) => spec.range = KeyRange::from_wire(key.clone().into(), end.to_string().into()),
                ("prefix", _) => spec.range = KeyRange::prefix(key.clone()),
                ("from", _) => spec.range = KeyRange::from_wire(key.clone().into(), "\0".into()),
                ("rev", revision) => spec.start_revision = Revision(revision.parse().expect("a revision")),
                ("no-put", _) => spec.no_put = true,
                ("no-delete", _) => spec.no_delete = true,
                other => panic!("unknown option {other:?}"),
            }
        }
        let current = self.world.revision();
        match self.world.registry.create(spec, current) {
            Ok(id) => {
                self.ids.insert(name.to_string(), id);
                self.names.insert(id, name.to_string());
                self.line(&format!("{name} created at revision {current}"));
            }
            Err(error) => self.line(&format!("{name} refused: {error:?}")),
        }
    }

    fn print_delivery(&mut self, delivery: &Delivery) {
        let mut line = format!("{} revision={}:", self.names[&delivery.watcher], delivery.revision);
        let events = seen(&delivery.events, true);
        match events.as_slice() {
            [first, .., last] if events.len() > 6 => {
                let (first, last) = (show(first), show(last));
                write!(line, " {} events, {first} to {last}", events.len()).expect("writes to memory");
            }
            few => few.iter().for_each(|event| write!(line, " {}", show(event)).expect("writes to memory")),
        }
        self.line(&line);
    }

    fn print_piece(&mut self, piece: &CatchUp) {
        if let Some(delivery) = &piece.delivery {
            self.print_delivery(delivery);
        }
        let name = self.names[&piece.watcher].clone();
        match piece.standing {
            Standing::Behind => self.line(&format!("{name} is behind")),
            Standing::Current => self.line(&format!("{name} is current")),
            Standing::Cancelled(at) => self.line(&format!("{name} cancelled, compacted at {at}")),
        }
    }
}

fn show(event: &Seen) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (key, at) = (text(&event.kv.key), event.kv.mod_revision);
    let prev = match &event.prev {
        Some(prev) => format!("(was {}@{})", text(&prev.value), prev.mod_revision),
        None => String::new(),
    };
    match event.is_delete {
        true => format!("-{key}@{at}{prev}"),
        false => format!("{key}={}@{at}{prev}", text(&event.kv.value)),
    }
}
