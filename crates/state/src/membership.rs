//! Who belongs to the cluster, as the members agree on it, and the ids that name cluster and members.
//!
//! Invariants: members are kept by id; an id that was removed never comes back; the cluster id is fixed at bootstrap
//! and does not change with the members. Not here: who votes in raft (consensus keeps that) and whether a member is
//! reachable.

use model::{ClusterId, MemberId, MemberPublish, Rejection};
use sha1::{Digest, Sha1};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One member as `MemberList` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: MemberId,
    /// Empty until the member published itself.
    pub name: String,
    /// Sorted.
    pub peer_urls: Vec<String>,
    /// Empty until the member published itself.
    pub client_urls: Vec<String>,
    pub is_learner: bool,
}

/// The replicated membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub(crate) cluster: ClusterId,
    pub(crate) members: BTreeMap<MemberId, Member>,
    pub(crate) removed: BTreeSet<MemberId>,
    /// `X.Y.0`; empty until the leader has set it.
    pub(crate) cluster_version: String,
}

/// A first membership that cannot be: what the configuration must change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootstrapError {
    NoMembers,
    /// Two members have the same peer URLs, and so the same id.
    SameId {
        id: MemberId,
        peer_urls: Vec<String>,
    },
}

impl fmt::Display for BootstrapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BootstrapError::NoMembers => f.write_str("bootstrap cluster: the initial cluster names no member"),
            BootstrapError::SameId { id, peer_urls } => {
                let urls = peer_urls.join(",");
                write!(f, "bootstrap cluster: two members have the id {id:x}; give {urls} to one of them only")
            }
        }
    }
}

impl std::error::Error for BootstrapError {}

impl Membership {
    /// The membership that a new cluster starts with, from the members' names and peer URLs and the cluster's token.
    /// Every member computes the same one from the same configuration.
    pub fn bootstrap(
        token: &str,
        initial: impl IntoIterator<Item = (String, Vec<String>)>,
    ) -> Result<Membership, BootstrapError> {
        let mut members = BTreeMap::new();
        for (name, mut peer_urls) in initial {
            peer_urls.sort();
            let id = member_id(&peer_urls, token, None);
            let member = Member { id, name, peer_urls, client_urls: Vec::new(), is_learner: false };
            if let Some(other) = members.insert(id, member) {
                return Err(BootstrapError::SameId { id, peer_urls: other.peer_urls });
            }
        }
        if members.is_empty() {
            return Err(BootstrapError::NoMembers);
        }
        let cluster = cluster_id(members.keys().copied());
        Ok(Membership { cluster, members, removed: BTreeSet::new(), cluster_version: String::new() })
    }

    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Members in order of their ids.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// The cluster version as `X.Y.0`, once the leader has set it.
    pub fn cluster_version(&self) -> Option<&str> {
        (!self.cluster_version.is_empty()).then_some(self.cluster_version.as_str())
    }

    /// Takes over what a member says about itself.
    pub(crate) fn publish(&mut self, publish: &MemberPublish) -> Result<(), Rejection> {
        let member = self.members.get_mut(&publish.member).ok_or(Rejection::MemberNotFound)?;
        member.name.clone_from(&publish.name);
        member.client_urls.clone_from(&publish.client_urls);
        Ok(())
    }
}

/// The id of a member: the first eight bytes of SHA-1 over its sorted peer URLs, the cluster's token and, for a member
/// added to a running cluster (which has an empty token here), the seconds since 1970 of its addition in decimal.
pub fn member_id(peer_urls: &[String], token: &str, added_at_s: Option<u64>) -> MemberId {
    let mut urls: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    urls.sort_unstable();
    let mut hash = Sha1::new();
    for url in urls {
        hash.update(url);
    }
    hash.update(token);
    if let Some(added_at_s) = added_at_s {
        hash.update(added_at_s.to_string());
    }
    MemberId(first_eight_bytes(hash))
}

/// The id of a cluster: the first eight bytes of SHA-1 over its first members' ids in ascending order, big-endian.
pub fn cluster_id(members: impl IntoIterator<Item = MemberId>) -> ClusterId {
    let members: BTreeSet<MemberId> = members.into_iter().collect();
    let mut hash = Sha1::new();
    for member in members {
        hash.update(member.0.to_be_bytes());
    }
    ClusterId(first_eight_bytes(hash))
}

fn first_eight_bytes(hash: Sha1) -> u64 {
    hash.finalize().into_iter().take(8).fold(0, |number, byte| number << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(list: &[&str]) -> Vec<String> {
        list.iter().map(|url| url.to_string()).collect()
    }

    /// Values that etcd computes for the same input.
    #[test]
    fn ids_are_those_of_etcd() {
        let id = |list: &[&str], token: &str, added: Option<u64>| member_id(&urls(list), token, added).0;
        assert_eq!(id(&["http://localhost:2380"], "etcd-cluster", None), 0x8e9e05c52164694d);
        assert_eq!(cluster_id([MemberId(0x8e9e05c52164694d)]).0, 0xcdf818194e3a8c32);
        assert_eq!(id(&["http://10.0.0.8:2379"], "", None), 14544069596553697298);
        assert_eq!(id(&["http://10.0.0.8:2379"], "", Some(472662245)), 2448790162483548276);
        assert_eq!(id(&["http://10.0.0.8:2379"], "etcd", Some(472662245)), 6973882743191604649);
        let pair = ["http://10.0.0.1:2379", "http://10.0.0.2:2379"];
        assert_eq!(id(&pair, "", None), 16552244735972308939);
        assert_eq!(id(&[pair[1], pair[0]], "", None), 16552244735972308939, "the order of URLs does not matter");
    }

    #[test]
    fn a_cluster_of_three_has_the_ids_of_etcd() {
        let member = |n: u8| (format!("m{n}"), vec![format!("http://10.0.1.{n}:2380")]);
        let membership = Membership::bootstrap("etcd-cluster", [member(10), member(11), member(12)]).expect("valid");
        assert_eq!(membership.cluster().0, 0xe33cd1f1301c41a0);
        let mut ids: Vec<u64> = membership.members().map(|member| member.id.0).collect();
        ids.sort_unstable();
        assert_eq!(ids, [0x794aea3ba77a1d64, 0x9d480e1db4ddec45, 0xe25938377bdd2340]);
    }

    #[test]
    fn a_membership_needs_members_with_different_ids() {
        assert_eq!(Membership::bootstrap("t", []), Err(BootstrapError::NoMembers));
        let same = ["a", "b"].map(|name| (name.to_string(), urls(&["http://localhost:1"])));
        assert!(matches!(Membership::bootstrap("t", same), Err(BootstrapError::SameId { .. })));
    }

    #[test]
    fn only_members_publish_themselves() {
        let one = [("a".to_string(), urls(&["http://localhost:1"]))];
        let mut membership = Membership::bootstrap("t", one).expect("valid");
        let id = membership.members().next().expect("one").id;
        let publish = MemberPublish { member: id, name: "b".into(), client_urls: urls(&["http://localhost:2"]) };
        assert_eq!(membership.publish(&publish), Ok(()));
        assert_eq!(membership.member(id).map(|member| member.name.as_str()), Some("b"));
        let stranger = MemberPublish { member: MemberId(id.0 ^ 1), ..publish };
        assert_eq!(membership.publish(&stranger), Err(Rejection::MemberNotFound));
    }
}
