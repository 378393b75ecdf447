//! What one member tells of itself and does for itself, and the alarms of all. But for the alarms, it is the member at
//! the endpoint that answers: another one is asked through [`Client::at`].

use crate::call::WHOLE_STORE_TIMEOUT;
use crate::{Client, Error, ErrorKind, Result, pb};
use pb::alarm_request::AlarmAction;
use pb::maintenance_client::MaintenanceClient;
use pb::{AlarmMember, AlarmRequest};
use tonic::transport::Channel;

fn maintenance(channel: Channel) -> MaintenanceClient<Channel> {
    MaintenanceClient::new(channel)
}

impl Client {
    /// Version, sizes, leader, raft's indexes.
    pub async fn status(&self) -> Result<pb::StatusResponse> {
        let call = |channel, request| async { maintenance(channel).status(request).await };
        self.call("status", pb::StatusRequest {}, self.timeout(), call).await
    }

    /// Hash over the history up to `revision`; 0: the current one. Members with the same compact revision and history
    /// have the same one.
    ///
    /// Fails: `Compacted`, `FutureRevision` if this member is behind.
    pub async fn hash_kv(&self, revision: i64) -> Result<pb::HashKvResponse> {
        let call = |channel, request| async { maintenance(channel).hash_kv(request).await };
        self.call("hash", pb::HashKvRequest { revision }, WHOLE_STORE_TIMEOUT, call).await
    }

    /// Gives free pages of the file back. Etcd answers nothing else meanwhile; up to 10 minutes.
    pub async fn defragment(&self) -> Result<()> {
        let call = |channel, request| async { maintenance(channel).defragment(request).await };
        self.call("defragment", pb::DefragmentRequest {}, WHOLE_STORE_TIMEOUT, call).await.map(|_| ())
    }

    /// The alarms that are up, of all members.
    pub async fn alarm_list(&self) -> Result<Vec<AlarmMember>> {
        self.alarm("list alarms", AlarmRequest { action: AlarmAction::Get.into(), ..AlarmRequest::default() }).await
    }

    /// Takes an alarm down. One that still has its reason comes back. The alarms that were taken down.
    pub async fn alarm_disarm(&self, alarm: AlarmMember) -> Result<Vec<AlarmMember>> {
        let AlarmMember { member_id, alarm } = alarm;
        self.alarm("disarm", AlarmRequest { action: AlarmAction::Deactivate.into(), member_id, alarm }).await
    }

    /// A snapshot of the member's database, part by part as it arrives; its SHA-256 comes last. Fails also if a part is
    /// not taken.
    pub async fn snapshot(&self, take: &mut dyn FnMut(&[u8]) -> std::io::Result<()>) -> Result<()> {
        let call = |channel, request| async { maintenance(channel).snapshot(request).await };
        let mut parts = self.call("snapshot", pb::SnapshotRequest {}, WHOLE_STORE_TIMEOUT, call).await?;
        let doing = format!("snapshot at {}", self.endpoint());
        while let Some(part) = parts.message().await.map_err(|status| Error::of_status(&doing, &status))? {
            take(&part.blob).map_err(|error| Error::new(ErrorKind::Other, format!("{doing}: write it: {error}")))?;
        }
        Ok(())
    }

    async fn alarm(&self, doing: &str, request: AlarmRequest) -> Result<Vec<AlarmMember>> {
        let call = |channel, request| async { maintenance(channel).alarm(request).await };
        Ok(self.call(doing, request, self.timeout(), call).await?.alarms)
    }
}
