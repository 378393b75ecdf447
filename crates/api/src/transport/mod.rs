//! From listening sockets to requests: accepting, TLS, HTTP/1 and HTTP/2, and the threads that do it.
//!
//! ```text
//! server (accept thread) ──▶ rim_thread ──▶ connection ──▶ http2: ping_guard ▸ coalesce ▸ socket ──▶ dispatch
//!                                                     └──▶ http1 ──▶ http
//! ```
//!
//! Not here: what a request means.

mod coalesce;
mod connection;
mod connections;
mod half_open;
mod http1;
mod http2;
mod ping_guard;
mod rim_thread;
mod server;
mod socket;

pub use server::{Bound, ServeError, Server, bind};
