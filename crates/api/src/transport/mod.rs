//! From listening sockets to requests: accepting, TLS, HTTP/1 and HTTP/2, and the threads that do it.
//!
//! ```text
//! server (accept thread) ──▶ rim_thread ──▶ connection ──▶ http2 ──▶ dispatch
//!   │ places                                     │           └ ping_guard ▸ header_filter ▸ coalesce ▸ socket
//!   │                                            └──▶ http1 ──▶ http
//!   └──▶ refuse: ports that are there for nobody yet
//! ```
//!
//! Not here: what a request means.

mod acceptor;
mod coalesce;
mod connection;
mod connections;
mod descriptors;
mod header_filter;
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
