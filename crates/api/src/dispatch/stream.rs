//! One streaming call from its checks to its status.

use super::Services;
use super::slow::Slow;
use crate::call::{Handled, OutsideEnd, Remote, StreamCall, StreamEnd, StreamTrace};
use crate::grpc::{CallHead, Messages, Respond};
use crate::handlers::watch::{self, WatchHub};
use crate::handlers::{health, kv, lease};
use crate::method::{Kind, Method};
use crate::status::Code;
use std::rc::Rc;
use std::time::Instant;

/// Runs a streaming call to its end.
pub(super) async fn run(
    services: Rc<Services>,
    remote: Remote,
    method: Method,
    head: CallHead,
    messages: Messages,
    respond: Respond,
) {
    let started = Instant::now();
    let trace = StreamTrace::new(started);
    let metrics = services.rim.metrics.clone();
    let metrics = metrics.method(method);
    metrics.started.increment();
    let code = match super::check(&services.rim, &head, true) {
        Ok(()) => run_checked(&services, method, &head, messages, respond, &trace).await,
        Err(status) => {
            services.rim.heads.send_status(respond, &status);
            status.code
        }
    };
    // As etcd's: what finds that the client sends no more counts too.
    if method.kind() == Kind::BidiStream {
        metrics.received.increment();
    }
    metrics.handled[code as usize].increment();
    if let Some(seconds) = &metrics.seconds {
        seconds.observe(started.elapsed());
    }
    let took = started.elapsed();
    // The others live as long as their clients want.
    if method == Method::RangeStream && took > services.rim.config().slow_request {
        let request = trace.request.take();
        let slow = Slow {
            rim: &services.rim,
            method,
            remote,
            request: &request,
            request_bytes: request.len(),
            answer_bytes: trace.sent_bytes.get(),
            code,
            trace: &trace.trace,
            took,
        };
        slow.log();
    }
}

async fn run_checked(
    services: &Services,
    method: Method,
    head: &CallHead,
    messages: Messages,
    mut respond: Respond,
    trace: &Rc<StreamTrace>,
) -> Code {
    let rim = &services.rim;
    let Ok(answers) = rim.heads.open(&mut respond, messages.account()) else { return Code::Canceled };
    let (messages, collector) = messages.collected();
    let outside = OutsideEnd { require_leader: head.require_leader, signal: rim.stream_signal() };
    let call = StreamCall { rim: rim.clone(), method, messages, answers, outside, trace: trace.clone() };
    let handled = trace.trace.traced(collector.collect_during(handle(call, &services.watch)));
    let handled = match head.timeout {
        None => Ok(handled.await),
        Some(timeout) => tokio::time::timeout_at((trace.trace.started() + timeout).into(), handled).await,
    };
    match handled {
        Ok((answers, Ok(()))) => {
            rim.heads.close(answers, None);
            Code::Ok
        }
        Ok((answers, Err(StreamEnd::Refused(status)))) => {
            rim.heads.close(answers, Some(&status));
            status.code
        }
        Ok((_, Err(StreamEnd::Gone))) => Code::Canceled,
        // The handler is dropped, and the stream with it: the client, which set the deadline, sees it cancelled.
        Err(_) => Code::DeadlineExceeded,
    }
}

async fn handle(call: StreamCall, watches: &Rc<WatchHub>) -> Handled {
    match call.method {
        Method::RangeStream => kv::range_stream(call).await,
        Method::Watch => watch::serve(call, watches).await,
        Method::LeaseKeepAlive => lease::keep_alive(call).await,
        Method::HealthWatch => health::watch(call).await,
        _ => unreachable!("unary methods do not come here"),
    }
}
