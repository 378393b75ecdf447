//! What Bowline tells beyond etcd's protocol.

use crate::{Client, ErrorKind, Result};
use proto::bowline::space_client::SpaceClient;
use proto::bowline::{TopRequest, TopResponse};

impl Client {
    /// Who fills the store.
    ///
    /// Fails: `Unimplemented` if the server is not Bowline.
    pub async fn top(&self, request: TopRequest) -> Result<TopResponse> {
        let call = |channel, request| async { SpaceClient::new(channel).top(request).await };
        self.call("ask who fills the store", request, self.timeout(), call).await.map_err(|error| match error.kind() {
            ErrorKind::Unimplemented => error.hinted("; only Bowline has this service, etcd does not"),
            _ => error,
        })
    }
}
