//! Ports that are there for nobody yet: connections are accepted, so that who checks a port finds it open and leaves
//! nothing behind, and closed.
//!
//! Not here: what members say to each other there, once there are several.

use super::acceptor::{Acceptor, ServeError, spawn};
use super::log_limit::LogLimit;
use crate::listen::{Listen, Socket};
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;
use tokio::task::spawn_local;

/// A thread that refuses connections until this is dropped.
#[derive(Debug)]
pub struct Refusing {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Refusing {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to say, and a panic there has been reported.
            let _ = thread.join();
        }
    }
}

pub(super) fn start(sockets: Vec<(Listen, Socket)>) -> Result<Refusing, ServeError> {
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = spawn("peers", move || refuse_all(sockets, stopped))?;
    Ok(Refusing { stop: Some(stop), thread: Some(thread) })
}

fn refuse_all(sockets: Vec<(Listen, Socket)>, stopped: oneshot::Receiver<()>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = runtime.expect("a runtime needs a file descriptor or two, and the listeners already have theirs");
    runtime.block_on(async {
        let log = Rc::new(LogLimit::default());
        for (listen, socket) in sockets {
            spawn_local(refuse(listen, socket, log.clone()));
        }
        let _ = stopped.await;
    });
}

/// One connection at a time is held, and only until its line is written.
async fn refuse(listen: Listen, socket: Socket, log: Rc<LogLimit>) {
    let mut acceptor = match Acceptor::new(socket) {
        Ok(acceptor) => acceptor,
        Err(error) => {
            return tracing::error!(address = %listen.address, %error, "accept connections: the listener cannot be used");
        }
    };
    loop {
        let Ok((_socket, remote)) = acceptor.accept(&listen).await else { continue };
        if let Some(left_out) = log.pass(Instant::now()) {
            let error = "this member has no peers";
            tracing::warn!(
                "remote-addr" = %remote, error, "left-out" = left_out, "rejected connection on peer endpoint"
            );
        }
    }
}
