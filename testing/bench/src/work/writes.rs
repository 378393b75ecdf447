//! Puts and the Kubernetes mix of guarded writes.

use super::{drive, key, seconds, value};
use crate::report::Figure;
use harness::Server;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::response_op::Response;
use proto::etcdserverpb::{Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Keys that the writers share.
const KEYS: usize = 10_000;

pub async fn puts(server: &mut Server, scale: f64, value_bytes: usize, in_flight: usize) -> Vec<Figure> {
    let values: Arc<Vec<_>> = Arc::new((0..64).map(|seed| value(value_bytes, seed)).collect());
    let measured = drive(server, in_flight, seconds(scale, 4.0), move |mut client, number| {
        let value = values[number % values.len()].clone();
        async move {
            let put = PutRequest { key: key(number % KEYS), value, ..PutRequest::default() };
            client.put(put).await.expect("put succeeds");
        }
    })
    .await;
    measured.figures()
}

/// Create 30 %, guarded update 55 %, guarded delete 15 %, each as kube-apiserver sends it; callers own their objects,
/// as controllers mostly do.
pub async fn kubernetes(server: &mut Server, scale: f64, in_flight: usize) -> Vec<Figure> {
    let owned: Arc<Vec<Mutex<Objects>>> = Arc::new((0..in_flight).map(|_| Mutex::default()).collect());
    let object = value(1024, 7);
    let measured = drive(server, in_flight, seconds(scale, 4.0), move |mut client, number| {
        let (owned, object) = (owned.clone(), object.clone());
        async move {
            let caller = number % in_flight;
            let step = owned[caller].lock().expect("no caller panics").next(number);
            let (key, revision, request) = match step {
                Step::Create(key) => (key, 0, put(key, object)),
                Step::Update(key, revision) => (key, revision, put(key, object)),
                Step::Delete(key, revision) => {
                    let delete = DeleteRangeRequest { key: super::key(key), ..DeleteRangeRequest::default() };
                    (key, revision, Request::RequestDeleteRange(delete))
                }
            };
            let deletes = matches!(request, Request::RequestDeleteRange(_));
            let otherwise = Request::RequestRange(RangeRequest { key: super::key(key), ..RangeRequest::default() });
            let txn = TxnRequest {
                compare: vec![guard(key, revision)],
                success: vec![RequestOp { request: Some(request) }],
                failure: if revision == 0 { vec![] } else { vec![RequestOp { request: Some(otherwise) }] },
            };
            let answer = client.txn(txn).await.expect("txn succeeds").into_inner();
            assert!(answer.succeeded, "callers own their objects");
            assert!(answer.responses.iter().all(|op| !matches!(op.response, Some(Response::ResponseRange(_)))));
            let revision = answer.header.map_or(0, |header| header.revision);
            owned[caller].lock().expect("no caller panics").done(key, (!deletes).then_some(revision));
        }
    })
    .await;
    measured.figures()
}

fn put(key: usize, value: bytes::Bytes) -> Request {
    Request::RequestPut(PutRequest { key: super::key(key), value, ..PutRequest::default() })
}

fn guard(key: usize, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: super::key(key),
        target_union: Some(TargetUnion::ModRevision(revision)),
        ..Compare::default()
    }
}

enum Step {
    Create(usize),
    Update(usize, i64),
    Delete(usize, i64),
}

/// The objects of one caller with their revisions.
#[derive(Default)]
struct Objects {
    revisions: HashMap<usize, i64>,
    names: Vec<usize>,
}

impl Objects {
    fn next(&mut self, number: usize) -> Step {
        let dice = number.wrapping_mul(0x9e37_79b9) >> 7;
        let chosen = self.names.get(dice % self.names.len().max(1)).copied();
        match (dice % 100, chosen.and_then(|name| Some((name, *self.revisions.get(&name)?)))) {
            (0..30, _) | (_, None) => Step::Create(number),
            (30..85, Some((name, revision))) => Step::Update(name, revision),
            (_, Some((name, revision))) => {
                self.names.retain(|other| *other != name);
                Step::Delete(name, revision)
            }
        }
    }

    fn done(&mut self, name: usize, revision: Option<i64>) {
        match revision {
            Some(revision) => {
                if self.revisions.insert(name, revision).is_none() {
                    self.names.push(name);
                }
            }
            None => {
                self.revisions.remove(&name);
            }
        }
    }
}
