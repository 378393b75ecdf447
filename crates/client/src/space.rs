//! What Bowline tells and does beyond etcd's protocol.

use crate::{Client, Error, ErrorKind, Result};
use bytes::Bytes;
use proto::bowline::space_client::SpaceClient;
use proto::bowline::{
    Budget, BudgetListRequest, BudgetRemoveRequest, BudgetSetRequest, BudgetState, TopRequest, TopResponse,
};

/// All calls fail with `Unimplemented` if the server is not Bowline.
impl Client {
    /// Who fills the store.
    pub async fn top(&self, request: TopRequest) -> Result<TopResponse> {
        let call = |channel, request| async { SpaceClient::new(channel).top(request).await };
        self.call("ask who fills the store", request, self.timeout(), call).await.map_err(hinted)
    }

    /// Sets the budget of a prefix, in place of the one it has.
    pub async fn budget_set(&self, budget: Budget) -> Result<()> {
        let doing = format!("set the budget of {}", budget.prefix.escape_ascii());
        let call = |channel, request| async { SpaceClient::new(channel).budget_set(request).await };
        let request = BudgetSetRequest { budget: Some(budget) };
        self.call(&doing, request, self.timeout(), call).await.map(|_| ()).map_err(hinted)
    }

    /// Fails: `NotFound` if the prefix has no budget.
    pub async fn budget_remove(&self, prefix: Bytes) -> Result<()> {
        let doing = format!("remove the budget of {}", prefix.escape_ascii());
        let call = |channel, request| async { SpaceClient::new(channel).budget_remove(request).await };
        self.call(&doing, BudgetRemoveRequest { prefix }, self.timeout(), call).await.map(|_| ()).map_err(hinted)
    }

    /// Every budget in order of prefix, with how its prefix stands to it.
    pub async fn budgets(&self) -> Result<Vec<BudgetState>> {
        let call = |channel, request| async { SpaceClient::new(channel).budget_list(request).await };
        let answer = self.call("list budgets", BudgetListRequest {}, self.timeout(), call).await;
        answer.map(|answer| answer.budgets).map_err(hinted)
    }
}

fn hinted(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Unimplemented => error.hinted("; only Bowline has this service, etcd does not"),
        _ => error,
    }
}
