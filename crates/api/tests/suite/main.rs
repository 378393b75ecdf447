//! The rim in front of a real member, seen from real sockets: every service, the corners of gRPC and HTTP/2 that
//! clients run into, TLS, and the stop.

mod damage;
mod framing;
mod full_log;
mod http;
mod in_flight;
mod known_bugs;
mod kv;
mod lease;
mod long_reads;
mod maintenance;
mod many_messages;
mod metrics;
mod odd_heads;
mod server;
mod space;
mod stop;
mod tls;
mod views;
mod watch;
