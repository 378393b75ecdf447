//! The wire edge: listeners, TLS, gRPC, HTTP endpoints. A request is decoded and checked here, handed to the node, and what
//! the node says becomes etcd's answer, code and text.
//!
//! ```text
//! listen ──▶ server (accept thread) ──▶ rim threads: connection ──▶ http2 ──▶ call ──▶ kv, lease, maintenance, … ──▶ node
//!                                                        │              └──▶ stream ──▶ watch_stream ◀── watch_hub ◀── events
//!                                                        └──▶ http: health, version, metrics
//! ```
//!
//! Invariants:
//! - Bytes from the network are checked before they cost memory, and never make this process panic.
//! - Every refusal is in `status`; etcd's checks come in etcd's order.
//! - Nothing of one rim waits for another.
//!
//! Deliberately not here: a router or a middleware stack (a call is a `match`), what a command does (`state`), the JSON
//! gateway, users and permissions, changes of membership.
#![forbid(unsafe_code)]

mod budget;
mod call;
mod cluster;
mod coalesce;
mod config;
mod connection;
mod grpc;
mod health;
mod http;
mod http2;
mod interval_set;
mod kv;
mod kv_request;
mod lease;
mod listen;
mod maintenance;
mod method;
mod metrics;
mod nesting;
mod ping_guard;
mod range_answer;
mod rim;
mod server;
mod socket;
mod space;
mod status;
mod stream;
mod tls;
mod txn_answer;
mod watch_hub;
mod watch_response;
mod watch_stream;
mod wire;

pub use config::Config;
pub use listen::{Address, Listen, ListenError, Serves};
pub use server::{Bound, ServeError, Server, bind};
pub use tls::{TlsError, TlsFiles, TlsVersion};
