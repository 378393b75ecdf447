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

#[cfg(test)]
mod tests {
    use crate::log;
    use std::process::Command;

    const CHILD: &str = "BOWLINE_TEST_PANICS";

    /// Does nothing unless it is the child process of the test below.
    #[test]
    fn child() {
        if std::env::var_os(CHILD).is_some() {
            log::start(&log::Options::default()).expect("it is the first in this process");
            tracing::info!("before");
            let panicking =
                std::thread::Builder::new().name("apply".to_owned()).spawn(|| panic!("index {} is\ngone", 7));
            let _ = panicking.expect("a thread").join();
        }
    }

    #[test]
    fn a_panic_in_any_thread_is_one_record_and_the_end() {
        let mut child = Command::new(std::env::current_exe().expect("this test"));
        let child = child.args(["--exact", "log::panic::tests::child", "--nocapture"]).env(CHILD, "1");
        let output = child.output().expect("it runs");
        assert_eq!(output.status.code(), None, "it aborts");
        let text = String::from_utf8(output.stderr).expect("texts are UTF-8");
        let records: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(records.len(), 2, "{text}");
        assert_eq!(records[0]["msg"], "before");
        assert_eq!((&records[1]["level"], &records[1]["msg"]), (&"panic".into(), &"index 7 is\ngone".into()));
        assert_eq!(records[1]["thread"], "apply");
        assert!(records[1]["at"].as_str().is_some_and(|at| at.starts_with("crates/cli/src/log/panic.rs:")));
    }
}
