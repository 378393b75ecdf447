//! All that was collected in one look, as a file: whoever has it can judge again, without the store.
//!
//! It holds configurations of webhooks and policies, labels of namespaces, names and addresses of services and members;
//! no values of other objects.

use crate::boot::{BootFacts, Releases};
use crate::finding::Finding;
use crate::source::SourceInfo;
use crate::space::SpaceFacts;
use serde::{Deserialize, Serialize};

/// Of the file; counted up when a field changes its meaning.
pub const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub version: u32,
    pub source: SourceInfo,
    pub boot: BootFacts,
    /// None: files that are not applied yet take no space.
    pub space: Option<SpaceFacts>,
}

impl Facts {
    pub fn from_json(text: &[u8]) -> Result<Facts, String> {
        let facts: Facts = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if facts.version != VERSION {
            return Err(format!("version {}, this release reads {VERSION}", facts.version));
        }
        Ok(facts)
    }

    /// What all rules find, the worst first.
    pub fn findings(&self, releases: Releases) -> Vec<Finding> {
        let mut findings = crate::boot::findings(&self.boot, releases);
        findings.extend(self.space.iter().flat_map(crate::space::findings));
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings
    }
}
