//! Who fills the store, and how to dig it out: on Bowline, and on any etcd.

mod census;
mod facts;
mod free;
mod rules;

pub use census::census;
pub use facts::{Ages, ResourceStat, SpaceFacts};
pub use free::{CLASSES, Class, Progress, Victim, free, sequence, victims};
pub use rules::{findings, table};

#[cfg(test)]
mod tests;
