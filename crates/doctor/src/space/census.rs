//! Counts a store in one pass over its entries, one over its history and one over its leases.

use super::facts::{Ages, MemberFacts, ResourceStat, SpaceFacts};
use crate::source::{AlarmKind, Entry, Result, Source, SourceKind};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;

/// Resources of other names count as `(other)`: who makes up groups must not fill our memory.
const RESOURCES_MAX: usize = 2000;
/// Namespaces, and kinds of owners, that are named for each resource.
const NAMED_MAX: usize = 20;
/// While counting, before the small ones are left out.
const COUNTED_MAX: usize = 50_000;
/// Objects whose uids are remembered, at 24 bytes each and their owners at as many.
const UIDS_MAX: usize = 8_000_000;
const IMAGES_MAX: usize = 200;
pub(crate) const OTHER: &str = "(other)";

/// `now` in seconds since 1970: ages are counted from it.
pub fn census(source: &mut dyn Source, prefix: &str, now: i64) -> Result<SpaceFacts> {
    let is_bowline = matches!(source.info().kind, SourceKind::Bowline | SourceKind::DataDirectory);
    let facts = SpaceFacts { prefix: prefix.to_owned(), is_bowline, orphans_counted: true, ..SpaceFacts::default() };
    let mut counting = Counting { facts, now, uids: HashSet::new(), owned: Vec::new(), names: Vec::new() };
    source.range(b"", &mut |entry| {
        counting.entry(entry);
        ControlFlow::Continue(())
    })?;
    counting.orphans();
    let mut facts = counting.facts;
    history(source, &mut facts)?;
    source.leases(&mut |lease| {
        facts.leases += 1;
        facts.leases_without_keys += u64::from(lease.keys.is_empty());
        let keys = lease.keys.len() as u64;
        facts.leased_keys += keys;
        if facts.largest_lease.is_none_or(|(_, most)| keys > most) {
            facts.largest_lease = Some((lease.id, keys));
        }
        ControlFlow::Continue(())
    })?;
    status(source, &mut facts)?;
    for stat in facts.resources.values_mut() {
        keep_largest(&mut stat.namespaces);
        keep_largest(&mut stat.owners);
    }
    Ok(facts)
}

struct Counting {
    facts: SpaceFacts,
    now: i64,
    /// Of all objects, hashed.
    uids: HashSet<u64>,
    owned: Vec<Owned>,
    /// Resources by the numbers that `owned` holds.
    names: Vec<String>,
}

/// An object with owners.
struct Owned {
    resource: u32,
    bytes: u32,
    owners: Box<[u64]>,
}

impl Counting {
    fn entry(&mut self, entry: &Entry) {
        let bytes = (entry.key.len() + entry.value.len()) as u64;
        self.facts.keys += 1;
        self.facts.live_bytes += bytes;
        let parsed = kube::key::parse(&self.facts.prefix, &entry.key);
        let name = resource_name(parsed.as_ref());
        let object = parsed.as_ref().map(|_| kube::decode(&entry.value));
        let stat = stat(&mut self.facts.resources, &name);
        stat.keys += 1;
        stat.live_bytes += bytes;
        stat.with_lease += u64::from(entry.lease != 0);
        if bytes > stat.largest_bytes {
            stat.largest_bytes = bytes;
            stat.largest_key = String::from_utf8_lossy(&entry.key).into_owned();
        }
        if let Some(namespace) = parsed.and_then(|key| key.namespace) {
            add(&mut stat.namespaces, namespace, bytes);
        }
        match object {
            Some(Ok(object)) => {
                stat.ages.count(self.now, object.creation_timestamp());
                if let Some(kind) = object.owner_references().first().and_then(|owner| owner["kind"].as_str()) {
                    add(&mut stat.owners, kind.to_owned(), 1);
                }
                self.remember(&object, &name, bytes);
                if object.kind == "Deployment" {
                    images(&object, &mut self.facts.images);
                }
            }
            Some(Err(_)) => stat.unreadable += 1,
            None => {}
        }
    }

    fn remember(&mut self, object: &kube::Object, name: &str, bytes: u64) {
        if self.uids.len() >= UIDS_MAX {
            self.facts.orphans_counted = false;
            return;
        }
        self.uids.insert(hash(object.uid()));
        let owners = object.owner_references().iter().filter_map(|owner| owner["uid"].as_str().map(hash));
        let owners: Box<[u64]> = owners.collect();
        if owners.is_empty() {
            return;
        }
        let known = self.names.iter().rposition(|known| known == name);
        let resource = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        let (resource, bytes) = (resource as u32, u32::try_from(bytes).unwrap_or(u32::MAX));
        self.owned.push(Owned { resource, bytes, owners });
    }

    fn orphans(&mut self) {
        if !self.facts.orphans_counted {
            return;
        }
        for owned in &self.owned {
            if owned.owners.iter().any(|owner| self.uids.contains(owner)) {
                continue;
            }
            let Some(name) = self.names.get(owned.resource as usize) else { continue };
            let stat = stat(&mut self.facts.resources, name);
            stat.orphans += 1;
            stat.orphan_bytes += u64::from(owned.bytes);
        }
    }
}

/// By group and plural, as the key has them.
pub(crate) fn resource_name(key: Option<&kube::ResourceKey>) -> String {
    match key {
        Some(key) if key.group.is_empty() || kube::key::BuiltIn::find(&key.group, &key.resource).is_some() => {
            key.resource.clone()
        }
        Some(key) => format!("{}/{}", key.group, key.resource),
        None => OTHER.to_owned(),
    }
}

fn stat<'a>(resources: &'a mut BTreeMap<String, ResourceStat>, name: &str) -> &'a mut ResourceStat {
    let name = if resources.len() >= RESOURCES_MAX && !resources.contains_key(name) { OTHER } else { name };
    resources.entry(name.to_owned()).or_default()
}

fn add(counts: &mut BTreeMap<String, u64>, name: String, more: u64) {
    if counts.len() < COUNTED_MAX || counts.contains_key(&name) {
        *counts.entry(name).or_default() += more;
    }
}

fn keep_largest(counts: &mut BTreeMap<String, u64>) {
    let mut sizes: Vec<u64> = counts.values().copied().collect();
    sizes.sort_unstable_by_key(|size| std::cmp::Reverse(*size));
    let Some(least) = sizes.get(NAMED_MAX - 1).copied() else { return };
    let mut left = NAMED_MAX;
    counts.retain(|_, size| {
        let stays = *size >= least && left > 0;
        left -= usize::from(stays);
        stays
    });
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl Ages {
    fn count(&mut self, now: i64, created: &str) {
        let Ok(created) = created.parse::<jiff::Timestamp>() else { return };
        match now.saturating_sub(created.as_second()) {
            ..600 => self.minutes_10 += 1,
            600..3600 => self.hour += 1,
            3600..86_400 => self.day += 1,
            86_400..604_800 => self.week += 1,
            _ => self.older += 1,
        }
    }
}

fn images(deployment: &kube::Object, images: &mut Vec<String>) {
    let spec = &deployment.content["spec"]["template"]["spec"];
    for container in spec["containers"].as_array().into_iter().flatten() {
        let Some(image) = container["image"].as_str() else { continue };
        let image = image.rsplit_once('/').map_or(image, |(_, image)| image).to_owned();
        if images.len() < IMAGES_MAX && !images.contains(&image) {
            images.push(image);
        }
    }
}

/// All versions, and then without those that are live.
fn history(source: &mut dyn Source, facts: &mut SpaceFacts) -> Result<()> {
    let SpaceFacts { resources, prefix, .. } = facts;
    let mut all = 0;
    let seen = source.history(&mut |version| {
        let name = resource_name(kube::key::parse(prefix, &version.key).as_ref());
        let stat = stat(resources, &name);
        stat.history_versions += 1;
        stat.history_bytes += version.bytes;
        all += version.bytes;
        ControlFlow::Continue(())
    })?;
    if !seen {
        return Ok(());
    }
    for stat in resources.values_mut() {
        stat.history_versions = stat.history_versions.saturating_sub(stat.keys);
        stat.history_bytes = stat.history_bytes.saturating_sub(stat.live_bytes);
    }
    facts.history_bytes = Some(all.saturating_sub(facts.live_bytes));
    Ok(())
}

fn status(source: &mut dyn Source, facts: &mut SpaceFacts) -> Result<()> {
    let status = source.status()?;
    let count = |wanted| status.alarms.iter().filter(|(_, kind)| *kind == wanted).count() as u64;
    facts.no_space_alarms = count(AlarmKind::NoSpace);
    facts.corrupt_alarms = count(AlarmKind::Corrupt);
    facts.revision = status.revision;
    facts.compact_revision = status.compact_revision;
    facts.members = status
        .members
        .into_iter()
        .map(|member| MemberFacts {
            name: member.name,
            endpoint: member.endpoint,
            version: member.version,
            db_bytes: member.db_bytes,
            db_bytes_in_use: member.db_bytes_in_use,
            quota_bytes: member.quota_bytes,
            hash: member.hash,
            unreachable: member.unreachable,
        })
        .collect();
    Ok(())
}
