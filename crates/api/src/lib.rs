//! The wire edge: listeners, TLS, gRPC, HTTP endpoints. A request is decoded and checked here, handed to the node, and
//! what the node says becomes etcd's answer, code and text.
//!
//! ```text
//! transport    sockets, TLS, HTTP/1 and HTTP/2; the accept thread and the rims' threads
//! dispatch     a call: checks in front of every handler, who handles it, what is measured and logged
//! handlers     kv, lease, watch, maintenance, cluster, space, health        http    health, version, metrics
//! call         what a handler works with: rim, peer, stream, answer
//! grpc, body, gzip, in_flight, metrics, refusals, line_limit, config, tls, listen, method, status, wire
//! ```
//!
//! Each line knows those below it and none above; the handlers do not know each other. `cargo xtask tidy` checks it.
//!
//! Invariants:
//! - Bytes from the network are checked before they cost memory, and never make this process panic.
//! - Every refusal is in `status`; etcd's checks come in etcd's order.
//! - Nothing of one rim waits for another, but for memory in flight and for the one thread of long work.
//!
//! Deliberately not here: a router or a middleware stack (a call is a `match`), what a command does (`state`), the JSON
//! gateway, users and permissions, changes of membership.
#![forbid(unsafe_code)]

mod body;
mod call;
mod config;
mod dispatch;
mod grpc;
mod gzip;
mod handlers;
mod http;
mod in_flight;
mod line_limit;
mod listen;
mod method;
mod metrics;
mod refusals;
mod status;
mod tls;
mod transport;
mod wire;

pub use config::{Config, Descriptors};
pub use listen::{Address, Listen, ListenError, Serves};
pub use tls::{SelfSigned, SelfSignedError, SuiteError, TlsError, TlsFiles, TlsVersion, lacking_suites};
pub use transport::{Bound, Refusing, ServeError, Server, bind};
