//! What a workload does and when: steps in virtual time, produced one by one so that hours of load need no memory.

use crate::objects::{self, Identity};
use crate::random::Random;
use bytes::Bytes;
use std::time::Duration;

/// One thing that a client of the store does.
#[derive(Debug, Clone)]
pub enum Op {
    /// Create, as the API server does: only if the key is not there. `expires`: under a lease shared with its
    /// neighbours in time.
    Create { key: Bytes, value: Bytes, expires: bool },
    /// Guarded update of a key that this run wrote.
    Update { key: Bytes, value: Bytes },
    /// Guarded delete of a key that this run wrote.
    Delete { key: Bytes },
    /// Delete of all keys that begin so, in one request.
    DeletePrefix { prefix: Bytes },
    /// kube-apiserver's round: write `compact_rev_key`, compact to the revision remembered at the round before.
    CompactRound,
    /// Compact to the current revision.
    CompactAll,
    /// Wait until no key begins so; fails after `within` of real time.
    AwaitGone { prefix: Bytes, within: Duration },
    /// Nothing for this much real time.
    Rest(Duration),
}

impl Op {
    /// Bytes of keys and values that go to the server.
    pub fn bytes(&self) -> u64 {
        let length = match self {
            Op::Create { key, value, .. } | Op::Update { key, value } => key.len() + value.len(),
            Op::Delete { key } => key.len(),
            Op::DeletePrefix { prefix } => prefix.len(),
            Op::CompactRound | Op::CompactAll | Op::AwaitGone { .. } | Op::Rest(_) => 0,
        };
        length as u64
    }
}

/// An operation at its place in virtual time.
#[derive(Debug, Clone)]
pub struct Step {
    pub at: Duration,
    pub op: Op,
}

pub type Steps = Box<dyn Iterator<Item = Step> + Send>;

/// Operations one after the other, `per_second` of them.
pub fn paced(per_second: f64, ops: impl Iterator<Item = Op> + Send + 'static) -> Steps {
    Box::new(
        ops.enumerate().map(move |(number, op)| Step { at: Duration::from_secs_f64(number as f64 / per_second), op }),
    )
}

/// A compaction round of the API server after each `period` of virtual time.
pub fn with_compaction(steps: Steps, period: Duration) -> Steps {
    let mut rounds = 0;
    Box::new(steps.flat_map(move |step| {
        let mut out = Vec::with_capacity(1);
        if step.at >= period * (rounds + 1) {
            rounds += 1;
            out.push(Step { at: step.at, op: Op::CompactRound });
        }
        out.push(step);
        out
    }))
}

pub const REPORTS: &str = "/registry/reports.kyverno.io/ephemeralreports/";
pub const POLICY_REPORTS: &str = "/registry/wgpolicyk8s.io/policyreports/";
pub const EVENTS: &str = "/registry/events/";
pub const PODS: &str = "/registry/pods/";
pub const JOBS: &str = "/registry/jobs/";

pub fn key(prefix: &str, id: &Identity, ending: &str) -> Bytes {
    format!("{prefix}{}/{}{ending}", id.namespace, id.name).into()
}

/// The key of what is named by its resource's uid.
pub fn uid_key(prefix: &str, id: &Identity, ending: &str) -> Bytes {
    format!("{prefix}{}/{}{ending}", id.namespace, id.uid).into()
}

/// The `number`th object of its kind; the same for the same seed.
pub fn identity(seed: u64, purpose: u64, number: u64, born: Duration) -> Identity {
    let mut random = Random::of(seed, purpose << 48 ^ number);
    let namespace = format!("pipeline-{:02}", random.below(40));
    let name = format!("transcode-{}-{}", 28_437_120 + born.as_secs() / 60, random.suffix());
    Identity { namespace, name, uid: random.uid(), node: random.below(65), born: born.as_secs() }
}

/// What a cluster of 65 nodes and 3 000 pods holds before the load begins, about 90 MB times `scale`.
pub fn prefill(seed: u64, scale: f64) -> impl Iterator<Item = Op> {
    let count = move |full: f64| (full * scale).ceil() as u64;
    let create = |key, value| Op::Create { key, value, expires: false };
    let pods = (0..count(3000.0)).map(move |n| {
        let id = identity(seed, 100, n, Duration::ZERO);
        create(key(PODS, &id, "-old"), objects::pod(&id, "resident", 4))
    });
    let reports = (0..count(6000.0)).map(move |n| {
        let id = identity(seed, 101, n, Duration::ZERO);
        create(uid_key(POLICY_REPORTS, &id, ""), objects::policy_report(&id, "Pod", 0))
    });
    let documents = [
        ("ConfigMap", "/registry/configmaps/", 2000.0, 2048.0, 8192.0),
        ("ReplicaSet", "/registry/replicasets/", 1500.0, 4096.0, 5000.0),
        (
            "CustomResourceDefinition",
            "/registry/apiextensions.k8s.io/customresourcedefinitions/",
            400.0,
            25_000.0,
            100_000.0,
        ),
        ("Node", "/registry/minions/", 65.0, 15_000.0, 16_000.0),
    ];
    let documents = documents.into_iter().enumerate().flat_map(move |(at, (kind, prefix, full, median, p95))| {
        (0..count(full)).map(move |n| {
            let id = identity(seed, 102 + at as u64, n, Duration::ZERO);
            let bytes = Random::of(seed, n).log_normal(median, p95).min(400_000.0) as usize;
            create(uid_key(prefix, &id, ""), objects::document(kind, &id, bytes, 0))
        })
    });
    pods.chain(reports).chain(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefill_has_the_size_it_says_and_no_key_twice() {
        let ops: Vec<Op> = prefill(1, 0.1).collect();
        let bytes: u64 = ops.iter().map(Op::bytes).sum();
        assert!((7_000_000..11_000_000).contains(&bytes), "{bytes}");
        let mut keys: Vec<_> =
            ops.iter().map(|op| if let Op::Create { key, .. } = op { key } else { panic!("{op:?}") }).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), ops.len());
    }
}
