//! From facts to findings about space, and the table of who fills the store.

use super::facts::{ResourceStat, SpaceFacts};
use super::free::CLASSES;
use crate::finding::{Finding, Severity};
use std::fmt::Write as _;

const MIB: u64 = 1 << 20;
/// Kyverno's own breaker is at so many reports by default.
const REPORTS_MAX: u64 = 10_000;
/// Smaller stores need no advice about their parts.
const LARGE_BYTES: u64 = 64 * MIB;
/// Revisions between two compactions: kube-apiserver compacts every five minutes.
const UNCOMPACTED_MAX: i64 = 1_000_000;
const EVENTS_MAX: u64 = 1000;
const EMPTY_LEASES_MAX: u64 = 1000;
const ORPHANS_MAX: u64 = 1000;

/// Versions of Kyverno that leak reports, and where that is written.
const KYVERNO_LEAKS: &[(&str, &str)] = &[
    ("kyverno:v1.10.", "kyverno/kyverno #8974: admission reports pile up; 1.12.4 and later have breakers"),
    ("kyverno:v1.12.0", "kyverno/kyverno #10761: ephemeral reports pile up; fixed in 1.12.4"),
    ("kyverno:v1.12.1", "kyverno/kyverno #10761: ephemeral reports pile up; fixed in 1.12.4"),
    ("kyverno:v1.12.2", "kyverno/kyverno #10761: ephemeral reports pile up; fixed in 1.12.4"),
    ("kyverno:v1.12.3", "kyverno/kyverno #10761: ephemeral reports pile up; fixed in 1.12.4"),
    ("kyverno:v1.17.2", "kyverno/kyverno #17114: reports of the background scan are made and not consumed"),
];

/// All findings about space, the worst first.
pub fn findings(facts: &SpaceFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    alarms(facts, &mut findings);
    members(facts, &mut findings);
    history(facts, &mut findings);
    resources(facts, &mut findings);
    leases(facts, &mut findings);
    kyverno(facts, &mut findings);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

fn finding(id: &'static str, severity: Severity, title: String) -> Finding {
    Finding {
        id,
        severity,
        title,
        subject: None,
        what: String::new(),
        evidence: Vec::new(),
        why: String::new(),
        fix: Vec::new(),
    }
}

fn alarms(facts: &SpaceFacts, findings: &mut Vec<Finding>) {
    if facts.no_space_alarms > 0 {
        let fix = if facts.is_bowline {
            vec![
                "bowline doctor space free, then with --yes: deleting is enough, the alarm goes by itself".to_owned(),
                "or wait, if most of it is history: the server compacts it".to_owned(),
            ]
        } else {
            vec![
                "bowline doctor space free, then with --yes".to_owned(),
                "bowline doctor space sequence, then with --yes: compact, defragment each member, disarm".to_owned(),
            ]
        };
        findings.push(Finding {
            what: "Writes that grow the store are refused everywhere: database space exceeded.".to_owned(),
            evidence: facts.members.iter().map(member_line).collect(),
            why: "nodes cannot renew their leases, pods cannot be finalized, and kube-apiserver cannot even compact"
                .to_owned(),
            fix,
            ..finding("nospace-alarm", Severity::Blocking, "the store is full: the NOSPACE alarm is up".to_owned())
        });
    }
    if facts.corrupt_alarms > 0 {
        findings.push(Finding {
            what: "A member found that its data differs from the others', and writes are refused.".to_owned(),
            why: "one of the members would answer wrongly".to_owned(),
            fix: vec![
                "find the member that differs (hashes below), remove it and add it again with an empty directory"
                    .to_owned(),
            ],
            evidence: facts.members.iter().map(member_line).collect(),
            ..finding("corrupt-alarm", Severity::Blocking, "the CORRUPT alarm is up".to_owned())
        });
    }
}

fn member_line(member: &super::facts::MemberFacts) -> String {
    let quota = match member.quota_bytes {
        Some(0) | None => String::new(),
        Some(quota) => format!(", quota {}", size(quota)),
    };
    let hash = member.hash.map_or(String::new(), |(revision, compacted, hash)| {
        format!(", hash {hash:08x} at revision {revision} from {compacted}")
    });
    match &member.unreachable {
        Some(why) => format!("{} at {}: {why}", member.name, member.endpoint),
        None => format!(
            "{} at {}: size {}, in use {}{quota}{hash}",
            member.name,
            member.endpoint,
            size(member.db_bytes),
            size(member.db_bytes_in_use)
        ),
    }
}

fn members(facts: &SpaceFacts, findings: &mut Vec<Finding>) {
    for member in &facts.members {
        if let Some(why) = &member.unreachable {
            findings.push(Finding {
                subject: Some(member.name.clone()),
                what: format!("It could not be asked: {why}."),
                why: "a member less is a failure less that the cluster survives".to_owned(),
                fix: vec!["look at its process and its log".to_owned()],
                ..finding("member-unreachable", Severity::Warning, format!("member {} does not answer", member.name))
            });
            continue;
        }
        // What counts for the quota: etcd its file, Bowline what is retained; its older releases gave their files'
        // size.
        let counted = if facts.is_bowline { member.db_bytes_in_use } else { member.db_bytes };
        if let Some(quota) = member.quota_bytes.filter(|quota| *quota > 0 && counted * 10 >= quota * 8) {
            findings.push(Finding {
                subject: Some(member.name.clone()),
                what: format!("{} of its quota of {} are used.", size(counted), size(quota)),
                evidence: vec![member_line(member)],
                why: "at the quota, writes of the whole cluster are refused".to_owned(),
                fix: vec!["see who fills it, and stop that; bowline doctor space free shows what may go".to_owned()],
                ..finding("quota-near", Severity::Warning, format!("member {} is near its quota", member.name))
            });
        }
        let free = member.db_bytes.saturating_sub(member.db_bytes_in_use);
        if !facts.is_bowline && free > member.db_bytes_in_use && free > 100 * MIB {
            findings.push(Finding {
                subject: Some(member.name.clone()),
                what: format!("{} of its file are free pages, which count for the quota.", size(free)),
                evidence: vec![member_line(member)],
                why: "etcd gives them back only by a defragmentation, during which the member answers nothing"
                    .to_owned(),
                fix: vec!["bowline doctor space sequence: member by member, the leader last".to_owned()],
                ..finding("fragmented", Severity::Warning, format!("member {} is fragmented", member.name))
            });
        }
    }
    differing(facts, findings);
}

fn differing(facts: &SpaceFacts, findings: &mut Vec<Finding>) {
    let hashes: Vec<_> = facts.members.iter().filter_map(|member| member.hash).collect();
    let Some(first) = hashes.first() else { return };
    let comparable = hashes.iter().filter(|hash| (hash.0, hash.1) == (first.0, first.1));
    if comparable.clone().any(|hash| hash.2 != first.2) {
        findings.push(Finding {
            what: "The same revisions have different contents on different members.".to_owned(),
            evidence: facts.members.iter().map(member_line).collect(),
            why: "what a client reads depends on whom it asks".to_owned(),
            fix: vec![
                "find the member that is alone with its hash, remove it and add it again with an empty directory"
                    .to_owned(),
            ],
            ..finding("members-differ", Severity::Critical, "members differ in their data".to_owned())
        });
    }
}

fn history(facts: &SpaceFacts, findings: &mut Vec<Finding>) {
    let since = facts.compact_revision.map(|compacted| facts.revision.saturating_sub(compacted.max(0)));
    if let Some(since) = since.filter(|since| *since > UNCOMPACTED_MAX) {
        findings.push(Finding {
            what: format!("{since} revisions since the last compaction. kube-apiserver compacts every five minutes."),
            evidence: vec![format!(
                "revision {}, compacted {}",
                facts.revision,
                facts.compact_revision.unwrap_or_default()
            )],
            why: "every version since then is kept".to_owned(),
            fix: vec![
                "look whether an API server runs and can write; if none does: etcdctl compact REVISION".to_owned(),
            ],
            ..finding("no-compaction", Severity::Warning, "nobody compacts the history".to_owned())
        });
    }
    let Some(history) = facts.history_bytes else { return };
    if history > facts.live_bytes * 3 && history > LARGE_BYTES {
        let mut by_history: Vec<_> = facts.resources.iter().collect();
        by_history.sort_by_key(|(_, stat)| std::cmp::Reverse(stat.history_bytes));
        findings.push(Finding {
            what: format!("{} of old versions beside {} of newest ones.", size(history), size(facts.live_bytes)),
            evidence: by_history
                .iter()
                .take(3)
                .map(|(name, stat)| {
                    format!(
                        "{name}: {} old versions of {} keys, {}",
                        stat.history_versions,
                        stat.keys,
                        size(stat.history_bytes)
                    )
                })
                .collect(),
            why: "history counts for the quota until it is compacted".to_owned(),
            fix: vec!["find who rewrites these keys all the time".to_owned()],
            ..finding("many-versions", Severity::Warning, "most of the store is history".to_owned())
        });
    }
}

fn resources(facts: &SpaceFacts, findings: &mut Vec<Finding>) {
    let unreadable: u64 = facts.resources.values().map(|stat| stat.unreadable).sum();
    let unreadable = (unreadable > 0).then(|| {
        format!("{unreadable} objects are encrypted or damaged and do not tell who they are: owners may be among them")
    });
    for (name, stat) in &facts.resources {
        if facts.live_bytes > LARGE_BYTES && stat.live_bytes * 2 > facts.live_bytes {
            let mut evidence = vec![describe(name, stat)];
            evidence.extend(
                largest(&stat.namespaces).map(|(namespace, bytes)| format!("namespace {namespace}: {}", size(bytes))),
            );
            findings.push(Finding {
                subject: Some(name.clone()),
                what: format!("{} of {} are {name}.", size(stat.live_bytes), size(facts.live_bytes)),
                evidence,
                why: "what fills the store is what to look at first".to_owned(),
                fix: vec![way_out(name)],
                ..finding("one-resource-dominates", Severity::Info, format!("{name} are more than half of the store"))
            });
        }
        if stat.orphans > ORPHANS_MAX {
            findings.push(Finding {
                subject: Some(name.clone()),
                what: format!("{} objects, {}, whose owners no longer exist.", stat.orphans, size(stat.orphan_bytes)),
                evidence: [describe(name, stat)].into_iter().chain(unreadable.clone()).collect(),
                why: "Kubernetes' garbage collector would have deleted them: it is behind, or not running".to_owned(),
                fix: vec!["look at kube-controller-manager".to_owned(), way_out(name)],
                ..finding("orphans", Severity::Warning, format!("{name} whose owners are gone"))
            });
        }
    }
    if let Some(events) = facts.resources.get("events")
        && events.keys.saturating_sub(events.with_lease) > EVENTS_MAX
    {
        findings.push(Finding {
            subject: Some("events".to_owned()),
            what: format!(
                "{} of {} events have no lease, so they never go.",
                events.keys - events.with_lease,
                events.keys
            ),
            evidence: vec![describe("events", events)],
            why: "events are made without end, and only their leases end them".to_owned(),
            fix: vec!["bowline doctor space free --what events".to_owned()],
            ..finding("events-without-lease", Severity::Warning, "events that do not expire".to_owned())
        });
    }
}

fn way_out(resource: &str) -> String {
    let class = CLASSES.iter().find(|class| {
        class.resources.iter().any(|(group, plural)| {
            *plural == resource || resource.strip_suffix(plural).and_then(|rest| rest.strip_suffix('/')) == Some(group)
        })
    });
    match class {
        Some(class) => format!("bowline doctor space free --what {} ({})", class.name, class.safe_because),
        None => format!("find who makes {resource}; nothing here says that they are safe to delete"),
    }
}

fn describe(name: &str, stat: &ResourceStat) -> String {
    let ages = stat.ages;
    format!(
        "{name}: {} keys, {}, largest {} ({}); made in the last 10 min {}, hour {}, day {}, week {}, before {}",
        stat.keys,
        size(stat.live_bytes),
        size(stat.largest_bytes),
        stat.largest_key,
        ages.minutes_10,
        ages.hour,
        ages.day,
        ages.week,
        ages.older
    )
}

fn leases(facts: &SpaceFacts, findings: &mut Vec<Finding>) {
    if facts.leases_without_keys > EMPTY_LEASES_MAX {
        findings.push(Finding {
            what: format!("{} of {} leases hold no key.", facts.leases_without_keys, facts.leases),
            why: "each is kept, counted down and revoked for nothing".to_owned(),
            evidence: vec![format!("{} leases", facts.leases)],
            fix: vec!["find the client that grants leases and does not use them".to_owned()],
            ..finding("leases-without-keys", Severity::Info, "many leases hold nothing".to_owned())
        });
    }
}

fn kyverno(facts: &SpaceFacts, findings: &mut Vec<Finding>) {
    for (group, resource) in
        CLASSES.iter().filter(|class| class.name == "ephemeral-reports").flat_map(|class| class.resources)
    {
        let name = format!("{group}/{resource}");
        let Some(stat) = facts.resources.get(&name).filter(|stat| stat.keys > REPORTS_MAX) else { continue };
        findings.push(Finding {
            subject: Some(name.clone()),
            what: format!("{} intermediate reports lie there; they should live for seconds.", stat.keys),
            evidence: vec![describe(&name, stat)],
            why: "nobody consumes them: Kyverno's reports controller does not run, or is slower than they are made. At 7 a second they fill 2 GiB in 14 hours".to_owned(),
            fix: vec![
                "look at Kyverno's reports controller; admissionReports=false stops the flood".to_owned(),
                "bowline doctor space free --what ephemeral-reports".to_owned(),
            ],
            ..finding("reports-pile-up", Severity::Critical, format!("{name} pile up"))
        });
    }
    for image in &facts.images {
        let Some((_, known)) = KYVERNO_LEAKS.iter().find(|(version, _)| image.starts_with(version)) else { continue };
        findings.push(Finding {
            subject: Some(image.clone()),
            what: format!("{known}."),
            evidence: vec![format!("a Deployment runs {image}")],
            why: "reports that nobody deletes fill the store".to_owned(),
            fix: vec!["upgrade Kyverno".to_owned()],
            ..finding("kyverno-known-leak", Severity::Warning, format!("{image} is known to leak reports"))
        });
    }
}

/// The three largest.
fn largest(counts: &std::collections::BTreeMap<String, u64>) -> impl Iterator<Item = (&String, u64)> {
    let mut all: Vec<_> = counts.iter().map(|(name, count)| (name, *count)).collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    all.into_iter().take(3)
}

/// Who fills the store, the largest first.
pub fn table(facts: &SpaceFacts) -> String {
    let mut rows: Vec<_> = facts.resources.iter().collect();
    rows.sort_by_key(|(_, stat)| std::cmp::Reverse(stat.live_bytes + stat.history_bytes));
    let mut out =
        format!("{:>9}  {:>9}  {:>9}  {:>8}  {:>7}  RESOURCE\n", "KEYS", "LIVE", "HISTORY", "VERSIONS", "ORPHANS");
    for (name, stat) in rows.iter().take(ROWS) {
        let seen = facts.history_bytes.is_some();
        let history = if seen { size(stat.history_bytes) } else { "?".to_owned() };
        // Of a key, the newest included.
        let versions = (stat.keys + stat.history_versions) as f64 / stat.keys.max(1) as f64;
        let versions = if seen { format!("{versions:.1}") } else { "?".to_owned() };
        let orphans = if facts.orphans_counted { stat.orphans.to_string() } else { "?".to_owned() };
        let (keys, live) = (stat.keys, size(stat.live_bytes));
        let _ = writeln!(out, "{keys:>9}  {live:>9}  {history:>9}  {versions:>8}  {orphans:>7}  {name}");
    }
    let _ = writeln!(
        out,
        "\n{} keys, {} live, {} of history; revision {}, compacted {}; {} leases with {} keys{}",
        facts.keys,
        size(facts.live_bytes),
        facts.history_bytes.map_or_else(|| "unknown bytes".to_owned(), size),
        facts.revision,
        facts.compact_revision.map_or_else(|| "unknown".to_owned(), |revision| revision.to_string()),
        facts.leases,
        facts.leased_keys,
        facts.largest_lease.map_or(String::new(), |(id, keys)| format!(", {keys} of them on lease {id:x}"))
    );
    for member in &facts.members {
        let _ = writeln!(out, "{}", member_line(member));
    }
    out
}

const ROWS: usize = 25;

/// `1.5 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}
