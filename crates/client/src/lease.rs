//! Leases: which there are, how long they still live, what hangs on them.

use crate::call::ANSWER_BYTES_MAX;
use crate::{Client, Result, pb};
use pb::lease_client::LeaseClient;
use tonic::transport::Channel;

fn lease(channel: Channel) -> LeaseClient<Channel> {
    LeaseClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
}

impl Client {
    /// The ids of all leases.
    pub async fn lease_leases(&self) -> Result<Vec<i64>> {
        let call = |channel, request| async { lease(channel).lease_leases(request).await };
        let answer = self.call("list leases", pb::LeaseLeasesRequest {}, self.timeout(), call).await?;
        Ok(answer.leases.into_iter().map(|lease| lease.id).collect())
    }

    /// What is left of a lease, and its keys if they are wanted. A TTL of -1: there is no such lease.
    pub async fn lease_time_to_live(&self, id: i64, keys: bool) -> Result<pb::LeaseTimeToLiveResponse> {
        let request = pb::LeaseTimeToLiveRequest { id, keys };
        let call = |channel, request| async { lease(channel).lease_time_to_live(request).await };
        self.call("look at a lease", request, self.timeout(), call).await
    }

    /// A new lease of `ttl` seconds; id 0: the server picks one. The id.
    pub async fn lease_grant(&self, ttl: i64, id: i64) -> Result<i64> {
        let call = |channel, request| async { lease(channel).lease_grant(request).await };
        Ok(self.call("grant a lease", pb::LeaseGrantRequest { ttl, id }, self.timeout(), call).await?.id)
    }

    /// Ends a lease and deletes its keys.
    pub async fn lease_revoke(&self, id: i64) -> Result<pb::LeaseRevokeResponse> {
        let call = |channel, request| async { lease(channel).lease_revoke(request).await };
        self.call("revoke a lease", pb::LeaseRevokeRequest { id }, self.timeout(), call).await
    }
}
