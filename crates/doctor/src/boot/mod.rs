//! Will the control plane boot, and will the cluster heal after it? Admission's verdicts on what is stored, as findings.

mod backend;
mod collect;
mod facts;
mod rules;

pub use collect::collect;
pub use facts::{BootFacts, Damaged, Encrypted, Service, Stored, minor};
pub use rules::{NEWEST_MINOR, Releases, about_one, findings, readable_webhooks, verdicts};

#[cfg(test)]
mod tests;
