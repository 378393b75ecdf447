//! Times: from numbers of milliseconds and nanoseconds to `Timing` and `Keepalive`.

use super::{Keepalive, PROGRESS_INTERVAL_DEFAULT, PROGRESS_INTERVAL_MIN, REQUEST_TIMEOUT_BASE, Timing, bounded};
use crate::flags::Settings;
use std::time::Duration;

pub fn timing(settings: &Settings) -> Result<Timing, String> {
    let heartbeat_ms: u64 = bounded(settings.number("heartbeat-interval"));
    let election_ms: u64 = bounded(settings.number("election-timeout"));
    if election_ms < 5 * heartbeat_ms {
        return Err(format!(
            "--election-timeout[{election_ms}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat_ms}ms]"
        ));
    }
    Ok(Timing {
        tick: Duration::from_millis(heartbeat_ms),
        election_ticks: bounded((election_ms / heartbeat_ms).into()),
        request_timeout: REQUEST_TIMEOUT_BASE + Duration::from_millis(2 * election_ms),
        watch_progress_interval: match duration(settings, "watch-progress-notify-interval") {
            Duration::ZERO => PROGRESS_INTERVAL_DEFAULT,
            interval => interval.max(PROGRESS_INTERVAL_MIN),
        },
        warning_apply: duration(settings, "warning-apply-duration"),
        warning_unary: duration(settings, "warning-unary-request-duration"),
    })
}

pub fn keepalive(settings: &Settings) -> Keepalive {
    let unless_zero = |name| Some(duration(settings, name)).filter(|duration| !duration.is_zero());
    Keepalive {
        client_ping_interval_min: duration(settings, "grpc-keepalive-min-time"),
        interval: unless_zero("grpc-keepalive-interval"),
        timeout: unless_zero("grpc-keepalive-timeout"),
    }
}

fn duration(settings: &Settings, name: &str) -> Duration {
    Duration::from_nanos(bounded(settings.number(name)))
}

/// A duration for an error message, with the largest unit that leaves no fraction.
pub fn text(nanoseconds: i128) -> String {
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];
    match units.into_iter().find(|(unit, _)| nanoseconds % unit == 0) {
        Some((unit, name)) => format!("{}{name}", nanoseconds / unit),
        None => format!("{nanoseconds}ns"),
    }
}
