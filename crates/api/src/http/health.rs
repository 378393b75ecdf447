//! `/health`, `/livez` and `/readyz`: alarms, leader, and whether reads work.

use super::{Head, NO_SNIFF, TEXT, error, method_not_allowed};
use crate::call::{self, Rim};
use crate::metrics::{Check, RequestType};
use crate::status::Status;
use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use model::{AlarmKind, KeyRange, Range};
use node::{Ailment, SickDisk};
use std::fmt::Write;
use std::time::Instant;

async fn run_check(rim: &Rim, check: Check) -> Result<(), String> {
    match check {
        Check::LiveSerializableRead | Check::ReadySerializableRead => {
            match sick_disk(rim, |sick| sick >= Ailment::Stuck) {
                Some(sick) => Err(sick.to_string()),
                None => said(read(rim, true).await),
            }
        }
        Check::ReadyLinearizableRead => said(read(rim, false).await),
        Check::ReadyDataCorruption if rim.node.view().alarms().is_active(AlarmKind::Corrupt) => {
            Err("alarm activated: CORRUPT".to_string())
        }
        Check::ReadyDataCorruption => Ok(()),
        Check::ReadyNonLearner if is_learner(rim) => Err("not supported for learner".to_string()),
        Check::ReadyNonLearner => Ok(()),
    }
}

/// The worst disk of those that are meant. Where nothing but a new start or another disk may help, liveness is to ask
/// for one, although reads are served. A disk that is full or read-only is not helped by that, and reads and deletions
/// go on: that is for `/health` alone.
fn sick_disk(rim: &Rim, is_meant: impl Fn(Ailment) -> bool) -> Option<SickDisk> {
    let sick = rim.node.status().sick_disks.into_iter().flatten();
    sick.filter(|sick| is_meant(sick.trouble.ailment)).max_by_key(|sick| sick.trouble.ailment)
}

fn is_learner(rim: &Rim) -> bool {
    let (view, member) = (rim.node.view(), rim.node.member());
    view.membership().members().any(|known| known.id == member && known.is_learner)
}

/// A read of a key, counted and measured as one of a client.
async fn read(rim: &Rim, is_serializable: bool) -> Result<(), Status> {
    let started = Instant::now();
    let view = if is_serializable { Ok(rim.node.view()) } else { rim.node.read_barrier().await };
    let request = Range { limit: 1, keys_only: true, ..Range::new(KeyRange::single("")) };
    let result = view.map_err(Status::from).and_then(|view| call::range(rim, &view, &request));
    rim.metrics.request(RequestType::Range, result.is_ok(), started.elapsed());
    result.map(|_| ())
}

fn said(read: Result<(), Status>) -> Result<(), String> {
    read.map_err(|status| status.message.into_owned())
}

pub(super) async fn health(rim: &Rim, head: &Head) -> Response<Bytes> {
    if head.method != Method::GET {
        return method_not_allowed();
    }
    let reason = unhealthy_because(rim, head).await;
    let http = &rim.shared.http;
    match reason {
        None => {
            http.health_succeeded.increment();
            let mut response = Response::new(Bytes::from_static(br#"{"health":"true","reason":""}"#));
            response.headers_mut().insert(header::CONTENT_TYPE, TEXT);
            response
        }
        Some(reason) => {
            http.health_failed.increment();
            tracing::warn!(reason, "serving /health false");
            let body = format!("{{\"health\":\"false\",\"reason\":\"{}\"}}\n", escape(&reason));
            error(StatusCode::SERVICE_UNAVAILABLE, body)
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

async fn unhealthy_because(rim: &Rim, head: &Head) -> Option<String> {
    let excluded: Vec<String> = head.values("exclude").collect();
    let serializable = head.values("serializable").next().is_some_and(|value| value == "true");
    let view = rim.node.view();
    let mut alarms = view.alarms().iter().map(|alarm| match alarm.kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
        AlarmKind::None => "UNKNOWN",
    });
    if let Some(alarm) = alarms.find(|alarm| !excluded.iter().any(|excluded| excluded == alarm)) {
        return Some(format!("ALARM {alarm}"));
    }
    drop(alarms);
    // What liveness asks for does not mean a disk that a restart does not help.
    let ignores_full = excluded.iter().any(|excluded| excluded == "NOSPACE");
    let is_meant = |ailment| match ailment {
        Ailment::Full => !ignores_full && !serializable,
        Ailment::ReadOnly => !serializable,
        Ailment::Stuck | Ailment::Failing | Ailment::Failed => true,
    };
    if let Some(sick) = sick_disk(rim, is_meant) {
        return Some(format!("DISK: {sick}"));
    }
    if let Some(why) = rim.node.halted_because() {
        return Some(format!("damaged record: {why}"));
    }
    if !serializable && rim.node.status().leader.is_none() {
        return Some("RAFT NO LEADER".to_string());
    }
    read(rim, serializable).await.err().map(|status| format!("RANGE ERROR:{}", status.message))
}

/// The checks behind a path, and whether it is the one of all of them.
pub(super) struct Checks {
    checks: Vec<Check>,
    is_root: bool,
}

pub(super) fn checks_of(path: &str) -> Option<Checks> {
    let path = path.strip_prefix('/')?;
    let (endpoint, name) = path.split_once('/').map_or((path, None), |(endpoint, name)| (endpoint, Some(name)));
    let of_path = |check: &Check| check.endpoint() == endpoint && name.is_none_or(|name| check.name() == name);
    let checks: Vec<Check> = Check::ALL.into_iter().filter(of_path).collect();
    (!checks.is_empty()).then_some(Checks { checks, is_root: name.is_none() })
}

pub(super) async fn run(rim: &Rim, head: &Head, checks: Checks) -> Response<Bytes> {
    if head.method != Method::GET {
        return method_not_allowed();
    }
    // A single check cannot be excluded from itself.
    let excluded: Vec<String> = if checks.is_root { head.values("exclude").collect() } else { Vec::new() };
    let (mut lines, mut failed) = (String::new(), false);
    for check in checks.checks {
        if excluded.iter().any(|excluded| excluded == check.name()) {
            continue;
        }
        let result = run_check(rim, check).await;
        count(rim, check, result.is_ok());
        // Writing to a string cannot fail.
        let _ = match &result {
            Ok(()) => writeln!(lines, "[+]{} ok", check.name()),
            Err(reason) => writeln!(lines, "[-]{} failed: {reason}", check.name()),
        };
        failed |= result.is_err();
    }
    if failed {
        tracing::error!(path = head.path, reason = lines, "Health check error");
        return error(StatusCode::SERVICE_UNAVAILABLE, lines + "\n");
    }
    let is_verbose = head.values("verbose").next().is_some();
    let mut response = Response::new(Bytes::from(if is_verbose { lines + "ok\n" } else { "ok\n".to_string() }));
    response.headers_mut().insert(header::CONTENT_TYPE, TEXT);
    let (name, value) = NO_SNIFF;
    response.headers_mut().insert(name, value);
    response
}

fn count(rim: &Rim, check: Check, is_ok: bool) {
    let Some(metrics) = rim.shared.http.checks.get(check as usize) else { return };
    metrics.is_ok.set(is_ok.into());
    if is_ok { &metrics.succeeded } else { &metrics.failed }.increment();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_checks() {
        let names = |path| checks_of(path).map(|checks| checks.checks.iter().map(|check| check.name()).collect());
        assert_eq!(names("/livez"), Some(vec!["serializable_read"]));
        let all = vec!["data_corruption", "serializable_read", "linearizable_read", "non_learner"];
        assert_eq!(names("/readyz"), Some(all));
        assert_eq!(names("/readyz/linearizable_read"), Some(vec!["linearizable_read"]));
        for unknown in ["/livez/linearizable_read", "/readyz/", "/readyz/nope", "/healthz", "livez", "/"] {
            assert_eq!(names(unknown), None, "{unknown}");
        }
    }
}
