//! The watch protocol, message by message.

use crate::server::{Server, Setup, put};
use pb::kv_client::KvClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use proto::etcdserverpb as pb;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;

pub struct Stream {
    requests: mpsc::UnboundedSender<pb::WatchRequest>,
    answers: tonic::Streaming<pb::WatchResponse>,
}

impl Stream {
    pub async fn open(server: &Server) -> Stream {
        Stream::on(server.channel().await).await
    }

    async fn on(channel: Channel) -> Stream {
        let (requests, receiver) = mpsc::unbounded_channel();
        let mut client = WatchClient::new(channel).max_decoding_message_size(1 << 30);
        let answers = client.watch(UnboundedReceiverStream::new(receiver)).await.expect("a stream").into_inner();
        Stream { requests, answers }
    }

    pub fn send(&self, request: RequestUnion) {
        self.requests.send(pb::WatchRequest { request_union: Some(request) }).expect("the stream is open");
    }

    pub fn create(&self, request: pb::WatchCreateRequest) {
        self.send(RequestUnion::CreateRequest(request));
    }

    pub async fn next(&mut self) -> pb::WatchResponse {
        let next = tokio::time::timeout(Duration::from_secs(20), self.answers.message()).await;
        next.expect("in time").expect("a message").expect("the stream goes on")
    }

    /// The next answer, or how the stream ends.
    pub async fn try_next(&mut self) -> Result<Option<pb::WatchResponse>, tonic::Status> {
        self.answers.message().await
    }

    async fn created(&mut self, request: pb::WatchCreateRequest) -> i64 {
        self.create(request);
        let created = self.next().await;
        assert!(created.created && !created.canceled, "{created:?}");
        created.watch_id
    }
}

pub fn prefix(key: &str) -> pb::WatchCreateRequest {
    let mut end = key.as_bytes().to_vec();
    *end.last_mut().expect("not empty") += 1;
    pb::WatchCreateRequest { key: key.to_string().into(), range_end: end.into(), ..Default::default() }
}

async fn put_all(kv: &mut KvClient<Channel>, keys: &[&str]) {
    for key in keys {
        kv.put(put(*key, *key)).await.expect("put");
    }
}

/// Kind, key and revision of each event.
fn events(response: &pb::WatchResponse) -> Vec<(i32, String, i64)> {
    let event = |event: &proto::mvccpb::Event| {
        let kv = event.kv.clone().expect("a pair");
        (event.r#type, String::from_utf8_lossy(&kv.key).into_owned(), kv.mod_revision)
    };
    response.events.iter().map(event).collect()
}

fn event(kind: i32, key: &str, revision: i64) -> (i32, String, i64) {
    (kind, key.to_string(), revision)
}

#[tokio::test]
async fn a_watch_gets_what_changes_after_it() {
    let server = Server::start();
    let mut kv = server.kv().await;
    put_all(&mut kv, &["a0"]).await;
    let mut stream = Stream::open(&server).await;
    stream.create(prefix("a"));
    let created = stream.next().await;
    assert_eq!((created.watch_id, created.created, created.header.expect("a header").revision), (0, true, 2));
    put_all(&mut kv, &["a1", "b", "a1"]).await;
    for (key, revision) in [("a1", 3), ("a1", 5)] {
        let response = stream.next().await;
        assert_eq!(events(&response), [event(0, key, revision)]);
        assert_eq!(response.header.expect("a header").revision, revision);
        assert!(response.events[0].prev_kv.is_none());
    }
    kv.delete_range(pb::DeleteRangeRequest { key: "a".into(), range_end: "b".into(), prev_kv: false })
        .await
        .expect("deleted");
    let response = stream.next().await;
    assert_eq!(events(&response), [event(1, "a0", 6), event(1, "a1", 6)], "one revision is one message");
    let kv = response.events[0].kv.clone().expect("a pair");
    assert_eq!((kv.create_revision, kv.version, kv.value.len()), (0, 0, 0));
}

#[tokio::test]
async fn history_is_replayed_from_the_start_revision() {
    let server = Server::start();
    let mut kv = server.kv().await;
    put_all(&mut kv, &["a1", "a2", "b", "a1"]).await;
    let mut stream = Stream::open(&server).await;
    stream.created(pb::WatchCreateRequest { start_revision: 3, prev_kv: true, ..prefix("a") }).await;
    let response = stream.next().await;
    assert_eq!(events(&response), [event(0, "a2", 3), event(0, "a1", 5)]);
    assert_eq!(response.header.expect("a header").revision, 5, "catching up tells the current revision");
    assert!(response.events[0].prev_kv.is_none());
    assert_eq!(response.events[1].prev_kv.clone().expect("the pair before").mod_revision, 2);
}

#[tokio::test]
async fn a_future_start_revision_waits() {
    let server = Server::start();
    let mut kv = server.kv().await;
    let mut stream = Stream::open(&server).await;
    stream.created(pb::WatchCreateRequest { start_revision: 4, ..prefix("a") }).await;
    put_all(&mut kv, &["a1", "a2", "a3", "a4"]).await;
    assert_eq!(events(&stream.next().await), [event(0, "a3", 4)]);
    assert_eq!(events(&stream.next().await), [event(0, "a4", 5)]);
}

#[tokio::test]
async fn filters_leave_out_their_kind() {
    let server = Server::start();
    let mut kv = server.kv().await;
    let mut stream = Stream::open(&server).await;
    let no_put = stream.created(pb::WatchCreateRequest { filters: vec![0], ..prefix("a") }).await;
    let no_delete = stream.created(pb::WatchCreateRequest { filters: vec![1], ..prefix("a") }).await;
    put_all(&mut kv, &["a"]).await;
    let response = stream.next().await;
    assert_eq!((response.watch_id, events(&response)), (no_delete, vec![event(0, "a", 2)]));
    kv.delete_range(pb::DeleteRangeRequest { key: "a".into(), ..Default::default() }).await.expect("deleted");
    let response = stream.next().await;
    assert_eq!((response.watch_id, events(&response)), (no_put, vec![event(1, "a", 3)]));
}

#[tokio::test]
async fn ids_are_picked_or_taken_and_never_double() {
    let server = Server::start();
    let mut stream = Stream::open(&server).await;
    let with_id = |watch_id| pb::WatchCreateRequest { watch_id, ..prefix("a") };
    assert_eq!(stream.created(with_id(1)).await, 1);
    assert_eq!(stream.created(with_id(0)).await, 0);
    assert_eq!(stream.created(with_id(0)).await, 2, "1 is taken");
    assert_eq!(stream.created(with_id(-7)).await, -7);
    stream.create(with_id(2));
    let refused = stream.next().await;
    assert_eq!((refused.watch_id, refused.created, refused.canceled), (-1, true, true));
    assert_eq!(refused.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
    stream.send(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 404 }));
    stream.send(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 2 }));
    let canceled = stream.next().await;
    assert_eq!((canceled.watch_id, canceled.canceled, canceled.cancel_reason.as_str()), (2, true, ""));
    assert_eq!(stream.created(with_id(2)).await, 2, "free again");
}

#[tokio::test]
async fn wrong_creations_are_cancelled_with_etcds_reasons() {
    let server = Server::start();
    let mut stream = Stream::open(&server).await;
    let table = [
        (
            pb::WatchCreateRequest { start_revision: -1, ..prefix("a") },
            "etcdserver: mvcc: required revision has been compacted",
        ),
        (
            pb::WatchCreateRequest { key: "b".into(), range_end: "a".into(), ..Default::default() },
            "mvcc: watcher range is empty",
        ),
        (
            pb::WatchCreateRequest { key: "b".into(), range_end: "b".into(), ..Default::default() },
            "mvcc: watcher range is empty",
        ),
    ];
    for (request, reason) in table {
        stream.create(request);
        let refused = stream.next().await;
        assert_eq!((refused.watch_id, refused.created, refused.canceled), (-1, true, true));
        assert_eq!(refused.cancel_reason, reason);
    }
    // Nothing of this ends the stream; an empty key is the first key there can be.
    let everything = pb::WatchCreateRequest { range_end: vec![0].into(), ..Default::default() };
    stream.created(everything).await;
    put_all(&mut server.kv().await, &["x"]).await;
    assert_eq!(events(&stream.next().await), [event(0, "x", 2)]);
}

#[tokio::test]
async fn a_watch_of_compacted_history_is_cancelled_after_it_was_created() {
    let server = Server::start();
    let mut kv = server.kv().await;
    put_all(&mut kv, &["a", "a", "a"]).await;
    kv.compact(pb::CompactionRequest { revision: 3, physical: true }).await.expect("compacted");
    let mut stream = Stream::open(&server).await;
    let watch_id = stream.created(pb::WatchCreateRequest { start_revision: 2, ..prefix("a") }).await;
    let canceled = stream.next().await;
    assert_eq!((canceled.watch_id, canceled.canceled, canceled.compact_revision), (watch_id, true, 3));
    assert_eq!((canceled.header.expect("a header").revision, canceled.cancel_reason.as_str()), (0, ""));
    stream.created(pb::WatchCreateRequest { start_revision: 3, ..prefix("a") }).await;
    assert_eq!(events(&stream.next().await), [event(0, "a", 3), event(0, "a", 4)], "the compacted one itself is there");
}

#[tokio::test]
async fn progress_is_told_when_all_watches_are_in_step() {
    let server = Server::start();
    let mut kv = server.kv().await;
    let mut stream = Stream::open(&server).await;
    let progress = || RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
    stream.send(progress());
    stream.created(prefix("a")).await;
    put_all(&mut kv, &["a", "b", "b"]).await;
    stream.send(progress());
    assert_eq!(events(&stream.next().await), [event(0, "a", 2)]);
    let told = stream.next().await;
    assert_eq!((told.watch_id, told.header.expect("a header").revision), (-1, 4));
    assert!(told.events.is_empty() && !told.created);
    // One that waits for the future holds progress back; another request is not answered until it is gone.
    let waiting = stream.created(pb::WatchCreateRequest { start_revision: 100, ..prefix("a") }).await;
    stream.send(progress());
    stream.send(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: waiting }));
    assert!(stream.next().await.canceled);
    stream.send(progress());
    assert_eq!(stream.next().await.watch_id, -1);
}

#[tokio::test]
async fn quiet_watches_hear_of_progress_by_themselves() {
    let mut setup = Setup::default();
    setup.api.watch_progress_interval = Duration::from_millis(150);
    let server = Server::start_with(setup);
    let mut kv = server.kv().await;
    let mut stream = Stream::open(&server).await;
    stream.created(prefix("a")).await;
    let notified = stream.created(pb::WatchCreateRequest { progress_notify: true, ..prefix("b") }).await;
    put_all(&mut kv, &["x"]).await;
    let told = stream.next().await;
    assert_eq!((told.watch_id, told.header.expect("a header").revision), (notified, 2));
    assert!(told.events.is_empty());
}

/// A client goes on behind the last event or notification that it saw; behind a compaction it could not.
#[tokio::test]
async fn idle_watches_that_want_progress_are_told_how_far_they_came_before_a_compaction() {
    let server = Server::start();
    let mut kv = server.kv().await;
    let compact = |revision| pb::CompactionRequest { revision, physical: false };
    let wants_progress = |key| pb::WatchCreateRequest { progress_notify: true, ..prefix(key) };
    let mut stream = Stream::open(&server).await;
    stream.created(prefix("idle")).await;
    let idle = stream.created(wants_progress("idle")).await;
    let busy = stream.created(wants_progress("busy")).await;
    stream.created(pb::WatchCreateRequest { start_revision: 100, ..wants_progress("idle") }).await;
    let mut told = async || {
        let response = stream.next().await;
        let is_event = !response.events.is_empty();
        (response.watch_id, is_event, response.header.expect("a header").revision)
    };

    put_all(&mut kv, &["other", "busy", "other"]).await;
    assert_eq!(told().await, (busy, true, 3));
    kv.compact(compact(100)).await.expect_err("what is refused is not announced");
    kv.compact(compact(4)).await.expect("compacted");
    assert_eq!(told().await, (idle, false, 4), "the other one goes on at 4");
    put_all(&mut kv, &["busy", "other", "other"]).await;
    assert_eq!(told().await, (busy, true, 5), "nobody else heard of it");
    kv.compact(compact(7)).await.expect("compacted");
    assert_eq!(told().await, (idle, false, 7));
    assert_eq!(told().await, (busy, false, 7));
    put_all(&mut kv, &["busy"]).await;
    assert_eq!(told().await, (busy, true, 8), "nobody else heard of it");
}

#[tokio::test]
async fn a_thousand_idle_watches_are_told_once_for_each_compaction() {
    const WATCHES: i64 = 1_000;
    let server = Server::start();
    let mut kv = server.kv().await;
    let mut stream = Stream::open(&server).await;
    for watch_id in 1..=WATCHES {
        stream.create(pb::WatchCreateRequest { progress_notify: true, watch_id, ..prefix("idle") });
        assert!(stream.next().await.created);
    }
    for revision in [3, 5, 7] {
        put_all(&mut kv, &["x", "x"]).await;
        kv.compact(pb::CompactionRequest { revision, physical: false }).await.expect("compacted");
        let mut told = Vec::new();
        for _ in 0..WATCHES {
            let response = stream.next().await;
            assert_eq!((response.events.len(), response.header.expect("a header").revision), (0, revision));
            told.push(response.watch_id);
        }
        assert!(told.into_iter().eq(1..=WATCHES));
    }
}

#[tokio::test]
async fn fragments_are_cut_only_when_asked_for() {
    let mut setup = Setup::default();
    setup.api.request_bytes_max = 100_000;
    let server = Server::start_with(setup);
    let mut kv = server.kv().await;
    for number in 0..20 {
        kv.put(put(format!("a{number:02}"), vec![1; 90_000])).await.expect("put");
    }
    let mut stream = Stream::open(&server).await;
    stream.created(pb::WatchCreateRequest { start_revision: 2, fragment: true, ..prefix("a") }).await;
    let (mut keys, mut parts) = (0, 0);
    loop {
        let part = stream.next().await;
        keys += part.events.len();
        parts += 1;
        assert!(prost::Message::encoded_len(&part) < 100_000 + (512 << 10));
        if !part.fragment && keys == 20 {
            break;
        }
    }
    assert!(parts > 2);
    let mut stream = Stream::open(&server).await;
    stream.created(pb::WatchCreateRequest { start_revision: 2, ..prefix("a") }).await;
    let mut keys = 0;
    while keys < 20 {
        let whole = stream.next().await;
        assert!(!whole.fragment);
        keys += whole.events.len();
    }
}

/// Nothing is lost for a client that does not read for a while, and the others do not wait for it.
#[tokio::test]
async fn a_slow_reader_gets_everything_in_the_end() {
    let server = Server::start();
    let mut kv = server.kv().await;
    let mut slow = Stream::open(&server).await;
    slow.created(prefix("a")).await;
    let mut quick = Stream::open(&server).await;
    quick.created(prefix("a")).await;
    for number in 0..400 {
        kv.put(put(format!("a{number:04}"), vec![1; 10_000])).await.expect("put");
    }
    for stream in [&mut quick, &mut slow] {
        let mut revisions = Vec::new();
        while revisions.len() < 400 {
            let response = stream.next().await;
            revisions.extend(events(&response).into_iter().map(|(_, _, revision)| revision));
        }
        assert!(revisions.iter().copied().eq(2..402), "each once, in order");
    }
}

#[tokio::test]
async fn many_watches_share_a_stream_and_end_with_it() {
    let server = Server::start();
    let mut kv = server.kv().await;
    let mut stream = Stream::open(&server).await;
    for watch_id in 0..500 {
        stream.create(pb::WatchCreateRequest { watch_id: watch_id + 1, ..prefix("a") });
    }
    for _ in 0..500 {
        assert!(stream.next().await.created);
    }
    put_all(&mut kv, &["a"]).await;
    let mut ids = Vec::new();
    for _ in 0..500 {
        ids.push(stream.next().await.watch_id);
    }
    ids.sort_unstable();
    assert!(ids.into_iter().eq(1..=500));
    assert_eq!(watchers(&server).await, 500.0);
    drop(stream);
    let gone = async {
        while watchers(&server).await > 0.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("watchers go with their stream");
}

pub async fn watchers(server: &Server) -> f64 {
    crate::http::metric(server, "etcd_debugging_mvcc_watcher_total").await
}

#[tokio::test]
async fn half_closing_the_requests_does_not_end_the_watch() {
    let server = Server::start();
    let mut kv = server.kv().await;
    let mut stream = Stream::open(&server).await;
    stream.created(prefix("a")).await;
    let (unused, _) = mpsc::unbounded_channel();
    drop(std::mem::replace(&mut stream.requests, unused));
    put_all(&mut kv, &["a"]).await;
    assert_eq!(events(&stream.next().await), [event(0, "a", 2)]);
}
