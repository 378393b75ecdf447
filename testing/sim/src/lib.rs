//! The simulated world: one member of the real code (driver, log, apply, background, their files) in one thread from
//! one seed, with clients, a watcher, a disk and a clock that are simulated, and everything going wrong that the fault
//! menu has. What happens is checked against a model, and one seed gives the same run on every machine.
//!
//! ```text
//! faults ──▶ world (who is next?) ──▶ member: parts of `node::Stepped` on `simdisk`, `clock`
//!               │   ▲                    │ answers, events
//!               ▼   └─ client ◀──────────┤
//!             trace                      ▼
//!                                     checker ◀─ history (the model)
//! ```
//! A run has two phases. First things go wrong, and nothing may be answered falsely, lost, or taken back. Then
//! everything is healed, and the member must make progress within stated simulated time, let leases end, stop in order,
//! and come up the same.
//!
//! Invariant: a run depends on its seed and on nothing else. No threads, no time, no map whose order differs between
//! runs.
//!
//! Not here yet: several members and the network between them, damage at rest.
#![forbid(unsafe_code)]

mod checker;
mod client;
mod clock;
mod faults;
mod history;
mod member;
mod reading;
mod trace;
mod world;

pub use trace::Keep;
pub use world::{Report, Run, run};
