//! One gRPC call from its headers to its status: refusals that need no method, the checks in front of every handler,
//! who handles it, and what is measured and logged about it.

mod content;
mod slow;
mod stream;

use crate::call::{Answer, Peer, Remote, Rim, Trace};
use crate::grpc::{self, CallHead, Messages, ReadError, Respond};
use crate::handlers::space::{self, budget};
use crate::handlers::watch::WatchHub;
use crate::handlers::{cluster, health, kv, lease, maintenance};
use crate::http;
use crate::in_flight::{Account, Charge, Piece};
use crate::listen::Serves;
use crate::method::{Kind, Method};
use crate::refusals::Limit;
use crate::status::{self, Code, Status};
use ::http::{Request, StatusCode};
use bytes::Bytes;
use h2::{Reason, RecvStream};
use slow::Slow;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::task::spawn_local;

/// Answers up to this size are handed to HTTP/2 at once; larger ones go piece by piece as the client takes them.
const ANSWER_AT_ONCE_BYTES: usize = 32 << 10;

/// What a call that waits is charged beside its request: its task, its stream, its place in the log.
const CALL_BYTES: usize = 2 << 10;

/// A rim, and what handlers on it keep between calls.
pub(crate) struct Services {
    pub(crate) rim: Rc<Rim>,
    pub(crate) watch: Rc<WatchHub>,
}

impl Services {
    pub(crate) fn new(rim: Rim) -> Services {
        Services { watch: Rc::new(WatchHub::new(&rim.node, rim.metrics.clone())), rim: Rc::new(rim) }
    }
}

/// A unary call being served.
struct Call {
    rim: Rc<Rim>,
    account: Rc<Account>,
    method: Method,
    remote: Remote,
    started: Instant,
    timeout: Option<Duration>,
    request_bytes: usize,
    /// For the log; cut if it is large.
    request: Bytes,
    /// Of a request that came in pieces.
    charge: Option<Charge>,
    trace: Trace,
}

/// Begins a request: answers it if that takes no waiting, or leaves it to a task of its own.
pub(crate) fn begin(
    services: &Rc<Services>,
    peer: Peer,
    account: &Rc<Account>,
    request: Request<RecvStream>,
    respond: Respond,
    context: &mut Context<'_>,
) {
    let rim = &services.rim;
    let is_grpc = grpc::is_grpc(request.headers());
    if !is_grpc && peer.serves == Serves::Grpc {
        return refuse_content_type(rim, &request, respond);
    }
    if !is_grpc || !matches!(peer.serves, Serves::Everything | Serves::Grpc) {
        spawn_local(http::answer_http2(rim.clone(), peer, account.clone(), request, respond));
        return;
    }
    let (parts, body) = request.into_parts();
    let mut messages = Messages::new(body, rim.body_limits(), account.clone());
    if parts.method != ::http::Method::POST {
        let text = format!("Received a HEADERS frame with :method {:?} which should be POST", parts.method.as_str());
        let status = Status::new(Code::Internal, text);
        messages.drain();
        return rim.heads.send_early(respond, StatusCode::METHOD_NOT_ALLOWED, &status);
    }
    let head = match CallHead::parse(&parts.headers) {
        Ok(head) => head,
        Err(abort) => {
            messages.drain();
            return rim.heads.send_early(respond, abort.http, &abort.status);
        }
    };
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let begun = match Method::find(path) {
        _ if head.timeout == Some(Duration::ZERO) => Err(status::DEADLINE_EXCEEDED),
        None => Err(unknown(path)),
        Some(method) => head.is_gzip().map(|is_gzip| {
            messages.set_gzip(is_gzip);
            method
        }),
    };
    match begun {
        Err(status) => {
            messages.drain();
            rim.heads.send_status(respond, &status);
        }
        Ok(method) => begin_method(services, peer.remote, method, head, messages, respond, context),
    }
}

fn refuse_content_type(rim: &Rim, request: &Request<RecvStream>, respond: Respond) {
    let value = request.headers().get(::http::header::CONTENT_TYPE);
    let value = value.map_or_else(String::new, |value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let status = Status::new(Code::InvalidArgument, format!("invalid gRPC request content-type {value:?}"));
    rim.heads.send_early(respond, StatusCode::UNSUPPORTED_MEDIA_TYPE, &status);
}

fn unknown(path: &str) -> Status {
    match grpc::split_path(path) {
        Err(malformed) => malformed,
        Ok((service, method)) if Method::is_known_service(service) => grpc::unknown_method(service, method),
        Ok((service, _)) => grpc::unknown_service(service),
    }
}

fn begin_method(
    services: &Rc<Services>,
    remote: Remote,
    method: Method,
    head: CallHead,
    mut messages: Messages,
    respond: Respond,
    context: &mut Context<'_>,
) {
    if method.kind() != Kind::Unary {
        spawn_local(stream::run(services.clone(), remote, method, head, messages, respond));
        return;
    }
    let started = Instant::now();
    let call = Call {
        rim: services.rim.clone(),
        account: messages.account().clone(),
        method,
        remote,
        started,
        timeout: head.timeout,
        request_bytes: 0,
        request: Bytes::new(),
        charge: None,
        trace: Trace::new(started),
    };
    match messages.poll_only(context) {
        Poll::Ready(message) => begin_unary(call, &head, message, messages, respond),
        Poll::Pending => {
            spawn_local(async move {
                let message = match call.timeout {
                    None => messages.only().await,
                    Some(timeout) => {
                        let only = tokio::time::timeout_at((call.started + timeout).into(), messages.only()).await;
                        only.unwrap_or(Err(ReadError::Refused(status::DEADLINE_EXCEEDED)))
                    }
                };
                begin_unary(call, &head, message, messages, respond);
            });
        }
    }
}

fn begin_unary(
    mut call: Call,
    head: &CallHead,
    message: Result<Option<Bytes>, ReadError>,
    mut messages: Messages,
    respond: Respond,
) {
    let message = match message {
        Ok(Some(message)) => message,
        Ok(None) => return call.rim.heads.send_status(respond, &status::NO_MESSAGE),
        Err(ReadError::Refused(status)) => {
            if let Some(bytes) = messages.too_large() {
                let max = call.rim.config().message_bytes_max() as u64;
                call.rim.shared.refusals.note(Limit::MessageSize, call.method.path(), bytes as u64, max);
            }
            messages.drain();
            return call.rim.heads.send_status(respond, &status);
        }
        Err(ReadError::Gone) => return,
    };
    call.trace.received();
    call.request_bytes = message.len();
    call.request = slow::kept(&message);
    let metrics = call.rim.metrics.method(call.method);
    metrics.started.increment();
    metrics.received.increment();
    call.rim.metrics.received_bytes.add(message.len() as u64);
    if let Err(status) = check(&call.rim, head, false) {
        return call.finish(respond, Err(status));
    }
    call.charge = messages.take_charge();
    if !call.account.is_over() {
        return handle_unary(call, message, respond);
    }
    spawn_local(async move {
        match call.account.clone().charge(CALL_BYTES + call.request_bytes).await {
            Ok(_admitted) => handle_unary(call, message, respond),
            Err(status) => call.finish(respond, Err(status)),
        }
    });
}

fn handle_unary(call: Call, message: Bytes, respond: Respond) {
    let rim = call.rim.clone();
    call.trace.resume();
    match call.method {
        Method::Range => match kv::range_now(&rim, &message, &call.trace) {
            Some(answer) => call.finish(respond, answer),
            None => {
                let account = call.account.clone();
                call.read(respond, async move |trace| kv::range(&rim, &account, message, trace).await)
            }
        },
        Method::Put => call.run(respond, async move |trace| kv::put(&rim, message, trace).await),
        Method::Txn => match kv::TxnCall::decode(&rim, message) {
            Err(status) => call.finish(respond, Err(status)),
            Ok(txn) if txn.is_long_read() => {
                let account = call.account.clone();
                call.read(respond, async move |trace| kv::read_long_txn(&rim, &account, txn, trace).await);
            }
            Ok(txn) => {
                let account = call.account.clone();
                call.run(respond, async move |trace| kv::txn(&rim, &account, txn, trace).await);
            }
        },
        Method::DeleteRange => {
            let account = call.account.clone();
            call.run(respond, async move |trace| kv::delete_range(&rim, &account, message, trace).await);
        }
        Method::Compact => call.run(respond, async move |trace| kv::compact(&rim, message, trace).await),
        Method::LeaseGrant => call.run(respond, async move |trace| lease::grant(&rim, message, trace).await),
        Method::LeaseRevoke => call.run(respond, async move |trace| lease::revoke(&rim, message, trace).await),
        Method::LeaseTimeToLive => call.in_a_turn(respond, move || lease::time_to_live(&rim, message)),
        Method::LeaseLeases => call.in_a_turn(respond, move || lease::leases(&rim, message)),
        Method::MemberList => call.run(respond, async move |_| cluster::member_list(&rim, message).await),
        Method::Alarm => call.run(respond, async move |trace| maintenance::alarm(&rim, message, trace).await),
        Method::Status => call.finish(respond, maintenance::status(&rim, message)),
        Method::Defragment => call.finish(respond, maintenance::defragment(message)),
        Method::Hash => call.run(respond, async move |_| maintenance::hash(&rim, message).await),
        Method::SpaceTop => call.in_a_turn(respond, move || space::top(&rim, message)),
        Method::BudgetSet => call.run(respond, async move |trace| budget::set(&rim, message, trace).await),
        Method::BudgetRemove => call.run(respond, async move |trace| budget::remove(&rim, message, trace).await),
        Method::BudgetList => call.run(respond, async move |_| budget::list(&rim, message).await),
        Method::HashKv => call.run(respond, async move |_| maintenance::hash_kv(&rim, message).await),
        // There are no users yet, so what etcd says while authentication is off is what is true; clients that were
        // given a name and a password go on without them.
        Method::Authenticate => call.finish(respond, Err(crate::status::AUTH_NOT_ENABLED)),
        Method::HealthCheck => call.finish(respond, health::check(message)),
        Method::HealthList => call.finish(respond, health::list(message)),
        Method::RangeStream | Method::Watch | Method::LeaseKeepAlive | Method::HealthWatch => {
            unreachable!("streaming methods do not come here")
        }
    }
}

/// Resolves at the deadline, if there is one.
async fn passes(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// The checks before every handler: what a client says about itself, and whether it wants a leader to be there.
fn check(rim: &Rim, head: &CallHead, is_stream: bool) -> Result<(), Status> {
    if !rim.is_capable() {
        return Err(status::NOT_CAPABLE);
    }
    let version = match &head.client_api_version {
        None => "unknown",
        Some(value) => std::str::from_utf8(value.as_bytes()).map_err(|_| status::INVALID_CLIENT_API_VERSION)?,
    };
    rim.metrics.client_request(version, is_stream);
    if head.require_leader && rim.node.status().leader.is_none() {
        return Err(status::NO_LEADER);
    }
    Ok(())
}

/// What a handler does when the server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// It is waited for.
    ByItself,
    WithTheServer,
}

impl Call {
    /// Runs a handler in a task of its own, within the client's deadline. The node gives up by itself after the request
    /// timeout, and a stop answers what is proposed.
    fn run<F>(self, respond: Respond, handler: F)
    where
        F: AsyncFnOnce(&Trace) -> Result<Answer, Status> + 'static,
    {
        let deadline = self.deadline().filter(|_| self.timeout < Some(self.rim.config().request_timeout));
        self.spawn(respond, deadline, Ends::ByItself, handler);
    }

    /// Runs a handler that only reads, in a task of its own: nobody goes on with it once its client has given up or its
    /// deadline has passed, or the server stops.
    fn read<F>(self, respond: Respond, handler: F)
    where
        F: AsyncFnOnce(&Trace) -> Result<Answer, Status> + 'static,
    {
        let deadline = self.deadline();
        self.spawn(respond, deadline, Ends::WithTheServer, handler);
    }

    fn spawn<F>(self, mut respond: Respond, deadline: Option<Instant>, ends: Ends, handler: F)
    where
        F: AsyncFnOnce(&Trace) -> Result<Answer, Status> + 'static,
    {
        let request_bytes = if self.charge.is_some() { 0 } else { self.request_bytes };
        let charge = self.account.charge_anyway(CALL_BYTES + request_bytes);
        self.trace.pause();
        spawn_local(async move {
            let _charge = charge;
            let stops = self.stops(ends);
            let result = tokio::select! {
                biased;
                result = self.trace.traced(handler(&self.trace)) => result,
                _ = poll_fn(|context| respond.poll_reset(context)) => return self.record(Code::Canceled, 0),
                () = passes(deadline) => {
                    respond.send_reset(Reason::CANCEL);
                    return self.record(self.late_code(), 0);
                }
                () = stops => Err(status::STOPPED),
            };
            self.finish(respond, result);
        });
    }

    /// Resolves when the server stops, for who ends with it.
    fn stops(&self, ends: Ends) -> impl Future<Output = ()> + use<> {
        let signal = (ends == Ends::WithTheServer).then(|| self.rim.stream_signal());
        async move {
            match signal {
                // The server's end is a stop, too.
                Some(mut signal) => drop(signal.wait_for(|signal| signal.is_stopping).await),
                None => std::future::pending().await,
            }
        }
    }

    /// Runs a short handler that may look at very many leases or accounts when its turn among long reads has come.
    fn in_a_turn(self, respond: Respond, handler: impl FnOnce() -> Result<Answer, Status> + 'static) {
        let (rim, of) = (self.rim.clone(), self.account.id());
        self.read(respond, async move |_| rim.lane.slice(of, handler).await);
    }

    fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|timeout| self.started + timeout)
    }

    /// What a call counts as whose deadline passed, so that nobody reads an answer. As in etcd: what was proposed and
    /// is not done in time is unavailable.
    fn late_code(&self) -> Code {
        let is_write = self.trace.request.get().is_some_and(|request| !request.is_read());
        if is_write { Code::Unavailable } else { Code::DeadlineExceeded }
    }

    /// Answers the call.
    fn finish(self, respond: Respond, result: Result<Answer, Status>) {
        self.trace.pause();
        self.trace.answered();
        match result {
            Ok(Answer::Message(message)) if message.len() <= ANSWER_AT_ONCE_BYTES => {
                let bytes = message.len();
                let charge = self.account.charge_anyway(bytes);
                self.rim.heads.send_message(respond, Piece::new(message, charge));
                self.record(Code::Ok, bytes);
            }
            Ok(answer) => {
                spawn_local(self.send_before_deadline(respond, answer));
            }
            Err(status) => {
                self.rim.heads.send_status(respond, &status);
                self.record(status.code, 0);
            }
        }
    }

    /// What is not read by then is not read at all.
    async fn send_before_deadline(self, respond: Respond, answer: Answer) {
        tokio::select! {
            biased;
            () = self.send_in_pieces(respond, answer) => {}
            () = passes(self.deadline()) => self.record(Code::DeadlineExceeded, 0),
        }
    }

    async fn send_in_pieces(&self, mut respond: Respond, answer: Answer) {
        let Ok(mut answers) = self.rim.heads.open(&mut respond, &self.account) else {
            return self.record(Code::Canceled, 0);
        };
        let (bytes, sent) = match answer {
            Answer::Message(message) => {
                let (bytes, piece) = (message.len(), answers.piece(message));
                (bytes, self.trace.traced(answers.send(piece)).await.map_err(|_| None))
            }
            Answer::Range(body) => (body.message_bytes(), self.trace.traced(body.send(&self.rim, &mut answers)).await),
        };
        match sent {
            Ok(()) => {
                self.rim.heads.close(answers, None);
                self.record(Code::Ok, bytes);
            }
            Err(Some(status)) => {
                tracing::error!(method = self.method.path(), error = %status.message, "answer that cannot be read");
                self.rim.heads.close(answers, Some(&status));
                self.record(status.code, 0);
            }
            Err(None) => self.record(Code::Canceled, 0),
        }
    }

    /// Counts the call and logs it if it was slow.
    fn record(&self, code: Code, answer_bytes: usize) {
        let took = self.started.elapsed();
        let metrics = self.rim.metrics.method(self.method);
        metrics.handled[code as usize].increment();
        // As etcd's: an answer is sent whatever it says.
        metrics.sent.increment();
        if code == Code::Ok {
            self.rim.metrics.sent_bytes.add(answer_bytes.saturating_sub(crate::wire::PREFIX_BYTES) as u64);
        }
        if let Some(seconds) = &metrics.seconds {
            seconds.observe(took);
        }
        if let Some(request) = self.trace.request.get() {
            // As etcd's: an entry of the log that is refused was a request that succeeded.
            let succeeded = if request.is_read() { code == Code::Ok } else { !self.trace.is_refused.get() };
            self.rim.metrics.request(request, succeeded, took);
        }
        if took > self.rim.config().slow_request {
            let slow = Slow {
                rim: &self.rim,
                method: self.method,
                remote: self.remote,
                request: &self.request,
                request_bytes: self.request_bytes,
                answer_bytes,
                code,
                trace: &self.trace,
                took,
            };
            slow.log();
        }
    }
}
