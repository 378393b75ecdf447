//! The night that Bowline exists for: reports pile up until the store refuses to grow, and somebody has to dig it out.
//!
//! On etcd this shows the known sequence: deleting is not enough, compacting is not enough, defragmenting is not
//! enough, only disarming brings writes back. On Bowline deleting is enough, the end of a flood that left history is
//! enough, and the old runbook's commands succeed on the way.

use crate::catalog::{Parameters, WORKLOADS};
use crate::check::Checks;
use crate::client::{Client, Refusal};
use crate::measure::{MARGIN, Target};
use crate::objects;
use crate::run::{self, Limits, Pace};
use crate::step::{self, Op, POLICY_REPORTS, REPORTS};
use bytes::Bytes;
use harness::{Kind, Server};
use std::time::{Duration, Instant};

/// Writes are back within this.
const BACK_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);
/// A write that grows: a config map of this size.
const GROWTH_BYTES: usize = 4096;

pub async fn incident(target: &Target, seed: u64, quota: u64, checks: &mut Checks) {
    match target.kind {
        Kind::Etcd => on_etcd(target, seed, quota, checks).await,
        Kind::Bowline => {
            deleting_is_enough(target, seed, quota, checks).await;
            the_end_of_a_flood_is_enough(target, seed, quota, checks).await;
            old_runbooks_succeed(target, seed, quota, checks).await;
        }
    }
}

async fn on_etcd(target: &Target, seed: u64, quota: u64, checks: &mut Checks) {
    println!("etcd, quota {} MiB: the known sequence", quota >> 20);
    let (server, mut client) = piled_up(target, seed, quota, checks).await;
    checks.that(rewrite(&mut client).await == Err(Refusal::NoSpace), "a rewrite of the same size", "refused");
    checks.that(
        client.claim_round(0, 0).await == Err(Refusal::NoSpace),
        "the API server's compaction round",
        "refused",
    );
    let deleted = client.delete_prefix(REPORTS.as_bytes()).await;
    let back = back_within(&mut client, BACK_WITHIN).await;
    checks.that(deleted.is_ok() && back.is_none(), "deleting the reports is not enough", seconds(back));
    let revision = client.revision().await.unwrap_or_default();
    let compacted = client.compact(revision, true).await;
    let back = back_within(&mut client, Duration::from_secs(1)).await;
    checks.that(compacted.is_ok() && back.is_none(), "compacting is not enough", seconds(back));
    let probe = crate::observe::probe(&server);
    tokio::time::sleep(MARGIN).await;
    let began = Instant::now();
    let defragmented = client.defragment().await;
    let took = began.elapsed();
    let foreground = probe.stop();
    let back = back_within(&mut client, Duration::from_secs(1)).await;
    let gets = foreground.get_samples.iter().map(|(_, ms)| *ms).fold(0.0, f64::max);
    let seen = format!("{took:.0?}, gets waited up to {gets:.0} ms, {} failed, {}", foreground.errors, seconds(back));
    checks.that(defragmented.is_ok() && back.is_none(), "defragmenting is not enough", seen);
    let disarmed = client.disarm().await;
    let back = back_within(&mut client, BACK_WITHIN).await;
    checks.that(disarmed.is_ok() && back.is_some(), "disarming the alarm brings writes back", seconds(back));
}

async fn deleting_is_enough(target: &Target, seed: u64, quota: u64, checks: &mut Checks) {
    println!("Bowline, quota {} MiB: deleting the reports", quota >> 20);
    let (_server, mut client) = piled_up(target, seed, quota, checks).await;
    let rewritten = rewrite(&mut client).await;
    checks.that(rewritten.is_ok(), "a rewrite of the same size is served", outcome(&rewritten));
    let round = client.claim_round(0, 0).await.map(|_| ());
    checks.that(round.is_ok(), "the API server's compaction round is served", outcome(&round));
    let deleted = client.delete_prefix(REPORTS.as_bytes()).await;
    let back = back_within(&mut client, BACK_WITHIN).await;
    checks.that(back.is_some(), "deleting the reports brings writes back within 5 s", seconds(back));
    checks.that(matches!(deleted, Ok(1..)), "reports deleted", format!("{deleted:?}"));
    let alarms = client.alarms().await;
    checks.that(alarms == Ok(0), "the alarm went by itself", format!("{alarms:?} left"));
}

/// Policy reports are rewritten and nobody compacts: what fills the quota is history.
async fn the_end_of_a_flood_is_enough(target: &Target, seed: u64, quota: u64, checks: &mut Checks) {
    println!("Bowline, quota {} MiB: a flood that leaves history ends", quota >> 20);
    let server = target.start(quota, &[]).await;
    let keys = 200;
    let scans = (0u64..).flat_map(move |scan| {
        (0..keys).map(move |n| {
            let id = step::identity(seed, 8, n, Duration::ZERO);
            let key = step::uid_key(POLICY_REPORTS, &id, "");
            let value = objects::policy_report(&id, "Pod", scan * 3600);
            if scan == 0 { Op::Create { key, value, expires: false } } else { Op::Update { key, value } }
        })
    });
    let limits = Limits { bytes: quota * 2, at_refusal: true, ..run::UNLIMITED };
    let pace = Pace { speed: 0.0, time_to_live: Duration::from_secs(3600) };
    let tally = run::run(&server, step::paced(1000.0, scans), pace, limits).await;
    let mut client = Client::new(server.channel().await);
    let seen = format!("{} refused, {} failed of {} writes", tally.refused, tally.failed, tally.writes);
    checks.that(tally.failed == 0, "nothing but space refuses writes", seen);
    let back = back_within(&mut client, BACK_WITHIN).await;
    checks.that(back.is_some(), "the mere end of the flood brings writes back within 5 s", seconds(back));
}

async fn old_runbooks_succeed(target: &Target, seed: u64, quota: u64, checks: &mut Checks) {
    println!("Bowline, quota {} MiB: the runbook for etcd", quota >> 20);
    let (_server, mut client) = piled_up(target, seed, quota, checks).await;
    let revision = client.revision().await.unwrap_or_default();
    for (what, done) in [
        ("compact", client.compact(revision, true).await),
        ("defrag", client.defragment().await),
        ("alarm disarm", client.disarm().await),
        ("delete the reports", client.delete_prefix(REPORTS.as_bytes()).await.map(|_| ())),
        ("compact again", client.compact(revision + 1, true).await),
        ("defrag again", client.defragment().await),
        ("alarm disarm again", client.disarm().await),
    ] {
        checks.that(done.is_ok(), what, outcome(&done));
    }
    let back = back_within(&mut client, BACK_WITHIN).await;
    checks.that(back.is_some(), "writes are back", seconds(back));
}

/// A server on which reports piled up until it refused to grow, and what everybody sees then.
async fn piled_up(target: &Target, seed: u64, quota: u64, checks: &mut Checks) -> (Server, Client) {
    let server = target.start(quota, &[]).await;
    let mut client = Client::new(server.channel().await);
    let lease = client.put("/registry/leases/kube-node-lease/probe".into(), vec![b'l'; 600].into()).await;
    let workload = WORKLOADS.iter().find(|workload| workload.name == "pile-up").expect("the catalog has it");
    // So small a cluster that its prefill leaves most of the quota to the reports.
    let scale = (quota >> 20) as f64 / 2048.0;
    let given = Parameters { seed, scale, speed: 0.0, bytes: 0, seconds: 0 };
    let plan = (workload.plan)(&given);
    run::fill(&server, plan.fill).await;
    let tally = run::run(&server, plan.steps, plan.pace, Limits { bytes: quota * 16, ..plan.limits }).await;
    let seen = format!("after {} writes, {} MiB in {:.1} s", tally.writes, tally.bytes >> 20, tally.seconds);
    checks.that(lease.is_ok() && tally.refused > 0 && tally.failed == 0, "reports pile up until one is refused", seen);
    let put = grow(&mut client).await;
    checks.that(put == Err(Refusal::NoSpace), "a growing write is refused with etcd's text", outcome(&put));
    let alarms = client.alarms().await;
    let status = client.status().await.map(|status| status.errors).unwrap_or_default();
    let shows = alarms == Ok(1) && status.iter().any(|error| error.contains("NOSPACE"));
    checks.that(shows, "the alarm shows", format!("{alarms:?} in the list, status {status:?}"));
    let read = client.get("/registry/leases/kube-node-lease/probe".into()).await;
    checks.that(matches!(read, Ok(Some(_))), "reads are served", if read.is_ok() { "yes" } else { "no" });
    (server, client)
}

/// A node says that it lives.
async fn rewrite(client: &mut Client) -> Result<(), Refusal> {
    client.put("/registry/leases/kube-node-lease/probe".into(), vec![b'm'; 600].into()).await.map(|_| ())
}

async fn grow(client: &mut Client) -> Result<(), Refusal> {
    let value: Bytes = vec![b'g'; GROWTH_BYTES].into();
    let key = format!("/registry/configmaps/default/grow-{:?}", Instant::now());
    client.put(key.into(), value).await.map(|_| ())
}

/// How long until a growing write is served; none if it is not by `limit`.
async fn back_within(client: &mut Client, limit: Duration) -> Option<Duration> {
    let began = Instant::now();
    let mut ticks = tokio::time::interval(POLL);
    while began.elapsed() < limit {
        ticks.tick().await;
        if grow(client).await.is_ok() {
            return Some(began.elapsed());
        }
    }
    None
}

fn seconds(back: Option<Duration>) -> String {
    back.map_or("writes still refused".to_owned(), |back| format!("writes back after {:.2} s", back.as_secs_f64()))
}

fn outcome<T>(answer: &Result<T, Refusal>) -> String {
    answer.as_ref().map_or_else(|refusal| format!("{refusal:?}"), |_| "succeeded".to_owned())
}
