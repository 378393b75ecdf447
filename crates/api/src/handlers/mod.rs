//! What the services answer: decode, check, ask the node, build the answer. One module for each service.
//!
//! Invariant: a handler knows `call` and what lies below, and no other service's handler.

pub(crate) mod cluster;
pub(crate) mod health;
pub(crate) mod kv;
pub(crate) mod lease;
pub(crate) mod maintenance;
pub(crate) mod space;
pub(crate) mod watch;
