//! Will the control plane boot, and will the cluster heal after it? Admission's verdicts on what is stored, as
//! findings.

mod backend;
mod collect;
mod facts;
mod rules;

pub use collect::collect;
pub use facts::{BootFacts, Damaged, Encrypted, Service, Stored, minor};
pub(crate) use rules::{NEWEST_MINOR, about_one, readable_webhooks};
pub use rules::{Releases, findings, verdicts};

#[cfg(test)]
mod tests;
