//! Runs `testscripts/*.txt`: what is done to a log, and what it then holds.

use crate::support::{Place, entries, options};
use consensus::{Entry, HardState, Position};
use std::fmt::Write;
use wal::{Preparer, Recovered, Wal};

#[test]
fn scripts() {
    let session = || Session { place: Place::new(), wal: None, preparer: None };
    golden::check(env!("CARGO_MANIFEST_DIR"), 5, session, Session::run);
}

struct Session {
    place: Place,
    wal: Option<Wal>,
    preparer: Option<Preparer>,
}

impl Session {
    fn wal(&mut self) -> &mut Wal {
        self.wal.as_mut().expect("the script opens the log first")
    }

    fn run(&mut self, line: &str, out: &mut String) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).expect("a number");
        match words[0] {
            "open" => match self.place.open(options()) {
                Ok((mut wal, recovered)) => {
                    self.preparer = Some(wal.preparer());
                    self.wal = Some(wal);
                    show(&recovered, out);
                }
                Err(fault) => self.refused(&fault.to_string(), out),
            },
            "read" => match self.place.read() {
                Ok(recovered) => show(&recovered, out),
                Err(fault) => self.refused(&fault.to_string(), out),
            },
            // append TERM INDEX DATA...
            "append" => {
                let batch = entries(number(1), number(2), &words[3..]);
                self.wal().append(&batch, None).expect("append");
            }
            // fill TERM INDEX COUNT BYTES
            "fill" => {
                let data = "x".repeat(number(4) as usize);
                let batch = entries(number(1), number(2), &vec![data.as_str(); number(3) as usize]);
                self.wal().append(&batch, None).expect("append");
            }
            // state TERM VOTE COMMIT
            "state" => {
                let state = HardState { term: number(1), vote: number(2), commit: number(3) };
                self.wal().append(&[], Some(state)).expect("append");
            }
            "sync" => writeln!(out, "{} bytes durable", self.wal().sync().expect("sync")).expect("strings grow"),
            "write" => writeln!(out, "{} bytes written", self.wal().write().expect("write")).expect("strings grow"),
            "trim" => self.wal().trim(number(1)),
            "prepare" => self.preparer.as_mut().expect("open").run(false).expect("prepare"),
            "close" => self.wal.take().expect("open").close().expect("close"),
            "kill" => self.wal = None,
            "files" => {
                for (name, bytes) in self.place.image().0 {
                    writeln!(out, "{name} {}", bytes.len()).expect("strings grow");
                }
            }
            // zero FILE FROM TO, set FILE AT BYTE
            "zero" => self.change(words[1], |bytes| bytes[number(2) as usize..number(3) as usize].fill(0)),
            "set" => self.change(words[1], |bytes| bytes[number(2) as usize] = number(3) as u8),
            other => panic!("no command {other}"),
        }
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut [u8])) {
        let mut image = self.place.image();
        let bytes = image.0.get_mut(name).expect("a file");
        change(bytes);
        self.place.put_file(name, bytes);
    }

    fn refused(&self, fault: &str, out: &mut String) {
        let directory = format!("{}/", self.place.path().display());
        writeln!(out, "refused: {}", fault.replace(&directory, "")).expect("strings grow");
    }
}

fn position(at: Position) -> String {
    format!("{}.{}", at.term, at.index)
}

fn show(log: &Recovered, out: &mut String) {
    let HardState { term, vote, commit } = log.hard_state;
    writeln!(out, "term={term} vote={vote} commit={commit} trimmed-to={}", position(log.trimmed_to))
        .expect("strings grow");
    if let Some(torn) = &log.torn {
        let name = torn.path.file_name().unwrap_or_default().to_string_lossy();
        writeln!(out, "torn tail in {name} at {}", torn.offset).expect("strings grow");
    }
    let text = |entry: &Entry| {
        let data = String::from_utf8_lossy(&entry.data);
        let data = if data.len() > 20 { format!("<{} bytes>", data.len()) } else { data.into_owned() };
        format!("{}={data}", position(entry.position()))
    };
    match &log.entries[..] {
        [] => writeln!(out, "no entries"),
        few @ ([_] | [_, _] | [_, _, _] | [_, _, _, _]) => {
            writeln!(out, "{}", few.iter().map(text).collect::<Vec<_>>().join(" "))
        }
        [first, .., last] => writeln!(out, "{} entries, {} to {}", log.entries.len(), text(first), text(last)),
    }
    .expect("strings grow");
}
