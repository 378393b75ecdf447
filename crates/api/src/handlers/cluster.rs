//! Cluster: the member list. Changing it is not served yet.

use crate::call::{Answer, Rim, decode, header};
use crate::status::Status;
use crate::wire;
use bytes::Bytes;
use model::Revision;
use proto::etcdserverpb as pb;

pub(crate) async fn member_list(rim: &Rim, message: Bytes) -> Result<Answer, Status> {
    let request: pb::MemberListRequest = decode(message)?;
    let view = if request.linearizable { rim.node.read_barrier().await? } else { rim.node.view() };
    let members = view.membership().members().map(|member| pb::Member {
        id: member.id.0,
        name: member.name.clone(),
        peer_ur_ls: member.peer_urls.clone(),
        client_ur_ls: member.client_urls.clone(),
        is_learner: member.is_learner,
    });
    // The only answers whose header has no revision.
    let response = pb::MemberListResponse { header: header(rim, Revision(0)), members: members.collect() };
    Ok(Answer::Message(wire::message(&response)))
}
