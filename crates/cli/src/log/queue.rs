//! The queue between whoever logs and the thread that writes.
//!
//! Bounds: so many records and so many bytes; what does not fit is counted. The writer takes what has gathered and
//! writes it with one call per output, and says how many records are missing before it waits again.

use super::record::{Fields, Level, Record};
use super::{Format, Sink};
use jiff::tz::TimeZone;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

const RECORDS_MAX: usize = 8192;
const BYTES_MAX: usize = 8 << 20;
/// One write gathers about this much.
const BATCH_BYTES: usize = 64 << 10;
/// An output that takes longer is stuck, and the process must still be able to end.
const FLUSH_MAX: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub struct Queue {
    sender: SyncSender<Message>,
    load: Arc<Load>,
}

#[derive(Debug, Default)]
struct Load {
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Record(Record),
    /// Answer when everything before it is written.
    Flush(SyncSender<()>),
}

impl Queue {
    /// Starts the writer; it ends with the process.
    pub fn start(format: Format, sinks: Vec<Sink>) -> io::Result<Queue> {
        let (queue, writer) = Queue::new(format, sinks);
        thread::Builder::new().name("log".to_owned()).spawn(move || writer.run())?;
        Ok(queue)
    }

    fn new(format: Format, sinks: Vec<Sink>) -> (Queue, Writer) {
        let (sender, receiver) = sync_channel(RECORDS_MAX);
        let load = Arc::new(Load::default());
        let writer = Writer { receiver, load: Arc::clone(&load), format, sinks, zone: TimeZone::system() };
        (Queue { sender, load }, writer)
    }

    /// Never waits.
    pub fn push(&self, record: Record) {
        let bytes = record.bytes();
        if self.load.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > BYTES_MAX {
            self.drop_record(bytes);
            return;
        }
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.sender.try_send(Message::Record(record))
        {
            self.drop_record(bytes);
        }
    }

    fn drop_record(&self, bytes: usize) {
        self.load.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.load.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until the writer has written what is queued, at most `FLUSH_MAX`. A full queue is not waited for: its
    /// writer is stuck.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.sender.try_send(Message::Flush(done)).is_ok() {
            // Late or not, there is nothing else to do for the records.
            let _ = written.recv_timeout(FLUSH_MAX);
        }
    }
}

struct Writer {
    receiver: Receiver<Message>,
    load: Arc<Load>,
    format: Format,
    sinks: Vec<Sink>,
    zone: TimeZone,
}

impl Writer {
    fn run(mut self) {
        while let Ok(first) = self.receiver.recv() {
            self.write_batch(first);
        }
    }

    fn write_batch(&mut self, first: Message) {
        let mut batch = Vec::new();
        let mut flushes = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Record(record) => {
                    self.load.bytes.fetch_sub(record.bytes(), Ordering::Relaxed);
                    record.write(self.format, &self.zone, &mut batch);
                }
                Message::Flush(done) => flushes.push(done),
            }
            next = if batch.len() < BATCH_BYTES { self.receiver.try_recv().ok() } else { None };
        }
        match self.load.dropped.swap(0, Ordering::Relaxed) {
            0 => {}
            count => dropped_record(count).write(self.format, &self.zone, &mut batch),
        }
        for sink in &mut self.sinks {
            sink.write(&batch);
        }
        for done in flushes {
            // Whoever waited may have given up.
            let _ = done.send(());
        }
    }
}

fn dropped_record(count: u64) -> Record {
    let mut fields = Fields::default();
    fields.push_plain("dropped-records", count);
    Record::new(Level::Warn, file!(), line!(), "log output is too slow, records were dropped".to_owned(), fields)
}

impl Sink {
    /// Errors are not reported: this is where reports go.
    fn write(&mut self, batch: &[u8]) {
        let _ = match self {
            Sink::Stderr => io::stderr().lock().write_all(batch),
            Sink::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(batch).and_then(|()| stdout.flush())
            }
            Sink::File(file) => file.write_all(batch),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(message: String) -> Record {
        Record::new(Level::Info, "crates/x/src/y.rs", 1, message, Fields::default())
    }

    #[test]
    fn a_stuck_output_drops_and_counts_but_does_not_wait() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let sink = Sink::File(file.reopen().expect("the same file"));
        // The writer does not run yet, as if its output were stuck.
        let (queue, mut writer) = Queue::new(Format::Json, vec![sink]);
        for number in 0..RECORDS_MAX + 5 {
            queue.push(record(number.to_string()));
        }
        while let Ok(message) = writer.receiver.try_recv() {
            writer.write_batch(message);
        }
        let text = std::fs::read_to_string(file.path()).expect("written");
        assert_eq!(text.lines().count(), RECORDS_MAX + 1);
        assert!(text.contains("\"dropped-records\":5}"));
        assert_eq!(queue.load.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let (queue, _writer) = Queue::new(Format::Json, vec![]);
        for _ in 0..1000 {
            queue.push(record("x".repeat(16_000)));
        }
        assert!(queue.load.bytes.load(Ordering::Relaxed) <= BYTES_MAX);
        assert!(queue.load.dropped.load(Ordering::Relaxed) > 400);
    }

    #[test]
    fn flush_waits_for_what_was_pushed() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let sinks = vec![Sink::File(file.reopen().expect("the same file"))];
        let queue = Queue::start(Format::Console, sinks).expect("a thread");
        queue.push(record("the last words".to_owned()));
        queue.flush();
        assert!(std::fs::read_to_string(file.path()).expect("written").contains("the last words"));
    }
}
