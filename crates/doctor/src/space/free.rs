//! Digging a store out: deleting what its owners make again, in paced batches, and etcd's own sequence of compaction, defragmentation
//! and disarming.
//!
//! Only what a class names is ever deleted, and each key only if it is still where it was seen. Deletions, and transactions of
//! nothing else, are served by etcd and by Bowline while NOSPACE is up.

use crate::source::{Live, Member, Source};
use bytes::Bytes;
use client::{CHANGES_MAX, Change, Client, Guarded, To};
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
    for batch in victims.chunks(CHANGES_MAX) {
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

/// How long a member may take to answer again after it was defragmented.
const HEALTHY_WITHIN: Duration = Duration::from_secs(60);

/// What gives etcd's space back: compaction, defragmentation of each member, the leader last, and disarming. `say` is told
/// each step before it is done; without `yes` none is.
pub fn sequence(source: &mut Live, yes: bool, say: &mut dyn FnMut(&str)) -> Result<(), String> {
    let status = source.status().map_err(|error| error.to_string())?;
    if let Some(member) = status.members.iter().find(|member| member.unreachable.is_some()) {
        return Err(format!(
            "member {} cannot be reached at {}; one member after the other is defragmented only while all are there",
            member.name, member.endpoint
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
                Err(error) if error.kind() == client::ErrorKind::Compacted => Ok(()),
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
            source.block_on(defragment(&client, member))?;
        }
    }
    for (member, _) in &status.alarms {
        say(&format!("disarm the alarm of member {member:x}"));
    }
    if yes {
        source.block_on(async {
            for alarm in client.alarm_list().await.map_err(|error| error.to_string())? {
                client.alarm_disarm(alarm).await.map_err(|error| error.to_string())?;
            }
            Ok::<(), String>(())
        })?;
    }
    Ok(())
}

async fn defragment(client: &Client, member: &Member) -> Result<(), String> {
    let at = client.at(&member.endpoint).await.map_err(|error| error.to_string())?;
    at.defragment().await.map_err(|error| error.to_string())?;
    let started = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tick.tick().await;
        // A member that has no leader yet has not caught up.
        match at.status().await {
            Ok(status) if status.leader != 0 => return Ok(()),
            _ if started.elapsed() >= HEALTHY_WITHIN => {
                return Err(format!(
                    "member {} does not answer after its defragmentation; the others were left alone",
                    member.name
                ));
            }
            _ => {}
        }
    }
}
