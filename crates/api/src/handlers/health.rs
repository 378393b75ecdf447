//! The standard gRPC health service. This member serves exactly when it answers, so there is one status and no change
//! of it.

use crate::call::{Answer, Handled, StreamCall, StreamEnd, decode, decode_streamed};
use crate::status::{self, Status};
use crate::wire;
use bytes::Bytes;
use pb::health_check_response::ServingStatus;
use proto::health as pb;

fn answer(status: ServingStatus) -> pb::HealthCheckResponse {
    pb::HealthCheckResponse { status: status.into() }
}

pub(crate) fn check(message: Bytes) -> Result<Answer, Status> {
    let request: pb::HealthCheckRequest = decode(message)?;
    if !request.service.is_empty() {
        return Err(status::UNKNOWN_HEALTH_SERVICE);
    }
    Ok(Answer::Message(wire::message(&answer(ServingStatus::Serving))))
}

pub(crate) fn list(message: Bytes) -> Result<Answer, Status> {
    let _: pb::HealthListRequest = decode(message)?;
    let statuses = [(String::new(), answer(ServingStatus::Serving))].into();
    Ok(Answer::Message(wire::message(&pb::HealthListResponse { statuses })))
}

/// Says the status once and then waits for a change that only the end of the server brings.
pub(crate) async fn watch(mut call: StreamCall) -> Handled {
    let result = watch_until_end(&mut call).await;
    (call.answers, result)
}

async fn watch_until_end(call: &mut StreamCall) -> Result<(), StreamEnd> {
    let request: pb::HealthCheckRequest = decode_streamed(call.receive_only().await?)?;
    let status = if request.service.is_empty() { ServingStatus::Serving } else { ServingStatus::ServiceUnknown };
    call.send(wire::message(&answer(status))).await?;
    tokio::select! {
        status = call.outside.wait() => Err(status.into()),
        gone = std::future::poll_fn(|context| call.answers.poll_gone(context)) => Err(gone.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn only_the_whole_server_has_a_status() {
        let request = |service: &str| pb::HealthCheckRequest { service: service.to_string() }.encode_to_vec().into();
        assert!(
            matches!(check(request("")), Ok(Answer::Message(message)) if message.as_ref() == [0, 0, 0, 0, 2, 8, 1])
        );
        assert_eq!(check(request("etcdserverpb.KV")).err(), Some(status::UNKNOWN_HEALTH_SERVICE));
        let Ok(Answer::Message(listed)) = list(Bytes::new()) else { panic!("answered") };
        let listed = pb::HealthListResponse::decode(listed.slice(wire::PREFIX_BYTES..)).expect("decodes");
        assert_eq!(listed.statuses.get(""), Some(&answer(ServingStatus::Serving)));
    }
}
