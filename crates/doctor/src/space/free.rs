//! Digging a store out: deleting what its owners make again, in paced batches, and etcd's own sequence of compaction,
//! defragmentation and disarming.
//!
//! Only what a class names is ever deleted, and each key only if it is still where it was seen. Deletions, and
//! transactions of nothing else, are served by etcd and by Bowline while NOSPACE is up.

use crate::source::{AlarmKind, Live, Member, Source};
use bytes::Bytes;
use client::pb::{AlarmMember, AlarmType};
use client::{CHANGES_MAX, Change, Client, ErrorKind, Guarded, To};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Objects that are safe to delete, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    pub name: &'static str,
    /// Group and plural.
    pub resources: &'static [(&'static str, &'static str)],
    pub safe_because: &'static str,
}

pub const CLASSES: &[Class] = &[
    Class {
        name: "ephemeral-reports",
        resources: &[
            ("reports.kyverno.io", "ephemeralreports"),
            ("reports.kyverno.io", "clusterephemeralreports"),
            ("kyverno.io", "admissionreports"),
            ("kyverno.io", "clusteradmissionreports"),
            ("kyverno.io", "backgroundscanreports"),
            ("kyverno.io", "clusterbackgroundscanreports"),
        ],
        safe_because: "Kyverno's intermediate reports: its reports controller deletes them itself once it has read them",
    },
    Class {
        name: "policy-reports",
        resources: &[
            ("wgpolicyk8s.io", "policyreports"),
            ("wgpolicyk8s.io", "clusterpolicyreports"),
            ("openreports.io", "reports"),
            ("openreports.io", "clusterreports"),
        ],
        safe_because: "results of policies: Kyverno's next background scan makes them again",
    },
    Class {
        name: "events",
        resources: &[("", "events")],
        safe_because: "events go by themselves after an hour; nothing but people reads them",
    },
];

impl Class {
    pub fn find(name: &str) -> Option<&'static Class> {
        CLASSES.iter().find(|class| class.name == name)
    }
}

/// A key to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Victim {
    pub key: Bytes,
    pub mod_revision: i64,
}

/// Every key of a class, in ascending order of each resource.
pub fn victims(source: &mut dyn Source, prefix: &str, class: &Class) -> crate::source::Result<Vec<Victim>> {
    let mut found = Vec::new();
    for (group, resource) in class.resources {
        source.keys(&kube::key::keys_of(prefix, group, resource), &mut |entry| {
            found.push(Victim { key: entry.key.clone(), mod_revision: entry.mod_revision });
            ControlFlow::Continue(())
        })?;
    }
    Ok(found)
}

/// What became of the victims so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub deleted: u64,
    /// Changed or deleted by somebody else meanwhile; left alone.
    pub changed: u64,
    pub all: u64,
}

/// Deletes them, at most `per_second`, and says how far it is after each batch; `go_on` false ends it there.
pub async fn free(
    client: &Client,
    victims: &[Victim],
    per_second: u32,
    go_on: &mut dyn FnMut(Progress) -> bool,
) -> Result<Progress, String> {
    let started = Instant::now();
    let mut progress = Progress { all: victims.len() as u64, ..Progress::default() };
    // No batch takes more than a second of the rate, so that nobody waits longer for the end.
    let batch_max = usize::try_from(per_second).unwrap_or(CHANGES_MAX).clamp(1, CHANGES_MAX);
    for batch in victims.chunks(batch_max) {
        delete(client, batch, &mut progress).await?;
        if !go_on(progress) {
            break;
        }
        let due = Duration::from_secs_f64((progress.deleted + progress.changed) as f64 / f64::from(per_second.max(1)));
        tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
    }
    Ok(progress)
}

/// One transaction; if a key was changed meanwhile, one more without it.
async fn delete(client: &Client, batch: &[Victim], progress: &mut Progress) -> Result<(), String> {
    let mut left = batch.to_vec();
    while !left.is_empty() {
        let changes = left.iter().map(|victim| Change {
            key: victim.key.clone(),
            mod_revision: victim.mod_revision,
            to: To::Delete,
        });
        match client.change(changes.collect()).await.map_err(|error| error.to_string())? {
            Guarded::Done(_) => {
                progress.deleted += left.len() as u64;
                return Ok(());
            }
            Guarded::Conflict(found) => {
                let before = left.len();
                let mut now = found.into_iter();
                left.retain(|victim| now.next() == Some(victim.mod_revision));
                progress.changed += (before - left.len()) as u64;
                if left.len() == before {
                    return Err(
                        "the server refuses a transaction whose conditions hold; nothing of it was done".to_owned()
                    );
                }
            }
        }
    }
    Ok(())
}

/// How long a member may take to end its compaction, and to answer again after it was defragmented.
const HEALTHY_WITHIN: Duration = Duration::from_secs(60);
/// What members with the same data may differ by, beside half of it: their pages are filled differently.
const IN_USE_SLACK_BYTES: i64 = 1 << 20;

/// What gives etcd's space back: compaction, defragmentation of each member, the leader last, and disarming. `say` is
/// told each step before it is done; without `yes` none is.
///
/// Fails: if a member cannot be reached, if the alarm CORRUPT is up, and with the first step that does; then the rest
/// is not done.
pub fn sequence(source: &mut Live, yes: bool, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    let status = source.status().map_err(|error| error.to_string())?;
    if let Some(member) = status.members.iter().find(|member| member.unreachable.is_some()) {
        return Err(format!(
            "member {} cannot be reached at {}; one member after the other is defragmented only while all are there",
            member.name, member.endpoint
        ));
    }
    if let Some((member, _)) = status.alarms.iter().find(|(_, kind)| *kind == AlarmKind::Corrupt) {
        return Err(format!(
            "the alarm CORRUPT of member {member:x} is up: its data differ from the others', which no defragmentation mends. \
             Remove that member, add it again with an empty directory, and disarm that alarm by hand"
        ));
    }
    let mut members: Vec<&Member> = status.members.iter().collect();
    members.sort_by_key(|member| member.is_leader);
    let client = source.client().clone();
    say(&format!("compact at revision {}", status.revision));
    if yes {
        source.block_on(async {
            match client.compact(status.revision, true).await {
                // Somebody else did it meanwhile.
                Err(error) if error.kind() == ErrorKind::Compacted => Ok(()),
                done => done.map(|_| ()).map_err(|error| error.to_string()),
            }
        })?;
    }
    for member in members {
        let role = if member.is_leader { ", the leader" } else { "" };
        say(&format!(
            "defragment {} at {}{role}: {} bytes, {} in use",
            member.name, member.endpoint, member.db_bytes, member.db_bytes_in_use
        ));
        if yes {
            source.block_on(async {
                wait_for_compaction(&client, member).await?;
                defragment(&client, member).await
            })?;
        }
    }
    for (member, _) in &status.alarms {
        say(&format!("disarm the alarm NOSPACE of member {member:x}"));
    }
    if yes { source.block_on(disarm(&client)) } else { Ok(()) }
}

/// What is up now: another member may have raised it meanwhile.
async fn disarm(client: &Client) -> Result<(), String> {
    for AlarmMember { member_id, alarm } in client.alarm_list().await.map_err(|error| error.to_string())? {
        if alarm == i32::from(AlarmType::Nospace) {
            client.alarm_disarm(AlarmMember { member_id, alarm }).await.map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

/// The compaction was waited for at the endpoint of `client` only; a member that is defragmented before its own one
/// keeps what that would have freed. Pages in use tell, because nothing else does; who is late after a minute is
/// defragmented all the same.
async fn wait_for_compaction(client: &Client, member: &Member) -> Result<(), String> {
    let done = client.status().await.map_err(|error| error.to_string())?.db_size_in_use;
    let enough = done.saturating_add(done / 2).saturating_add(IN_USE_SLACK_BYTES);
    let at = client.at(&member.endpoint).await.map_err(|error| error.to_string())?;
    let started = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    while started.elapsed() < HEALTHY_WITHIN {
        tick.tick().await;
        if at.status().await.map_err(|error| error.to_string())?.db_size_in_use <= enough {
            break;
        }
    }
    Ok(())
}

/// And waits until the member takes part again.
async fn defragment(client: &Client, member: &Member) -> Result<(), String> {
    let at = client.at(&member.endpoint).await.map_err(|error| error.to_string())?;
    at.defragment().await.map_err(|error| error.to_string())?;
    let started = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tick.tick().await;
        // A linearizable read is answered by a member that has a leader and has applied what the leader had.
        match at.get(b"health").await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Denied => return Ok(()),
            Err(error) if started.elapsed() >= HEALTHY_WITHIN => {
                return Err(format!(
                    "member {} does not answer after its defragmentation; the rest was left alone: {error}",
                    member.name
                ));
            }
            Err(_) => {}
        }
    }
}
