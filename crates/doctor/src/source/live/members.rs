//! Every member as it tells of itself, the alarms, and whether all have the same history.

use crate::source::{AlarmKind, Member, Result, Status};
use client::pb::{self, AlarmType, StatusResponse};
use client::{Client, ErrorKind};
use std::collections::BTreeSet;
use tokio::task::JoinSet;

/// What etcd's own default of the quota is. It reports the flag as it was given, and 0 is how the default is asked for.
const ETCD_QUOTA_BYTES_DEFAULT: u64 = 2 << 30;
/// First version that tells its quota.
const VERSION_WITH_QUOTA: (u64, u64) = (3, 6);

pub async fn status(client: &Client, blind: &mut BTreeSet<String>) -> Result<Status> {
    let listed = match client.member_list(true).await {
        Err(error) if matches!(error.kind(), ErrorKind::NoLeader | ErrorKind::Deadline) => {
            blind.insert(format!("no leader answers: members are those that this one knows ({error})"));
            client.member_list(false).await?
        }
        listed => listed?,
    };
    let mut asked = ask_all(client, listed).await;
    compare(&mut asked, blind).await;
    let revision = asked.iter().filter_map(|asked| asked.revision).max().unwrap_or_default();
    let hashed = asked.iter().find_map(|asked| asked.member.hash).map(|(_, compacted, _)| compacted.max(0));
    let compact_revision = match hashed {
        Some(compacted) => Some(compacted),
        None => compact_revision(client, revision).await,
    };
    let alarms = alarms(client, blind).await;
    Ok(Status { members: asked.into_iter().map(|asked| asked.member).collect(), alarms, revision, compact_revision })
}

/// A member and how it was reached.
struct Asked {
    member: Member,
    /// Absent if it was not reached.
    client: Option<Client>,
    revision: Option<i64>,
}

/// All at once: one that is down should not keep the others waiting. In the order of the list.
async fn ask_all(client: &Client, listed: Vec<pb::Member>) -> Vec<Asked> {
    let own = client.status().await.ok();
    let own_id = own.and_then(|status| status.header).map(|header| header.member_id);
    let mut asking = JoinSet::new();
    for (place, member) in listed.into_iter().enumerate() {
        let client = client.clone();
        let is_own = own_id == Some(member.id);
        asking.spawn(async move { (place, ask(&client, member, is_own).await) });
    }
    let mut asked = Vec::new();
    // A task that panicked is the only thing that would not be here.
    while let Some(answer) = asking.join_next().await {
        asked.extend(answer.ok());
    }
    asked.sort_by_key(|(place, _)| *place);
    asked.into_iter().map(|(_, asked)| asked).collect()
}

/// The member that we are connected to is asked there: what it advertises need not be reachable from here.
async fn ask(client: &Client, member: pb::Member, is_own: bool) -> Asked {
    if is_own && let Ok(status) = client.status().await {
        return answered(client.clone(), member, status);
    }
    let mut unreachable = "it advertises no client URL: it has not started yet".to_owned();
    for url in &member.client_ur_ls {
        let status = match client.at(url).await {
            Ok(client) => client.status().await.map(|status| (client, status)),
            Err(error) => Err(error),
        };
        match status {
            Ok((client, status)) => return answered(client, member, status),
            Err(error) => unreachable = error.to_string(),
        }
    }
    let endpoint = member.client_ur_ls.first().cloned().unwrap_or_default();
    let member = Member { unreachable: Some(unreachable), ..described(member, endpoint, StatusResponse::default()) };
    Asked { member, client: None, revision: None }
}

fn answered(client: Client, member: pb::Member, status: StatusResponse) -> Asked {
    let revision = status.header.as_ref().map(|header| header.revision);
    let member = described(member, client.endpoint().to_owned(), status);
    Asked { member, client: Some(client), revision }
}

fn described(member: pb::Member, endpoint: String, status: StatusResponse) -> Member {
    let bytes = |number: i64| u64::try_from(number).unwrap_or_default();
    Member {
        id: member.id,
        name: member.name,
        endpoint,
        is_leader: status.leader != 0 && status.leader == member.id,
        is_learner: member.is_learner,
        quota_bytes: quota(&status),
        version: status.version,
        db_bytes: bytes(status.db_size),
        db_bytes_in_use: bytes(status.db_size_in_use),
        raft_term: status.raft_term,
        raft_index: status.raft_index,
        applied_index: status.raft_applied_index,
        hash: None,
        errors: status.errors,
        unreachable: None,
    }
}

fn quota(status: &StatusResponse) -> Option<u64> {
    let mut numbers = status.version.split('.').map(|number| number.parse::<u64>().unwrap_or_default());
    let version = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    match u64::try_from(status.db_size_quota) {
        _ if version < VERSION_WITH_QUOTA => None,
        Ok(0) => Some(ETCD_QUOTA_BYTES_DEFAULT),
        Ok(bytes) => Some(bytes),
        // Negative: there is none.
        Err(_) => Some(0),
    }
}

/// Hashes of all reached members at the newest revision that all of them have. One member has nobody to differ from,
/// and a hash reads the whole history.
async fn compare(asked: &mut [Asked], blind: &mut BTreeSet<String>) {
    let reached = asked.iter().filter(|asked| asked.client.is_some()).count();
    let common = asked.iter().filter_map(|asked| asked.revision).min();
    let Some(revision) = common.filter(|_| reached > 1) else { return };
    let mut hashing = JoinSet::new();
    for (place, client) in asked.iter().enumerate().filter_map(|(place, asked)| Some((place, asked.client.clone()?))) {
        hashing.spawn(async move { (place, client.hash_kv(revision).await) });
    }
    while let Some(answer) = hashing.join_next().await {
        match answer {
            Ok((place, Ok(hash))) => {
                if let Some(asked) = asked.get_mut(place) {
                    asked.member.hash = Some((revision, hash.compact_revision, hash.hash));
                }
            }
            Ok((_, Err(error))) => drop(blind.insert(format!("whether all members have the same history: {error}"))),
            Err(_) => {}
        }
    }
}

/// The oldest revision that can still be read; 0 if nothing was ever compacted. No call tells it, so it is searched for
/// with a read of one key that need not be there.
async fn compact_revision(client: &Client, revision: i64) -> Option<i64> {
    let (mut low, mut high) = (1, revision);
    while low < high {
        let middle = low + (high - low) / 2;
        let probe = pb::RangeRequest {
            key: b"\0"[..].into(),
            revision: middle,
            serializable: true,
            ..pb::RangeRequest::default()
        };
        match client.range(probe).await {
            Ok(_) => high = middle,
            Err(error) if error.kind() == ErrorKind::Compacted => low = middle + 1,
            Err(_) => return None,
        }
    }
    // Revision 1 is the empty store: who can read it has lost nothing.
    (revision > 0).then_some(if high <= 1 { 0 } else { high })
}

async fn alarms(client: &Client, blind: &mut BTreeSet<String>) -> Vec<(u64, AlarmKind)> {
    let listed = match client.alarm_list().await {
        Ok(listed) => listed,
        Err(error) => {
            blind.insert(format!("alarms are not listed, only what members say of themselves: {error}"));
            return Vec::new();
        }
    };
    let kinds = listed.into_iter().filter_map(|alarm| match AlarmType::try_from(alarm.alarm).ok()? {
        AlarmType::Nospace => Some((alarm.member_id, AlarmKind::NoSpace)),
        AlarmType::Corrupt => Some((alarm.member_id, AlarmKind::Corrupt)),
        AlarmType::None => None,
    });
    kinds.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_told_from_a_version_on() {
        let status = |version: &str, db_size_quota| StatusResponse {
            version: version.to_owned(),
            db_size_quota,
            ..StatusResponse::default()
        };
        assert_eq!(quota(&status("3.5.21", 0)), None);
        assert_eq!(quota(&status("3.6.0", 0)), Some(ETCD_QUOTA_BYTES_DEFAULT));
        assert_eq!(quota(&status("3.10.0", 8 << 30)), Some(8 << 30));
        assert_eq!(quota(&status("3.7.3", -1)), Some(0));
        assert_eq!(quota(&status("", 5)), None);
    }
}
