//! One streaming call from its checks to its status.

use super::Services;
use crate::call::{Handled, OutsideEnd, StreamCall, StreamEnd};
use crate::grpc::{CallHead, Messages, Respond};
use crate::handlers::watch::{self, WatchHub};
use crate::handlers::{health, kv, lease};
use crate::method::{Kind, Method};
use crate::status::Code;
use std::rc::Rc;
use std::time::Instant;

/// Runs a streaming call to its end.
pub(super) async fn run(services: Rc<Services>, method: Method, head: CallHead, messages: Messages, respond: Respond) {
    let started = Instant::now();
    let metrics = services.rim.metrics.clone();
    let metrics = metrics.method(method);
    metrics.started.increment();
    let code = match super::check(&services.rim, &head, true) {
        Ok(()) => run_checked(&services, method, &head, messages, respond, started).await,
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
}

async fn run_checked(
    services: &Services,
    method: Method,
    head: &CallHead,
    messages: Messages,
    mut respond: Respond,
    started: Instant,
) -> Code {
    let rim = &services.rim;
    let Ok(answers) = rim.heads.open(&mut respond, messages.account()) else { return Code::Canceled };
    let (messages, collector) = messages.collected();
    let outside = OutsideEnd { require_leader: head.require_leader, signal: rim.stream_signal() };
    let call = StreamCall { rim: rim.clone(), method, messages, answers, outside };
    let handled = collector.collect_during(handle(call, &services.watch));
    let handled = match head.timeout {
        None => Ok(handled.await),
        Some(timeout) => tokio::time::timeout_at((started + timeout).into(), handled).await,
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
