//! A panic anywhere ends the process, and its last record says where and why.

use super::QUEUE;
use super::record::{Fields, Level, Record};
use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;

pub fn install() {
    std::panic::set_hook(Box::new(|panic| {
        report(panic);
        std::process::abort();
    }));
}

fn report(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message =
        payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("panic without a message");
    let (file, line) = panic.location().map_or(("unknown", 0), |at| (at.file(), at.line()));
    let thread = std::thread::current();
    let mut fields = Fields::default();
    fields.push_text("thread", thread.name().unwrap_or("unnamed"));
    // The location's text lives only as long as the hook runs; the record keeps what it needs of it as a field.
    fields.push_text("at", &format!("{file}:{line}"));
    fields.push_text("stacktrace", &Backtrace::force_capture().to_string());
    if let Some(queue) = QUEUE.get().filter(|_| thread.name() != Some("log")) {
        queue.push(Record::new(Level::Panic, file!(), line!(), message.to_owned(), fields));
        queue.flush();
    } else {
        eprintln!("panic: {message} at {file}:{line}");
    }
}
