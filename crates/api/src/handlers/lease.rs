//! Lease: grants and revocations go through the log; renewals and questions are answered by the leader's lease clock.

use crate::call::{
    Answer, Done, Handled, Rim, StreamCall, StreamEnd, Trace, check_size, current_revision, decode, decode_streamed,
    propose,
};
use crate::metrics::{RequestType, StreamApi};
use crate::status::Status;
use crate::wire;
use bytes::Bytes;
use model::{Command, LeaseGrant, LeaseId};
use proto::etcdserverpb as pb;
use std::time::Duration;

/// Shortest time to live: one and a half election timeouts, in whole seconds, so that a lease outlives a change of
/// leader.
fn ttl_s_min(election_timeout: Duration) -> i64 {
    let ms = election_timeout.as_millis() * 3 / 2;
    i64::try_from(ms.div_ceil(1000)).unwrap_or(i64::MAX)
}

pub(crate) async fn grant(rim: &Rim, message: Bytes, trace: &Trace) -> Result<Answer, Status> {
    let request_bytes = message.len();
    let request: pb::LeaseGrantRequest = decode(message)?;
    trace.request.set(Some(RequestType::LeaseGrant));
    check_size(rim, request_bytes)?;
    let id = if request.id == 0 { rim.shared.new_lease_id() } else { LeaseId(request.id) };
    let ttl_s = request.ttl.max(ttl_s_min(rim.config().election_timeout));
    let Done { answer: LeaseGrant { id, ttl_s }, stamp, .. } = propose(rim, LeaseGrant { id, ttl_s }, trace).await?;
    rim.metrics.lease_ttl.observe(Duration::from_secs(ttl_s.unsigned_abs()));
    let header = rim.identity().header(stamp);
    let response = pb::LeaseGrantResponse { header, id: id.0, ttl: ttl_s, error: String::new() };
    Ok(Answer::Message(wire::message(&response)))
}

pub(crate) async fn revoke(rim: &Rim, message: Bytes, trace: &Trace) -> Result<Answer, Status> {
    let request: pb::LeaseRevokeRequest = decode(message)?;
    trace.request.set(Some(RequestType::LeaseRevoke));
    let done = propose(rim, Command::LeaseRevoke(LeaseId(request.id)), trace).await?;
    Ok(Answer::Message(wire::header_only(rim.identity(), done.stamp)))
}

pub(crate) fn time_to_live(rim: &Rim, message: Bytes) -> Result<Answer, Status> {
    let request: pb::LeaseTimeToLiveRequest = decode(message)?;
    let id = LeaseId(request.id);
    let leases = rim.node.live().leases();
    let header = rim.identity().header(rim.stamp(current_revision(rim)));
    let mut response = pb::LeaseTimeToLiveResponse { header, id: id.0, ttl: -1, ..Default::default() };
    let remaining_ms = rim.node.lease_remaining_ms(id)?;
    if let (Some(granted_ttl), Some(remaining_ms)) = (leases.granted_ttl_s(id), remaining_ms) {
        response.granted_ttl = granted_ttl;
        response.ttl = i64::try_from(remaining_ms / 1000).unwrap_or(i64::MAX);
        if request.keys {
            response.keys = leases.keys(id).into_iter().map(|key| Bytes::from(key.into_vec())).collect();
        }
    }
    Ok(Answer::Message(wire::message(&response)))
}

/// All leases, those that end first in front.
pub(crate) fn leases(rim: &Rim, message: Bytes) -> Result<Answer, Status> {
    let _: pb::LeaseLeasesRequest = decode(message)?;
    let all = rim.node.live().leases().all().into_iter();
    let mut all: Vec<(u64, LeaseId)> = all
        .map(|(id, ends_at_ms)| (rim.node.lease_remaining_ms(id).ok().flatten().unwrap_or(ends_at_ms), id))
        .collect();
    all.sort_unstable();
    let header = rim.identity().header(rim.stamp(current_revision(rim)));
    let leases = all.into_iter().map(|(_, id)| pb::LeaseStatus { id: id.0 }).collect();
    Ok(Answer::Message(wire::message(&pb::LeaseLeasesResponse { header, leases })))
}

/// One answer for each request, in order, until the client ends.
pub(crate) async fn keep_alive(mut call: StreamCall) -> Handled {
    let result = keep_all_alive(&mut call).await;
    if matches!(&result, Err(StreamEnd::Refused(_))) {
        call.rim.metrics.stream_failed(StreamApi::LeaseKeepAlive, false);
    }
    (call.answers, result)
}

async fn keep_all_alive(call: &mut StreamCall) -> Result<(), StreamEnd> {
    while let Some(message) = call.receive().await? {
        let request: pb::LeaseKeepAliveRequest = decode_streamed(message)?;
        let rim = call.rim.clone();
        // The revision is read before the renewal: a client that sees the lease alive at a revision can trust that.
        let header = rim.identity().header(rim.stamp(current_revision(&rim)));
        let ttl = rim.node.keep_alive(LeaseId(request.id)).await.map_err(Status::from)?;
        let response = pb::LeaseKeepAliveResponse { header, id: request.id, ttl };
        call.send(wire::message(&response)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_time_to_live_is_one_and_a_half_election_timeouts() {
        assert_eq!(ttl_s_min(Duration::from_millis(1000)), 2);
        assert_eq!(ttl_s_min(Duration::from_millis(100)), 1);
        assert_eq!(ttl_s_min(Duration::from_millis(2000)), 3);
        assert_eq!(ttl_s_min(Duration::from_millis(50_000)), 75);
    }
}
