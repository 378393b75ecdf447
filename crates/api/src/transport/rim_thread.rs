//! A rim's thread: the connections that are dealt to it, what happens there by the clock, and its end.
//!
//! Invariant: it ends when its connections have ended, or at the deadline of the stop.

use super::connection::{self, Accepted};
use super::connections::Connections;
use crate::call::{Rim, Shared};
use crate::dispatch::Services;
use crate::handlers::watch;
use node::Mailbox;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

/// What a rim is told.
pub(crate) enum RimMessage {
    Connection(Accepted),
    /// Finish what is running until then, and end.
    Stop {
        until: Instant,
    },
}

/// For the text of `/metrics` and a hash, of which there is one at a time in the process.
const BLOCKING_THREADS_MAX: usize = 2;
/// How often silent connections are looked for.
const ALIVE_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Checks without a leader, an election timeout apart, before streams that require one are ended.
const NO_LEADER_CHECKS: u32 = 3;

/// Runs rim number `index` until it is told to stop.
pub(crate) fn run(shared: Arc<Shared>, index: usize, messages: mpsc::UnboundedReceiver<RimMessage>) {
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build_local(LocalOptions::default());
    let runtime = runtime.expect("a runtime needs a file descriptor or two, and the listeners already have theirs");
    runtime.block_on(async move {
        let mailbox = Mailbox::new();
        spawn_local(mailbox.deliver());
        let services = Rc::new(Services::new(Rim::new(shared, index, &mailbox)));
        let connections = Rc::new(Connections::default());
        spawn_local(watch::pump(services.rim.clone(), services.watch.clone()));
        spawn_local(check_alive(services.rim.clone(), connections.clone()));
        spawn_local(check_leader(services.clone()));
        accept(services, connections, messages).await;
    });
}

async fn accept(
    services: Rc<Services>,
    connections: Rc<Connections>,
    mut messages: mpsc::UnboundedReceiver<RimMessage>,
) {
    while let Some(message) = messages.recv().await {
        match message {
            RimMessage::Connection(accepted) => {
                let (services, connections) = (services.clone(), connections.clone());
                connections.opened();
                spawn_local(async move {
                    connection::serve(services, connections.clone(), accepted).await;
                    connections.closed();
                });
            }
            RimMessage::Stop { until } => return stop(&services.rim, &connections, until).await,
        }
    }
}

/// How long a stop waits for clients without calls to close their connections.
const IDLE_GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

async fn stop(rim: &Rim, connections: &Connections, until: Instant) {
    rim.stop_streams();
    connections.stop();
    let mut all_closed = pin!(connections.all_closed());
    // A client that has no call open has nothing to wait for, whether it answers the goodbye or not.
    let idle_until = until.min(Instant::now() + IDLE_GOODBYE_TIMEOUT);
    if tokio::time::timeout_at(idle_until.into(), all_closed.as_mut()).await.is_ok() {
        return;
    }
    connections.close_idle();
    if tokio::time::timeout_at(until.into(), all_closed).await.is_err() {
        tracing::warn!(connections = connections.open(), "stop: connections are still open and are cut off");
    }
}

async fn check_alive(rim: Rc<Rim>, connections: Rc<Connections>) {
    let (interval, timeout) = (rim.config().keepalive_interval, rim.config().keepalive_timeout);
    if interval.is_zero() {
        return;
    }
    let mut ticks = tokio::time::interval(ALIVE_CHECK_INTERVAL.min(timeout).max(Duration::from_millis(100)));
    loop {
        let now = ticks.tick().await.into_std();
        connections.check_alive(now, interval, timeout);
    }
}

/// Looks once per election timeout at what streams and metrics want to know.
async fn check_leader(services: Rc<Services>) {
    let rim = &services.rim;
    let mut ticks = tokio::time::interval(rim.config().election_timeout.max(Duration::from_millis(10)));
    let mut leaderless = Leaderless::default();
    loop {
        ticks.tick().await;
        let is_lost = leaderless.check(rim.node.status().leader.is_some());
        rim.set_leader_is_lost(is_lost);
        services.watch.count_slow();
    }
}

/// Checks in a row that found no leader.
#[derive(Debug, Default)]
struct Leaderless(u32);

impl Leaderless {
    /// True once there have been too many.
    fn check(&mut self, has_leader: bool) -> bool {
        self.0 = if has_leader { 0 } else { (self.0 + 1).min(NO_LEADER_CHECKS) };
        self.0 == NO_LEADER_CHECKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_lost_after_three_checks_in_a_row() {
        let mut leaderless = Leaderless::default();
        let seen = [false, false, true, false, false, false, false, true, false];
        let lost = [false, false, false, false, false, true, true, false, false];
        assert_eq!(seen.map(|has_leader| leaderless.check(has_leader)), lost);
    }
}
