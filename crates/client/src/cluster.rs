//! Who belongs to the cluster.

use crate::{Client, Result, pb};
use pb::cluster_client::ClusterClient;

impl Client {
    /// The members; linearizably, or as the asked member knows them.
    pub async fn member_list(&self, linearizable: bool) -> Result<Vec<pb::Member>> {
        let request = pb::MemberListRequest { linearizable };
        let call = |channel, request| async { ClusterClient::new(channel).member_list(request).await };
        Ok(self.call("list members", request, self.timeout(), call).await?.members)
    }
}
