//! Pods of jobs that come and go, with or without Kyverno's reports about each of them.
//!
//! Full scale is a cluster of 65 nodes with 300 000 pods a day: 3.47 a second on average, of which 60 % of a minute's
//! come within its first ten seconds. One pod is 25 writes and 71 KB; Kyverno adds 15 writes and 42 KB. Nothing here
//! knows the server: steps follow from seed, scale and what the consumer of reports does.

use crate::objects;
use crate::random::Random;
use crate::step::{self, EVENTS, JOBS, Op, PODS, POLICY_REPORTS, REPORTS, Step};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// What becomes of the reports that each admitted pod makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reports {
    /// Kyverno is not there.
    None,
    /// The reports controller keeps up: each lives 10 to 15 seconds.
    Consumed,
    /// It does not run: they pile up.
    PileUp,
}

const PODS_PER_MINUTE: f64 = 3.47 * 60.0;
const NODES: f64 = 65.0;
const POD_UPDATES: u64 = 7;
const JOB_UPDATES: u64 = 5;
const EVENTS_OF_A_POD: u64 = 9;
const EVENTS_OF_KYVERNO: u64 = 6;
const REPORTS_OF_A_POD: u64 = 2;
const RENEWAL: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Minute,
    NodeLease,
    Pod(u64),
    PodGone,
    Job(u64),
    JobGone,
    Event(u64),
    Report(u64),
    ReportGone(u64),
    /// 0: of the pod, 1: of the job.
    Policy(u64),
    PolicyRescan,
    PolicyGone(u64),
}

/// Ordered by time, then by the order in which things were planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Planned {
    at: Duration,
    sequence: u64,
    number: u64,
    born: Duration,
    stage: Stage,
}

pub struct Churn {
    seed: u64,
    scale: f64,
    reports: Reports,
    planned: BinaryHeap<Reverse<Planned>>,
    sequence: u64,
    pods: u64,
}

impl Churn {
    pub fn new(seed: u64, scale: f64, reports: Reports) -> Churn {
        let mut churn = Churn { seed, scale, reports, planned: BinaryHeap::new(), sequence: 0, pods: 0 };
        churn.plan(Duration::ZERO, 0, Duration::ZERO, Stage::Minute);
        for node in 0..(NODES * scale).ceil() as u64 {
            let at = RENEWAL.mul_f64(node as f64 / (NODES * scale).max(1.0));
            churn.plan(at, node, Duration::ZERO, Stage::NodeLease);
        }
        churn
    }

    fn plan(&mut self, at: Duration, number: u64, born: Duration, stage: Stage) {
        self.sequence += 1;
        self.planned.push(Reverse(Planned { at, sequence: self.sequence, number, born, stage }));
    }

    /// Plans all pods of the minute that begins at `start`, and the next minute.
    fn minute(&mut self, start: Duration) {
        let mut random = Random::of(self.seed, start.as_secs());
        let exact = PODS_PER_MINUTE * self.scale;
        let count = exact as u64 + u64::from(random.unit() < exact.fract());
        for _ in 0..count {
            let offset = if random.unit() < 0.6 { random.between(0.0, 10.0) } else { random.between(10.0, 60.0) };
            self.pod(start + offset);
        }
        self.plan(start + Duration::from_secs(60), 0, Duration::ZERO, Stage::Minute);
    }

    /// Plans the whole life of a pod and its job.
    fn pod(&mut self, born: Duration) {
        self.pods += 1;
        let number = self.pods;
        let mut random = Random::of(self.seed, 1 << 40 | number);
        let life = Duration::from_secs_f64(random.log_normal(45.0, 300.0).clamp(2.0, 3600.0));
        let start = born + random.between(0.0, 0.5);
        let at = |share: f64| start + life.mul_f64(share);
        let mut stages = vec![(at(0.0), Stage::Job(0)), (at(0.01), Stage::Pod(0))];
        stages.extend((1..=POD_UPDATES).map(|n| (at(0.02 + n as f64 / 8.0), Stage::Pod(n))));
        stages.extend((1..=JOB_UPDATES).map(|n| (at(0.05 + n as f64 / 6.0), Stage::Job(n))));
        stages.extend((0..EVENTS_OF_A_POD).map(|n| (at(0.02 + n as f64 / 10.0), Stage::Event(n))));
        let end = at(1.1) + Duration::from_secs(1);
        let job_end = end + random.between(0.0, 300.0);
        stages.extend([(end, Stage::PodGone), (job_end, Stage::JobGone)]);
        if self.reports != Reports::None {
            let first = born + random.between(0.1, 1.0);
            stages.extend((0..EVENTS_OF_KYVERNO).map(|n| (first, Stage::Event(EVENTS_OF_A_POD + n))));
            stages.extend((0..REPORTS_OF_A_POD).map(|n| (first, Stage::Report(n))));
        }
        if self.reports == Reports::Consumed {
            let summed = born + random.between(11.0, 15.0);
            stages.extend((0..REPORTS_OF_A_POD).map(|n| (summed, Stage::ReportGone(n))));
            stages.extend((0..2).map(|n| (summed, Stage::Policy(n))));
            stages.push((summed + random.between(18.0, 22.0), Stage::PolicyRescan));
            let gone = end.max(summed + Duration::from_secs(23));
            stages.extend([(gone, Stage::PolicyGone(0)), (job_end.max(gone), Stage::PolicyGone(1))]);
        }
        for (at, stage) in stages {
            self.plan(at, number, born, stage);
        }
    }

    fn op(&self, planned: &Planned) -> Op {
        let id = step::identity(self.seed, 1, planned.number, planned.born);
        let at = planned.at.as_secs();
        let write = |first: bool, key, value| match first {
            true => Op::Create { key, value, expires: false },
            false => Op::Update { key, value },
        };
        match planned.stage {
            Stage::Pod(n) => write(n == 0, step::key(PODS, &id, "-p"), objects::pod(&id, &id.name, n)),
            Stage::Job(n) => write(n == 0, step::key(JOBS, &id, ""), objects::job(&id, n)),
            Stage::Event(n) => {
                let component = if n < EVENTS_OF_A_POD { "kubelet" } else { "kyverno-admission" };
                let key = step::key(EVENTS, &id, &format!(".{:016x}", planned.sequence << 20));
                Op::Create { key, value: objects::event(&id, n, component), expires: true }
            }
            Stage::Report(n) => {
                write(true, step::uid_key(REPORTS, &id, &format!("-{n}")), objects::ephemeral_report(&id))
            }
            Stage::Policy(n) => {
                let kind = if n == 0 { "Pod" } else { "Job" };
                let key = step::uid_key(POLICY_REPORTS, &id, &format!("-{n}"));
                write(true, key, objects::policy_report(&id, kind, at))
            }
            Stage::PolicyRescan => {
                write(false, step::uid_key(POLICY_REPORTS, &id, "-0"), objects::policy_report(&id, "Pod", at))
            }
            Stage::NodeLease => {
                let id = step::identity(self.seed, 2, planned.number, Duration::ZERO);
                let key = step::uid_key("/registry/leases/kube-node-lease/", &id, "");
                write(planned.at < RENEWAL, key, objects::node_lease(&id, at))
            }
            Stage::PodGone => Op::Delete { key: step::key(PODS, &id, "-p") },
            Stage::JobGone => Op::Delete { key: step::key(JOBS, &id, "") },
            Stage::ReportGone(n) => Op::Delete { key: step::uid_key(REPORTS, &id, &format!("-{n}")) },
            Stage::PolicyGone(n) => Op::Delete { key: step::uid_key(POLICY_REPORTS, &id, &format!("-{n}")) },
            Stage::Minute => unreachable!("minutes are planned, not done"),
        }
    }
}

impl Iterator for Churn {
    type Item = Step;

    /// Never ends: the runner stops at its limit of time or bytes.
    fn next(&mut self) -> Option<Step> {
        loop {
            let Reverse(planned) = self.planned.pop()?;
            if planned.stage == Stage::Minute {
                self.minute(planned.at);
                continue;
            }
            if planned.stage == Stage::NodeLease {
                self.plan(planned.at + RENEWAL, planned.number, Duration::ZERO, Stage::NodeLease);
            }
            return Some(Step { at: planned.at, op: self.op(&planned) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const HOUR: Duration = Duration::from_secs(3600);

    fn hour(reports: Reports) -> Vec<Step> {
        Churn::new(1, 0.02, reports).take_while(|step| step.at < HOUR).collect()
    }

    #[test]
    fn an_hour_has_the_writes_and_bytes_of_the_model() {
        let pods = 3.47 * 3600.0 * 0.02;
        for (reports, writes, kilobytes) in [(Reports::None, 25.0, 70.7), (Reports::Consumed, 40.0, 112.2)] {
            let steps = hour(reports);
            let of_pods: Vec<&Step> = steps
                .iter()
                .filter(|step| {
                    !matches!(&step.op, Op::Update { key, .. } | Op::Create { key, .. }
                if key.starts_with(b"/registry/leases/"))
                })
                .collect();
            let each = of_pods.len() as f64 / pods;
            assert!((writes * 0.9..writes * 1.05).contains(&each), "{reports:?}: {each} writes");
            let bytes = of_pods.iter().map(|step| step.op.bytes()).sum::<u64>() as f64 / pods / 1000.0;
            assert!((kilobytes * 0.8..kilobytes * 1.1).contains(&bytes), "{reports:?}: {bytes} KB");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_load_in_the_order_of_time() {
        let (one, two) = (hour(Reports::Consumed), hour(Reports::Consumed));
        assert_eq!(format!("{:?}", one.last()), format!("{:?}", two.last()));
        assert_eq!(one.len(), two.len());
        assert!(one.is_sorted_by_key(|step| step.at));
    }

    #[test]
    fn only_what_is_there_is_updated_and_deleted() {
        let mut there = HashSet::new();
        for step in hour(Reports::Consumed) {
            match step.op {
                Op::Create { key, .. } => assert!(there.insert(key.clone()), "{key:?} created twice"),
                Op::Update { key, .. } => assert!(there.contains(&key), "{key:?} updated before it was made"),
                Op::Delete { key } => assert!(there.remove(&key), "{key:?} deleted before it was made"),
                op => panic!("{op:?}"),
            }
        }
    }
}
