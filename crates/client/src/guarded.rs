//! Changes that happen only if nobody else changed the keys since they were looked at.

use crate::{Bytes, Client, Result, pb};
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;
use pb::response_op::Response;
use pb::{Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};

/// Changes in one transaction at most: etcd's default of `--max-txn-ops`.
pub const CHANGES_MAX: usize = 128;

/// What is to become of one key, if its newest put was at `mod_revision`; 0: if the key is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub key: Bytes,
    pub mod_revision: i64,
    pub to: To,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    Put { value: Bytes, lease: LeaseOfPut },
    Delete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseOfPut {
    /// The one that the key has; fails as `NotFound` if there is no key.
    Keep,
    /// This one; 0: none.
    Attach(i64),
}

/// How guarded changes ended: all of them or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guarded {
    /// Done, at this revision.
    Done(i64),
    /// Nothing was changed. Where each key is now, in the order of the changes; 0: it is not there.
    Conflict(Vec<i64>),
}

impl Client {
    /// Makes all changes in one transaction, or none if one key is not where it was. At most [`CHANGES_MAX`], each of
    /// another key.
    pub async fn change(&self, changes: Vec<Change>) -> Result<Guarded> {
        let keys: Vec<Bytes> = changes.iter().map(|change| change.key.clone()).collect();
        let answer = self.txn(guarded(changes)).await?;
        if answer.succeeded {
            return Ok(Guarded::Done(answer.header.map_or(0, |header| header.revision)));
        }
        let mut found = answer.responses.into_iter().map(|op| match op.response {
            Some(Response::ResponseRange(range)) => range.kvs.first().map_or(0, |kv| kv.mod_revision),
            _ => 0,
        });
        Ok(Guarded::Conflict(keys.iter().map(|_| found.next().unwrap_or_default()).collect()))
    }

    /// [`Client::change`] of one key to a value; `mod_revision` 0 creates it.
    pub async fn put_if(&self, key: Bytes, mod_revision: i64, value: Bytes, lease: LeaseOfPut) -> Result<Guarded> {
        self.change(vec![Change { key, mod_revision, to: To::Put { value, lease } }]).await
    }

    /// [`Client::change`] of one key to none.
    pub async fn delete_if(&self, key: Bytes, mod_revision: i64) -> Result<Guarded> {
        self.change(vec![Change { key, mod_revision, to: To::Delete }]).await
    }
}

fn guarded(changes: Vec<Change>) -> TxnRequest {
    let mut txn = TxnRequest::default();
    for Change { key, mod_revision, to } in changes {
        txn.compare.push(Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: key.clone(),
            target_union: Some(TargetUnion::ModRevision(mod_revision)),
            ..Compare::default()
        });
        let look = RangeRequest { key: key.clone(), keys_only: true, ..RangeRequest::default() };
        txn.failure.push(RequestOp { request: Some(Request::RequestRange(look)) });
        txn.success.push(RequestOp { request: Some(operation(key, to)) });
    }
    txn
}

fn operation(key: Bytes, to: To) -> Request {
    match to {
        To::Delete => Request::RequestDeleteRange(DeleteRangeRequest { key, ..DeleteRangeRequest::default() }),
        To::Put { value, lease } => {
            let (lease, ignore_lease) = match lease {
                LeaseOfPut::Keep => (0, true),
                LeaseOfPut::Attach(lease) => (lease, false),
            };
            Request::RequestPut(PutRequest { key, value, lease, ignore_lease, ..PutRequest::default() })
        }
    }
}
