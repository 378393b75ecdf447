//! Start and stop of everything between clients and the node.

use super::acceptor::{AcceptedSocket, Acceptor, Lacking, ServeError, spawn};
use super::connection::Accepted;
use super::places::Places;
use super::refuse::{self, Refusing};
use super::rim_thread::{self, RimMessage};
use crate::call::{Remote, Shared};
use crate::config::Config;
use crate::listen::{Address, Listen, Serves, Socket};
use crate::tls::Reloading;
use node::Handle;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

/// How often TLS files and descriptors are looked at.
const KEEP_UP_INTERVAL: Duration = Duration::from_secs(1);

/// Listeners that are bound, so that what can go wrong has, and that answer nobody yet.
#[derive(Debug)]
pub struct Bound {
    config: Config,
    tls: Option<Reloading>,
    sockets: Vec<(Listen, Socket)>,
}

/// Binds every listener of the configuration and loads its TLS files.
pub fn bind(config: Config) -> Result<Bound, ServeError> {
    let tls = config.tls.clone().map(Reloading::load).transpose().map_err(ServeError::Tls)?;
    let mut sockets = Vec::new();
    for listen in &config.listen {
        if listen.tls && tls.is_none() {
            return Err(ServeError::NoCertificate(listen.address.clone()));
        }
        let socket = listen.bind(config.socket_reuse_port).map_err(ServeError::Listen)?;
        let address = socket.address(&listen.address);
        sockets.push((Listen { address, ..listen.clone() }, socket));
    }
    Ok(Bound { config, tls, sockets })
}

impl Bound {
    /// The listeners in order of the configuration, with the ports that the system chose.
    pub fn listeners(&self) -> impl Iterator<Item = &Listen> {
        self.sockets.iter().map(|(listen, _)| listen)
    }

    /// Starts a thread that accepts every connection, says so in the log, and closes it.
    pub fn refuse(self) -> Result<Refusing, ServeError> {
        refuse::start(self.sockets)
    }

    /// Starts the threads that serve `node`.
    pub fn serve(self, node: Handle) -> Result<Server, ServeError> {
        let rims = self.config.rim_count();
        let shared = Arc::new(Shared::new(self.config, self.tls, node, rims));
        for (listen, _) in &self.sockets {
            log_serving(listen);
        }
        Server::start(shared, self.sockets, rims)
    }
}

fn log_serving(listen: &Listen) {
    let traffic = match listen.serves {
        Serves::Everything => "grpc+http",
        Serves::Grpc => "grpc",
        Serves::Http => "http",
        Serves::Metrics => return tracing::info!(address = %listen.address, "serving metrics"),
    };
    if listen.plain {
        tracing::info!(
            traffic,
            address = %listen.address,
            "serving client traffic insecurely; this is strongly discouraged!"
        );
    }
    if listen.tls {
        tracing::info!(traffic, address = %listen.address, "serving client traffic securely");
    }
}

/// Running listeners. Dropping it without `stop` leaves them running.
#[derive(Debug)]
pub struct Server {
    rims: Vec<Rim>,
    request_timeout: Duration,
    stop_accepting: oneshot::Sender<()>,
    accept: JoinHandle<()>,
    unix_paths: Vec<std::path::PathBuf>,
}

#[derive(Debug)]
struct Rim {
    messages: mpsc::UnboundedSender<RimMessage>,
    thread: JoinHandle<()>,
}

impl Server {
    fn start(shared: Arc<Shared>, sockets: Vec<(Listen, Socket)>, rims: usize) -> Result<Server, ServeError> {
        let rims: Vec<Rim> = (0..rims).map(|index| start_rim(&shared, index)).collect::<Result<_, _>>()?;
        let senders = rims.iter().map(|rim| rim.messages.clone()).collect();
        let (stop_accepting, stopped) = oneshot::channel();
        let unix_paths = sockets.iter().filter_map(|(listen, _)| match &listen.address {
            Address::Unix(path) => Some(path.clone()),
            Address::Tcp(_) => None,
        });
        let unix_paths = unix_paths.collect();
        let request_timeout = shared.config.request_timeout;
        let accept = spawn("accept", move || accept_all(&shared, sockets, senders, stopped))?;
        Ok(Server { rims, request_timeout, stop_accepting, accept, unix_paths })
    }

    /// Stops: no new connections, GOAWAY on the open ones, streams ended, requests in flight finished. Waits at most
    /// the request timeout, then cuts off what is left.
    pub fn stop(self) {
        // The thread may be gone only if it panicked, and then there is nothing to stop.
        let _ = self.stop_accepting.send(());
        let _ = self.accept.join();
        let until = Instant::now() + self.request_timeout;
        for rim in &self.rims {
            let _ = rim.messages.send(RimMessage::Stop { until });
        }
        for rim in self.rims {
            let _ = rim.thread.join();
        }
        for path in self.unix_paths {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn start_rim(shared: &Arc<Shared>, index: usize) -> Result<Rim, ServeError> {
    let (messages, receiver) = mpsc::unbounded_channel();
    let shared = shared.clone();
    let thread = spawn(&format!("rim-{index}"), move || rim_thread::run(shared, index, receiver))?;
    Ok(Rim { messages, thread })
}

/// The accept thread: deals connections out to the rims in turn, and keeps TLS files up to date.
fn accept_all(
    shared: &Arc<Shared>,
    sockets: Vec<(Listen, Socket)>,
    rims: Vec<mpsc::UnboundedSender<RimMessage>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = runtime.expect("a runtime needs a file descriptor or two, and the listeners already have theirs");
    runtime.block_on(async {
        let places = Places::new(&shared.config, shared.connections.clone());
        let dealer = Rc::new(Dealer { rims, next: Cell::new(0), places: places.clone() });
        for (position, (listen, socket)) in sockets.into_iter().enumerate() {
            spawn_local(accept(dealer.clone(), position, listen, socket));
        }
        spawn_local(keep_up(shared.clone(), places));
        let _ = stopped.await;
    });
}

/// What changes while listeners run: TLS files, and the descriptors that files take.
async fn keep_up(shared: Arc<Shared>, places: Arc<Places>) {
    let mut ticks = tokio::time::interval(KEEP_UP_INTERVAL);
    loop {
        let now = ticks.tick().await;
        if let Some(tls) = &shared.tls {
            tls.refresh();
        }
        places.shrink(now.into_std());
    }
}

struct Dealer {
    rims: Vec<mpsc::UnboundedSender<RimMessage>>,
    next: Cell<usize>,
    places: Arc<Places>,
}

impl Dealer {
    fn deal(&self, position: usize, listen: &Listen, socket: AcceptedSocket, remote: Remote) {
        // One that finds no place is closed.
        let Some(place) = self.places.enter(position, Instant::now()) else { return };
        let (plain, tls, serves) = (listen.plain, listen.tls, listen.serves);
        let accepted = Accepted { socket, remote, plain, tls, serves, place };
        let next = self.next.get();
        self.next.set((next + 1) % self.rims.len().max(1));
        if let Some(rim) = self.rims.get(next) {
            // A rim that is gone takes the whole process with it; nothing is left to do here.
            let _ = rim.send(RimMessage::Connection(accepted));
        }
    }
}

/// Deals out what comes to one listener.
async fn accept(dealer: Rc<Dealer>, position: usize, listen: Listen, socket: Socket) {
    let mut acceptor = match Acceptor::new(socket) {
        Ok(acceptor) => acceptor,
        Err(error) => {
            return tracing::error!(address = %listen.address, %error, "accept connections: the listener cannot be used");
        }
    };
    loop {
        dealer.places.few_are_leaving().await;
        match acceptor.accept(&listen).await {
            Ok((socket, remote)) => dealer.deal(position, &listen, socket, remote),
            Err(Lacking) => dealer.places.make_place(Instant::now()),
        }
    }
}
