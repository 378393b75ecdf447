//! Maintenance: status, alarms, hashes. There is nothing to defragment, so that succeeds at once.

use crate::call::{Answer, Rim, Trace, database_bytes, decode, header, propose};
use crate::metrics::RequestType;
use crate::status::{self, Status};
use crate::wire;
use bytes::Bytes;
use model::{Alarm, AlarmAction, AlarmKind, MemberId, Revision};
use mvcc::KvHash;
use node::Metrics;
use proto::etcdserverpb as pb;
use state::{ActiveAlarm, StateView};
use std::time::Instant;
use stdx::metrics::Histogram;

pub(crate) fn status(rim: &Rim, message: Bytes) -> Result<Answer, Status> {
    let _: pb::StatusRequest = decode(message)?;
    let (node, view) = (rim.node.status(), rim.node.view());
    let mut errors = Vec::new();
    if node.leader.is_none() {
        errors.push(status::NO_LEADER.message.into_owned());
    }
    errors.extend(rim.node.halted_because().map(|why| format!("bowline: damaged record: {why}")));
    errors.extend(
        view.alarms()
            .iter()
            .map(|alarm| format!("memberID:{} alarm:{}", alarm.member, alarm_type(alarm.kind).as_str_name())),
    );
    errors.extend(node.sick_disks.iter().flatten().map(|sick| format!("bowline: {sick}")));
    let response = pb::StatusResponse {
        header: header(rim, view.revision()),
        version: model::ETCD_VERSION.to_string(),
        db_size: database_bytes(&view),
        leader: node.leader.map_or(0, |leader| leader.0),
        raft_index: node.committed.0,
        raft_term: node.term.0,
        raft_applied_index: node.applied.0,
        errors,
        db_size_in_use: database_bytes(&view),
        is_learner: false,
        storage_version: model::ETCD_CLUSTER_VERSION.to_string(),
        // Negative for no quota, as the flag asks for that.
        db_size_quota: view.quota_bytes().map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        downgrade_info: Some(pb::DowngradeInfo::default()),
    };
    Ok(Answer::Message(wire::message(&response)))
}

pub(crate) fn defragment(message: Bytes) -> Result<Answer, Status> {
    let _: pb::DefragmentRequest = decode(message)?;
    Ok(Answer::Message(wire::message(&pb::DefragmentResponse { header: None })))
}

fn alarm_type(kind: AlarmKind) -> pb::AlarmType {
    match kind {
        AlarmKind::None => pb::AlarmType::None,
        AlarmKind::NoSpace => pb::AlarmType::Nospace,
        AlarmKind::Corrupt => pb::AlarmType::Corrupt,
    }
}

/// A kind that is not known matches and raises nothing.
fn alarm_kind(alarm: i32) -> AlarmKind {
    match pb::AlarmType::try_from(alarm) {
        Ok(pb::AlarmType::Nospace) => AlarmKind::NoSpace,
        Ok(pb::AlarmType::Corrupt) => AlarmKind::Corrupt,
        Ok(pb::AlarmType::None) | Err(_) => AlarmKind::None,
    }
}

fn alarm_members(alarms: impl IntoIterator<Item = ActiveAlarm>) -> Vec<pb::AlarmMember> {
    let member =
        |alarm: ActiveAlarm| pb::AlarmMember { member_id: alarm.member.0, alarm: alarm_type(alarm.kind).into() };
    alarms.into_iter().map(member).collect()
}

/// A full disk shows as NOSPACE of this member, where etcd's tools look. It is no alarm of the cluster: nobody else
/// refuses anything for it, it cannot be disarmed, and it goes when there is space.
fn full_disk(rim: &Rim, view: &StateView, kind: AlarmKind) -> Option<ActiveAlarm> {
    let alarm = ActiveAlarm { kind: AlarmKind::NoSpace, member: rim.node.member() };
    let is_asked_for = matches!(kind, AlarmKind::None | AlarmKind::NoSpace);
    let is_raised = view.alarms().iter().any(|raised| raised == alarm);
    (is_asked_for && !is_raised && rim.node.status().disk_full()).then_some(alarm)
}

pub(crate) async fn alarm(rim: &Rim, message: Bytes, trace: &Trace) -> Result<Answer, Status> {
    use pb::alarm_request::AlarmAction as Action;
    let request: pb::AlarmRequest = decode(message)?;
    trace.request.set(Some(RequestType::Alarm));
    let kind = alarm_kind(request.alarm);
    let action = match Action::try_from(request.action) {
        Ok(Action::Activate) => AlarmAction::Activate,
        Ok(Action::Deactivate) => AlarmAction::Deactivate,
        Ok(Action::Get) | Err(_) => {
            let view = rim.node.read_barrier().await?;
            let raised = view.alarms().of_kind(kind);
            let alarms = alarm_members(raised.chain(full_disk(rim, &view, kind)));
            let response = pb::AlarmResponse { header: header(rim, view.revision()), alarms };
            return Ok(Answer::Message(wire::message(&response)));
        }
    };
    let alarm = Alarm { action, member: MemberId(request.member_id), kind };
    let done = propose(rim, alarm, trace).await?;
    let (header, alarms) = (rim.identity().header(done.stamp), alarm_members(done.answer));
    Ok(Answer::Message(wire::message(&pb::AlarmResponse { header, alarms })))
}

struct Hashed {
    current: Revision,
    hash: KvHash,
}

/// Folding over every version takes long.
async fn hash_at(rim: &Rim, revision: Revision, measured: impl Fn(&Metrics) -> &Histogram) -> Result<Hashed, Status> {
    let view = rim.node.view();
    let current = view.revision();
    let started = Instant::now();
    let hash = rim.long_work(move || view.kv().hash_kv(revision)).await?;
    measured(rim.node.metrics()).observe(started.elapsed());
    Ok(Hashed { current, hash: hash? })
}

/// A checksum over the keys; etcd's is over its whole file and only compared between members of one cluster.
pub(crate) async fn hash(rim: &Rim, message: Bytes) -> Result<Answer, Status> {
    let _: pb::HashRequest = decode(message)?;
    let Hashed { current, hash } = hash_at(rim, Revision(0), |metrics| &metrics.hash).await?;
    let response = pb::HashResponse { header: header(rim, current), hash: hash.hash };
    Ok(Answer::Message(wire::message(&response)))
}

pub(crate) async fn hash_kv(rim: &Rim, message: Bytes) -> Result<Answer, Status> {
    let request: pb::HashKvRequest = decode(message)?;
    let Hashed { current, hash } = hash_at(rim, Revision(request.revision), |metrics| &metrics.hash_revision).await?;
    let response = pb::HashKvResponse {
        header: header(rim, current),
        hash: hash.hash,
        compact_revision: hash.compact_revision.0,
        hash_revision: hash.revision.0,
    };
    Ok(Answer::Message(wire::message(&response)))
}
