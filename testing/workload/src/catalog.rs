//! The workloads by name: what they fill, what they do, and when they end. Full scale is the cluster that `churn`
//! describes.

use crate::churn::{Churn, Reports};
use crate::objects;
use crate::random::Random;
use crate::run::{Limits, Pace, UNLIMITED};
use crate::step::{self, EVENTS, Op, PODS, POLICY_REPORTS, Step, Steps};
use bytes::Bytes;
use std::time::Duration;

/// What may be said about a workload from outside. Zero means the workload's own choice.
#[derive(Debug, Clone, Copy)]
pub struct Parameters {
    pub seed: u64,
    /// 1: 65 nodes and 300 000 pods a day.
    pub scale: f64,
    /// Virtual seconds per second.
    pub speed: f64,
    /// Bytes to write in all.
    pub bytes: u64,
    /// Real time after which it ends.
    pub seconds: u64,
}

pub struct Plan {
    /// Written before anything is measured.
    pub fill: Box<dyn Iterator<Item = Op> + Send>,
    pub steps: Steps,
    pub pace: Pace,
    pub limits: Limits,
}

pub struct Workload {
    pub name: &'static str,
    pub about: &'static str,
    /// An API server reads beside it.
    pub readers: bool,
    pub plan: fn(&Parameters) -> Plan,
}

pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "churn",
        about: "pods of jobs come and go",
        readers: true,
        plan: |given| churn(given, Reports::None),
    },
    Workload {
        name: "kyverno",
        about: "the same with Kyverno's reports and events, in bursts",
        readers: true,
        plan: |given| churn(given, Reports::Consumed),
    },
    Workload {
        name: "pile-up",
        about: "reports are made and never consumed, until the quota refuses",
        readers: true,
        plan: pile_up,
    },
    Workload {
        name: "event-storm",
        about: "events under shared leases at full speed, then all expire",
        readers: true,
        plan: event_storm,
    },
    Workload {
        name: "rewrite",
        about: "every policy report rewritten in place, timestamps only",
        readers: true,
        plan: rewrite,
    },
    Workload {
        name: "overwrite",
        about: "uniform overwrites, the worst case for cleaning",
        readers: false,
        plan: |given| overwrite(given, true),
    },
    Workload {
        name: "overwrite-kept",
        about: "the same and never compacted: what the writes cost without garbage",
        readers: false,
        plan: |given| overwrite(given, false),
    },
    Workload { name: "big-values", about: "values of 1 MiB overwritten", readers: false, plan: big_values },
    Workload {
        name: "delete-all",
        about: "a full store deleted and compacted at once, then silence",
        readers: false,
        plan: delete_all,
    },
];

/// kube-apiserver's.
const COMPACTION: Duration = Duration::from_secs(300);
/// Of events.
const TIME_TO_LIVE: Duration = Duration::from_secs(3600);
const HOUR: Duration = Duration::from_secs(3600);
/// Neither etcd nor Bowline grants less.
const TIME_TO_LIVE_MIN: Duration = Duration::from_secs(2);

fn pace(speed: f64) -> Pace {
    Pace { speed, time_to_live: TIME_TO_LIVE.div_f64(speed).max(TIME_TO_LIVE_MIN) }
}

/// The given limits, or else this much virtual time.
fn limits(given: &Parameters, virtual_time: Duration) -> Limits {
    let chosen = given.bytes > 0 || given.seconds > 0;
    Limits {
        virtual_time: if chosen { Duration::MAX } else { virtual_time },
        real_time: if given.seconds > 0 { Duration::from_secs(given.seconds) } else { Duration::MAX },
        bytes: if given.bytes > 0 { given.bytes } else { u64::MAX },
        at_refusal: false,
    }
}

fn speed_or(given: &Parameters, speed: f64) -> f64 {
    if given.speed > 0.0 { given.speed } else { speed }
}

fn nothing() -> Box<dyn Iterator<Item = Op> + Send> {
    Box::new(std::iter::empty())
}

fn churn(given: &Parameters, reports: Reports) -> Plan {
    Plan {
        fill: Box::new(step::prefill(given.seed, given.scale)),
        steps: step::with_compaction(Box::new(Churn::new(given.seed, given.scale, reports)), COMPACTION),
        pace: pace(speed_or(given, 1.0)),
        limits: limits(given, HOUR),
    }
}

fn pile_up(given: &Parameters) -> Plan {
    let plan = churn(given, Reports::PileUp);
    let limits = Limits { at_refusal: true, virtual_time: Duration::MAX, ..plan.limits };
    let pace = Pace { speed: given.speed, ..pace(speed_or(given, 600.0)) };
    Plan { limits, pace, ..plan }
}

fn event_storm(given: &Parameters) -> Plan {
    let (seed, events) = (given.seed, (190_000.0 * given.scale) as u64);
    let creates = (0..events).map(move |n| {
        let id = step::identity(seed, 3, n, Duration::from_secs(n / 1000));
        let key = step::key(EVENTS, &id, &format!(".{n:016x}"));
        Op::Create { key, value: objects::event(&id, n, "kyverno-admission"), expires: true }
    });
    let within = Duration::from_secs(120);
    let end = [Op::AwaitGone { prefix: EVENTS.into(), within }, Op::CompactAll, Op::Rest(Duration::from_secs(3))];
    Plan {
        fill: Box::new(step::prefill(seed, given.scale)),
        steps: step::paced(1000.0, creates.chain(end)),
        pace: Pace { speed: given.speed, time_to_live: Duration::from_secs(10) },
        limits: limits(given, Duration::MAX),
    }
}

/// Keys written by `fill` are known to the run only if it wrote them itself: these workloads begin with their creates.
fn rewrite(given: &Parameters) -> Plan {
    let (seed, count) = (given.seed, (6000.0 * given.scale).ceil() as u64);
    let report = move |n: u64, scan: u64| {
        let id = step::identity(seed, 4, n, Duration::ZERO);
        (step::uid_key(POLICY_REPORTS, &id, ""), objects::policy_report(&id, "Pod", scan))
    };
    let creates = (0..count).map(move |n| {
        let (key, value) = report(n, 0);
        Op::Create { key, value, expires: false }
    });
    // One scan an hour, and the API server compacts twelve times in it: here, once after every scan.
    let scans = (1u64..).flat_map(move |scan| {
        let updates = (0..count).map(move |n| {
            let (key, value) = report(n, scan * 3600);
            Op::Update { key, value }
        });
        updates.chain([Op::CompactRound])
    });
    Plan {
        fill: nothing(),
        steps: step::paced(100.0, creates.chain(scans)),
        pace: Pace { speed: given.speed, ..pace(1.0) },
        limits: limits(given, Duration::from_secs(600)),
    }
}

/// Creates of `count` keys, then overwrites drawn by chance; if it compacts, a round whenever a third of them was
/// written again.
fn overwrites(
    given: &Parameters,
    count: u64,
    compacts: bool,
    value: impl Fn(u64, u64) -> (Bytes, Bytes) + Clone + Send + 'static,
) -> Steps {
    let mut random = Random::of(given.seed, 5);
    let first = value.clone();
    let creates = (0..count).map(move |n| {
        let (key, value) = first(n, 0);
        Op::Create { key, value, expires: false }
    });
    let round = (count / 3).max(1);
    let updates = (1u64..).flat_map(move |number| {
        let (key, value) = value(random.below(count), number);
        let compaction = (compacts && number.is_multiple_of(round)).then_some(Op::CompactRound);
        std::iter::once(Op::Update { key, value }).chain(compaction)
    });
    step::paced(1000.0, creates.chain(updates))
}

fn overwrite(given: &Parameters, compacts: bool) -> Plan {
    let (seed, count) = (given.seed, (40_000.0 * given.scale).ceil() as u64);
    let steps = overwrites(given, count, compacts, move |n, change| {
        let id = step::identity(seed, 6, n, Duration::ZERO);
        (step::key(PODS, &id, "-o"), objects::pod(&id, "uniform", 2 + change % 6))
    });
    let limits = limits(given, Duration::from_secs(600));
    Plan { fill: nothing(), steps, pace: Pace { speed: given.speed, ..pace(1.0) }, limits }
}

fn big_values(given: &Parameters) -> Plan {
    const BYTES: usize = 1 << 20;
    let (seed, count) = (given.seed, (200.0 * given.scale).ceil() as u64);
    let steps = overwrites(given, count, true, move |n, change| {
        let id = step::identity(seed, 7, n, Duration::ZERO);
        (step::uid_key("/registry/secrets/", &id, ""), objects::document("Secret", &id, BYTES, change))
    });
    let limits = limits(given, Duration::from_secs(2));
    Plan { fill: nothing(), steps, pace: Pace { speed: given.speed, ..pace(1.0) }, limits }
}

fn delete_all(given: &Parameters) -> Plan {
    let seed = given.seed;
    let ops = [
        Op::Rest(Duration::from_secs(1)),
        Op::DeletePrefix { prefix: "/registry/".into() },
        Op::CompactAll,
        Op::Rest(Duration::from_secs(5)),
    ];
    let steps: Steps = Box::new(ops.into_iter().map(|op| Step { at: Duration::ZERO, op }));
    Plan { fill: Box::new(step::prefill(seed, given.scale)), steps, pace: pace(1.0), limits: UNLIMITED }
}
