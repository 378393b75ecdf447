//! What signals do. Two ask for an orderly end, one asks to read the config file again, and the rest of those that a
//! program of etcd's kind lets pass do nothing: without a handler they would end the process. The system's own meaning
//! stays with the others, such as a core for SIGQUIT.
//!
//! SIGPIPE is not listed: Rust's runtime ignores it.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGUSR1, SIGUSR2, SIGALRM, SIGXCPU, SIGXFSZ (a write says so by itself), SIGVTALRM, SIGPROF, SIGIO, SIGPWR.
const IGNORED: [i32; 9] = [10, 12, 14, 24, 25, 26, 27, 29, 30];
/// The first two real-time signals are the C library's.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// The signal that asked for the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End(i32);

impl Signals {
    /// Takes the place of what the system would do.
    pub fn listen() -> Result<Signals, String> {
        let on = |kind| signal(kind).map_err(|error| format!("listen for signals: {error}"));
        for number in IGNORED.into_iter().chain(REAL_TIME) {
            // The handler stays when the listener goes.
            drop(on(SignalKind::from_raw(number))?);
        }
        Ok(Signals {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hang_up: on(SignalKind::hangup())?,
        })
    }

    /// Waits for the signal that asks for the end.
    pub async fn stop(&mut self) -> End {
        Signals::either(&mut self.terminate, &mut self.interrupt).await
    }

    /// The same, or `None` for the one that asks to read the config file again.
    pub async fn stop_or_reread(&mut self) -> Option<End> {
        tokio::select! {
            end = Signals::either(&mut self.terminate, &mut self.interrupt) => Some(end),
            _ = self.hang_up.recv() => None,
        }
    }

    async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> End {
        let (name, kind) = tokio::select! {
            _ = terminate.recv() => ("terminated", SignalKind::terminate()),
            _ = interrupt.recv() => ("interrupt", SignalKind::interrupt()),
        };
        tracing::info!(signal = name, "received signal; shutting down");
        End(kind.as_raw_value())
    }
}

impl End {
    /// Ends the process by the signal, as etcd ends: a shell then says 143 or 130. The kernel does not end the first
    /// process of a container so, and that one is done with 0.
    pub fn take(self) -> std::process::ExitCode {
        if std::process::id() != 1 && signal_hook::low_level::emulate_default_handler(self.0).is_err() {
            tracing::warn!(signal = self.0, "end by the signal");
        }
        std::process::ExitCode::SUCCESS
    }
}
