//! The replicated state machine: what a command does.
//!
//! ```text
//! log entry ──▶ apply: alarms, budgets, quota, lease, keys ──▶ answer, change
//!                          │
//!        State { keys (mvcc), leases, alarms, membership, budgets, applied } ──view, live tables──▶ readers
//!                          └── checkpoint: all of it, or nothing
//! ```
//!
//! Invariants:
//! - `apply` is the only way in which state changes, and every member that applies the same entries has the same state.
//! - A command is refused whole or carried out whole; a refusal is an answer, a fault of the machine is not.
//! - Keys, tables and the applied index become durable together.
//!
//! Not here: clocks (the leader's lease clock is told the time), the log, threads, tokens and users.
#![forbid(unsafe_code)]

mod alarm;
mod apply;
mod budget;
mod demand;
mod fault;
mod footprint;
mod lease;
mod lease_clock;
mod lease_reader;
mod lease_terms;
mod live;
mod membership;
mod operations;
mod outcome;
mod quota;
mod read_ahead;
mod salvage;
mod space;
mod state;
mod tables;
mod txn;
mod view;

pub use alarm::{ActiveAlarm, AlarmTable};
pub use budget::{BudgetReader, BudgetState};
pub use fault::{Fault, Result};
pub use footprint::{Footprint, MeasuredEntry};
pub use lease_clock::LeaseClock;
pub use lease_reader::LeaseReader;
pub use live::LiveTables;
pub use membership::{BootstrapError, Member, Membership, cluster_id, member_id};
pub use mvcc::{
    AccountDepth, AccountOrder, AccountStat, AccountsReader, CleanJob, Cleaned, ReclaimStats, Records, Usage,
};
pub use operations::Operations;
pub use outcome::{Applied, Deleted, NoSpace, OperationOutcome, Outcome, Proposal, TxnOutcome};
pub use quota::Quota;
pub use read_ahead::ReadAhead;
pub use salvage::{lost_pairs, substitute};
pub use state::{CheckpointDone, CheckpointJob, Options, State};
pub use tables::{AppliedUpTo, Tables, TablesError};
pub use view::StateView;
