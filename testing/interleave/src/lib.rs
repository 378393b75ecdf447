//! What the threads of a member share, under many schedules: the files of `crates/node` that hold it are compiled here
//! a second time, with shuttle's locks, atomics and condition variables in the place of the real ones (`sync`), and
//! every test runs some thousand random schedules of its threads.
//!
//! Shuttle does not let a wait time out, so every test here shows that no wake-up is lost: whoever depended on a
//! time-out would hang, which shuttle reports as a deadlock. Not here: weak memory orders, which shuttle takes for
//! sequential ones.
//!
//! The checks are plain functions, and `tests/suite.rs` calls them: compiled as a test, node's files would bring their
//! own tests.

#[path = "../../../crates/node/src/inbox.rs"]
#[expect(dead_code, reason = "how full it is asks nobody here")]
mod inbox;
#[path = "../../../crates/node/src/relay.rs"]
mod relay;
#[path = "../../../crates/node/src/reply.rs"]
#[expect(dead_code, reason = "what is late answers nobody here")]
mod reply;
#[path = "../../../crates/node/src/signal.rs"]
mod signal;
#[path = "../../../crates/node/src/workplace.rs"]
mod workplace;

pub mod pump;
pub mod schedules;
mod sync;

/// The one of node's that answers carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    Stopped,
    TimedOut,
}
