//! The requests that kube-apiserver and an operator send, and what their answers mean for a workload.

use bytes::Bytes;
use proto::bowline::space_client::SpaceClient;
use proto::bowline::{TopRequest, TopResponse};
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::response_op::Response;
use proto::etcdserverpb::{
    AlarmRequest, CompactionRequest, Compare, DefragmentRequest, DeleteRangeRequest, LeaseGrantRequest, PutRequest,
    RangeRequest, RequestOp, StatusRequest, StatusResponse, TxnRequest, TxnResponse,
};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Longer than any stall that is still an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a write was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// NOSPACE: the quota is used up.
    NoSpace,
    /// A prefix is over its budget.
    OverBudget,
    /// Anything else: an error that no workload expects.
    Failed(String),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Refusal {
        match (status.code(), status.message()) {
            (Code::ResourceExhausted, text) if text.contains("database space exceeded") => Refusal::NoSpace,
            (Code::ResourceExhausted, text) if text.contains("budget") => Refusal::OverBudget,
            (code, text) => Refusal::Failed(format!("{code:?}: {text}")),
        }
    }
}

/// How a guarded write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarded {
    /// Done, at this revision.
    Done(i64),
    /// The key was at another revision: this one, 0 if it is not there.
    Conflict(i64),
}

/// Where a list goes on.
#[derive(Debug)]
pub struct Page {
    /// The first key of the next page, if there is one.
    pub next: Option<Bytes>,
    pub revision: i64,
}

#[derive(Clone)]
pub struct Client {
    kv: KvClient<Channel>,
    lease: LeaseClient<Channel>,
    maintenance: MaintenanceClient<Channel>,
    space: SpaceClient<Channel>,
}

impl Client {
    pub fn new(channel: Channel) -> Client {
        Client {
            kv: KvClient::new(channel.clone())
                .max_decoding_message_size(usize::MAX)
                .max_encoding_message_size(usize::MAX),
            lease: LeaseClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel.clone()),
            space: SpaceClient::new(channel),
        }
    }

    pub async fn put(&mut self, key: Bytes, value: Bytes) -> Result<i64, Refusal> {
        let put = PutRequest { key, value, ..PutRequest::default() };
        Ok(revision(self.kv.put(patient(put)).await?.into_inner().header))
    }

    /// The value of a key, linearizably; none if it is not there.
    pub async fn get(&mut self, key: Bytes) -> Result<Option<Bytes>, Refusal> {
        let range = RangeRequest { key, limit: 1, ..RangeRequest::default() };
        let answer = self.kv.range(patient(range)).await?.into_inner();
        Ok(answer.kvs.into_iter().next().map(|kv| kv.value))
    }

    /// Up to `limit` pairs from `from` to before `end`, at `revision` or, if it is 0, now. None if that is compacted.
    pub async fn page(&mut self, from: Bytes, end: Bytes, revision: i64, limit: i64) -> Result<Option<Page>, Refusal> {
        let range = RangeRequest { key: from, range_end: end, revision, limit, ..RangeRequest::default() };
        let answer = match self.kv.range(patient(range)).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == Code::OutOfRange => return Ok(None),
            Err(status) => return Err(status.into()),
        };
        let revision = if revision == 0 { self::revision(answer.header) } else { revision };
        let last = answer.kvs.last().filter(|_| answer.more).map(|kv| [&kv.key[..], b"\0"].concat().into());
        Ok(Some(Page { next: last, revision }))
    }

    /// Keys that begin with `prefix`.
    pub async fn count(&mut self, prefix: &[u8]) -> Result<i64, Refusal> {
        let range = RangeRequest {
            key: prefix.to_vec().into(),
            range_end: end_of(prefix),
            count_only: true,
            ..RangeRequest::default()
        };
        Ok(self.kv.range(patient(range)).await?.into_inner().count)
    }

    /// The first `limit` keys that begin with `prefix`.
    pub async fn keys(&mut self, prefix: &[u8], limit: i64) -> Result<Vec<Bytes>, Refusal> {
        let range = RangeRequest {
            key: prefix.to_vec().into(),
            range_end: end_of(prefix),
            keys_only: true,
            limit,
            ..RangeRequest::default()
        };
        let answer = self.kv.range(patient(range)).await?.into_inner();
        Ok(answer.kvs.into_iter().map(|kv| kv.key).collect())
    }

    pub async fn revision(&mut self) -> Result<i64, Refusal> {
        let range = RangeRequest { key: "revision".into(), limit: 1, ..RangeRequest::default() };
        Ok(revision(self.kv.range(patient(range)).await?.into_inner().header))
    }

    /// Put if the key's last change was at `at` (0: if it is not there).
    pub async fn put_if(&mut self, key: Bytes, at: i64, value: Bytes, lease: i64) -> Result<Guarded, Refusal> {
        let put = PutRequest { key: key.clone(), value, lease, ..PutRequest::default() };
        self.guarded(key, at, Request::RequestPut(put)).await
    }

    pub async fn delete_if(&mut self, key: Bytes, at: i64) -> Result<Guarded, Refusal> {
        let delete = DeleteRangeRequest { key: key.clone(), ..DeleteRangeRequest::default() };
        self.guarded(key, at, Request::RequestDeleteRange(delete)).await
    }

    async fn guarded(&mut self, key: Bytes, at: i64, then: Request) -> Result<Guarded, Refusal> {
        let compare = compare(&key, CompareTarget::Mod, TargetUnion::ModRevision(at));
        let otherwise = Request::RequestRange(RangeRequest { key, ..RangeRequest::default() });
        let answer = self.txn(compare, then, (at != 0).then_some(otherwise)).await?;
        if answer.succeeded {
            return Ok(Guarded::Done(revision(answer.header)));
        }
        let found = answer.responses.into_iter().find_map(|op| match op.response {
            Some(Response::ResponseRange(range)) => range.kvs.into_iter().next(),
            _ => None,
        });
        Ok(Guarded::Conflict(found.map_or(0, |kv| kv.mod_revision)))
    }

    async fn txn(
        &mut self,
        compare: Compare,
        then: Request,
        otherwise: Option<Request>,
    ) -> Result<TxnResponse, Refusal> {
        let op = |request| RequestOp { request: Some(request) };
        let txn = TxnRequest {
            compare: vec![compare],
            success: vec![op(then)],
            failure: otherwise.map(op).into_iter().collect(),
        };
        Ok(self.kv.txn(patient(txn)).await?.into_inner())
    }

    /// Keys deleted below `prefix`.
    pub async fn delete_prefix(&mut self, prefix: &[u8]) -> Result<i64, Refusal> {
        self.delete_range(prefix, end_of(prefix)).await
    }

    /// Keys deleted from `first` to before `end`.
    pub async fn delete_range(&mut self, first: &[u8], end: Bytes) -> Result<i64, Refusal> {
        let delete = DeleteRangeRequest { key: first.to_vec().into(), range_end: end, ..DeleteRangeRequest::default() };
        Ok(self.kv.delete_range(patient(delete)).await?.into_inner().deleted)
    }

    /// A compaction to `revision`; that it is compacted already is fine.
    pub async fn compact(&mut self, revision: i64, physical: bool) -> Result<(), Refusal> {
        match self.kv.compact(patient(CompactionRequest { revision, physical })).await {
            Err(status) if status.code() != Code::OutOfRange => Err(status.into()),
            _ => Ok(()),
        }
    }

    /// kube-apiserver's claim of a compaction round: the key's version says whose turn it is. The revision of the
    /// write.
    pub async fn claim_round(&mut self, version: i64, remembered: i64) -> Result<Option<i64>, Refusal> {
        const KEY: &[u8] = b"compact_rev_key";
        let value = remembered.to_string().into();
        let put = PutRequest { key: KEY.into(), value, ..PutRequest::default() };
        let guard = compare(KEY, CompareTarget::Version, TargetUnion::Version(version));
        let otherwise = Request::RequestRange(RangeRequest { key: KEY.into(), ..RangeRequest::default() });
        let answer = self.txn(guard, Request::RequestPut(put), Some(otherwise)).await?;
        Ok(answer.succeeded.then(|| revision(answer.header)))
    }

    /// The id of a new lease of `seconds`.
    pub async fn grant(&mut self, seconds: i64) -> Result<i64, Refusal> {
        let grant = LeaseGrantRequest { ttl: seconds, ..LeaseGrantRequest::default() };
        Ok(self.lease.lease_grant(patient(grant)).await?.into_inner().id)
    }

    pub async fn status(&mut self) -> Result<StatusResponse, Refusal> {
        Ok(self.maintenance.status(patient(StatusRequest::default())).await?.into_inner())
    }

    /// What Bowline's own service says of the store.
    pub async fn top(&mut self) -> Result<TopResponse, Refusal> {
        Ok(self.space.top(patient(TopRequest { limit: 1, ..TopRequest::default() })).await?.into_inner())
    }

    pub async fn defragment(&mut self) -> Result<(), Refusal> {
        Ok(self.maintenance.defragment(patient(DefragmentRequest {})).await.map(|_| ())?)
    }

    /// Members that hold an alarm.
    pub async fn alarms(&mut self) -> Result<usize, Refusal> {
        let list = AlarmRequest { action: AlarmAction::Get.into(), ..AlarmRequest::default() };
        Ok(self.maintenance.alarm(patient(list)).await?.into_inner().alarms.len())
    }

    /// As `etcdctl alarm disarm`: every alarm of every member.
    pub async fn disarm(&mut self) -> Result<(), Refusal> {
        let list = AlarmRequest { action: AlarmAction::Get.into(), ..AlarmRequest::default() };
        for alarm in self.maintenance.alarm(patient(list)).await?.into_inner().alarms {
            let action = AlarmAction::Deactivate.into();
            let disarm = AlarmRequest { action, member_id: alarm.member_id, alarm: alarm.alarm };
            self.maintenance.alarm(patient(disarm)).await?;
        }
        Ok(())
    }
}

fn patient<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

fn revision(header: Option<proto::etcdserverpb::ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

fn compare(key: &[u8], target: CompareTarget, union: TargetUnion) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: key.to_vec().into(),
        target_union: Some(union),
        ..Compare::default()
    }
}

/// The first key behind all that begin with `prefix`, whose last byte is not 0xff.
pub fn end_of(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end.into()
}
