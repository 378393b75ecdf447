//! From listening sockets to requests: accepting, TLS, HTTP/1 and HTTP/2, and the threads that do it.
//!
//! ```text
//! server (accept thread) ──▶ rim_thread ──▶ connection ──▶ http2: ping_guard ▸ coalesce ▸ socket ──▶ dispatch
//!   │ places                                            └──▶ http1 ──▶ http
//!   └──▶ refuse: ports that are there for nobody yet
//! ```
//!
//! Not here: what a request means.

mod acceptor;
mod coalesce;
mod connection;
mod connections;
mod descriptors;
mod http1;
mod http2;
mod log_limit;
mod ping_guard;
mod places;
mod refuse;
mod rim_thread;
mod server;
mod socket;

pub use acceptor::ServeError;
pub use refuse::Refusing;
pub use server::{Bound, Server, bind};
