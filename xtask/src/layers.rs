//! Who may import whom, as a table, and the comparison of every crate with it.
//!
//! The compiler refuses an upward import only if the manifests do not allow it; this keeps the manifests honest.

use crate::manifests::{self, array};
use crate::sources;
use serde_json::Value;
use std::fs;

struct Layer {
    name: &'static str,
    /// Crates of ours that it may depend on; `stdx` always may.
    ours: &'static [&'static str],
}

/// From the top of the data path to the bottom, then the shared nouns.
const LAYERS: &[Layer] = &[
    Layer {
        name: "cli",
        ours: &[
            "api",
            "client",
            "consensus",
            "console",
            "doctor",
            "io",
            "kube",
            "model",
            "mvcc",
            "node",
            "proto",
            "state",
            "store",
            "transport",
            "wal",
            "watch",
        ],
    },
    Layer { name: "console", ours: &["client", "model"] },
    Layer {
        name: "doctor",
        ours: &["admission", "bbolt", "client", "io", "kube", "model", "mvcc", "proto", "state", "store", "wal"],
    },
    Layer { name: "client", ours: &["proto", "model"] },
    // Of state and mvcc it names what readers get (`NARROW`); watchers run on its threads.
    Layer { name: "api", ours: &["node", "proto", "state", "watch", "mvcc", "model"] },
    Layer { name: "node", ours: &["state", "watch", "mvcc", "consensus", "wal", "store", "transport", "io", "model"] },
    Layer { name: "transport", ours: &["consensus", "io", "model"] },
    Layer { name: "watch", ours: &["mvcc", "model"] },
    Layer { name: "state", ours: &["mvcc", "store", "model"] },
    Layer { name: "mvcc", ours: &["store", "model"] },
    Layer { name: "wal", ours: &["consensus", "io"] },
    Layer { name: "store", ours: &["io"] },
    Layer { name: "admission", ours: &["kube"] },
    Layer { name: "kube", ours: &[] },
    Layer { name: "bbolt", ours: &[] },
    Layer { name: "proto", ours: &[] },
    Layer { name: "consensus", ours: &[] },
    Layer { name: "io", ours: &[] },
    Layer { name: "model", ours: &[] },
    Layer { name: "stdx", ours: &[] },
];

/// A crate that names only a few items of another.
struct Narrow {
    package: &'static str,
    on: &'static str,
    /// The items at the root of `on` that it may name.
    items: &'static [&'static str],
    reason: &'static str,
}

const READING: &str = "the edge reads views and answers; what changes state goes through node::Handle";

const NARROW: &[Narrow] = &[
    Narrow {
        package: "api",
        on: "state",
        items: &["ActiveAlarm", "BudgetState", "OperationOutcome", "Proposal", "StateView", "TxnOutcome"],
        reason: READING,
    },
    Narrow {
        package: "api",
        on: "mvcc",
        items: &[
            "AccountDepth",
            "AccountOrder",
            "AccountStat",
            "AccountsReader",
            "Found",
            "KvHash",
            "Location",
            "Pages",
            "RangeItem",
            "RangeResult",
            "ReadError",
            "Usage",
            "Walk",
        ],
        reason: READING,
    },
];

struct Ban {
    /// A crate of others, or the first letters of several with a `*` behind.
    foreign: &'static str,
    /// The only crates of ours that may depend on it.
    only: &'static [&'static str],
    reason: &'static str,
}

const RIM: &[&str] = &["api", "transport", "client", "console", "doctor", "cli"];
const WIRE: &[&str] = &["proto", "api", "client"];

const BANS: &[Ban] = &[
    Ban { foreign: "tokio*", only: RIM, reason: "everything between the rim and the disk is synchronous" },
    Ban { foreign: "hyper*", only: RIM, reason: "everything between the rim and the disk is synchronous" },
    Ban { foreign: "futures*", only: RIM, reason: "everything between the rim and the disk is synchronous" },
    Ban { foreign: "rustls*", only: RIM, reason: "only the rim knows TLS" },
    Ban { foreign: "prost*", only: WIRE, reason: "only the edge knows protobuf" },
    Ban { foreign: "tonic*", only: WIRE, reason: "only the edge knows protobuf" },
    Ban { foreign: "protox", only: WIRE, reason: "only the edge knows protobuf" },
    Ban { foreign: "raft*", only: &["consensus"], reason: "one crate names the engine, so that it can be replaced" },
    Ban { foreign: "protobuf*", only: &["consensus"], reason: "protobuf 2.x must parse no byte from outside" },
    Ban { foreign: "slog*", only: &["consensus"], reason: "the engine's logger; everything else uses tracing" },
    Ban { foreign: "clap*", only: &["cli"], reason: "one crate reads the command line" },
    Ban { foreign: "rand*", only: &["io"], reason: "randomness comes through io::Rng, so that a run can be repeated" },
    Ban {
        foreign: "getrandom",
        only: &["io"],
        reason: "randomness comes through io::Rng, so that a run can be repeated",
    },
];

/// A dependency as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    pub package: String,
    pub on: String,
    /// Has a path: lies in this repository.
    pub is_ours: bool,
    /// For tests only; those may use more.
    pub is_dev: bool,
}

/// Compares all crates of the workspace under `crates/` with the tables.
pub fn check() -> Result<Vec<String>, String> {
    let mut problems = violations(&dependencies()?);
    for path in sources::rust_files()? {
        let narrow = NARROW.iter().filter(|narrow| path.starts_with(&format!("crates/{}/src/", narrow.package)));
        for narrow in narrow {
            let text =
                fs::read_to_string(crate::root().join(&path)).map_err(|error| format!("read {path}: {error}"))?;
            problems.extend(too_wide(narrow, &text).into_iter().map(|problem| format!("{path}: {problem}")));
        }
    }
    Ok(problems)
}

fn too_wide(narrow: &Narrow, text: &str) -> Vec<String> {
    let named = named_items(narrow.on, text).into_iter().filter(|item| !narrow.items.contains(item));
    named.map(|item| format!("may not name {}::{item}: {}", narrow.on, narrow.reason)).collect()
}

/// The items at the root of a crate that this text names in paths.
fn named_items<'a>(of: &str, text: &'a str) -> Vec<&'a str> {
    let root = format!("{of}::");
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let paths = text.match_indices(&root).filter(|(at, _)| !text[..*at].ends_with(|c| is_word(c) || c == ':'));
    let named = paths.flat_map(|(at, _)| {
        let rest = &text[at + root.len()..];
        let list = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(list, _)| list);
        let items = list.unwrap_or_else(|| rest.split(|c| !is_word(c) && c != '*').next().unwrap_or_default());
        items.split(',').map(|item| item.trim().split([' ', ':']).next().unwrap_or_default())
    });
    named.filter(|item| !item.is_empty() && *item != "self").collect()
}

fn violations(dependencies: &[Dependency]) -> Vec<String> {
    dependencies.iter().filter(|dependency| !dependency.is_dev).filter_map(violation).collect()
}

fn violation(dependency: &Dependency) -> Option<String> {
    let Dependency { package, on, .. } = dependency;
    let Some(layer) = LAYERS.iter().find(|layer| layer.name == package) else {
        return Some(format!("crates/{package}: the table of layers in xtask does not know it"));
    };
    if dependency.is_ours {
        let allowed = on == "stdx" || layer.ours.contains(&on.as_str());
        return (!allowed).then(|| format!("crates/{package}: may not depend on {on}: the table of layers says so"));
    }
    let ban = BANS.iter().find(|ban| match ban.foreign.strip_suffix('*') {
        Some(first) => on.starts_with(first),
        None => on == ban.foreign,
    })?;
    let allowed = ban.only.contains(&package.as_str());
    (!allowed).then(|| format!("crates/{package}: may not depend on {on}: {}", ban.reason))
}

fn dependencies() -> Result<Vec<Dependency>, String> {
    Ok(manifests::packages()?.iter().filter(|package| is_in_crates(package)).flat_map(of_package).collect())
}

fn is_in_crates(package: &Value) -> bool {
    let folder = format!("{}/crates/", crate::root().display());
    package["manifest_path"].as_str().is_some_and(|path| path.starts_with(&folder))
}

fn of_package(package: &Value) -> Vec<Dependency> {
    let name = package["name"].as_str().unwrap_or_default().to_owned();
    let dependencies = array(package, "dependencies").iter().map(|dependency| Dependency {
        package: name.clone(),
        on: dependency["name"].as_str().unwrap_or_default().to_owned(),
        is_ours: dependency["path"].is_string(),
        is_dev: dependency["kind"] == "dev",
    });
    dependencies.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependency(package: &str, on: &str, is_ours: bool) -> Dependency {
        Dependency { package: package.to_owned(), on: on.to_owned(), is_ours, is_dev: false }
    }

    #[test]
    fn the_table_has_no_cycle() {
        for (at, layer) in LAYERS.iter().enumerate() {
            for on in layer.ours {
                let below = LAYERS.iter().position(|other| other.name == *on);
                // Proto is beside the path: client and api stand above it, and it stands above nothing.
                assert!(below.is_some_and(|below| below > at), "{} -> {on}", layer.name);
            }
        }
    }

    #[test]
    fn upward_imports_are_found() {
        assert_eq!(violations(&[dependency("api", "node", true), dependency("wal", "stdx", true)]), [""; 0]);
        assert_eq!(violations(&[dependency("store", "model", true)]).len(), 1);
        assert_eq!(violations(&[dependency("node", "api", true)]).len(), 1);
        assert_eq!(violations(&[dependency("newcomer", "io", true)]).len(), 1);
    }

    #[test]
    fn a_crate_names_of_another_only_what_its_table_lists() {
        let narrow = Narrow { package: "api", on: "state", items: &["StateView", "Outcome"], reason: "it reads" };
        let allowed = "use state::{\n    Outcome,\n    StateView,\n};\nfn f(view: &state::StateView, state: State) {}";
        assert_eq!(too_wide(&narrow, allowed), [""; 0]);
        assert_eq!(too_wide(&narrow, "use upstate::State; use model::state::State;"), [""; 0]);
        for text in
            ["use state::State;", "use state::{Outcome, State};", "fn f(at: state::txn::Path) {}", "use state::*;"]
        {
            assert_eq!(too_wide(&narrow, text).len(), 1, "{text}");
        }
    }

    #[test]
    fn foreign_crates_stay_where_they_belong() {
        assert_eq!(violations(&[dependency("api", "tokio-rustls", false)]), [""; 0]);
        assert_eq!(violations(&[dependency("consensus", "raft", false)]), [""; 0]);
        for (package, on) in [("state", "tokio"), ("node", "tokio-stream"), ("node", "prost"), ("wal", "raft-proto")] {
            assert_eq!(violations(&[dependency(package, on, false)]).len(), 1, "{package} -> {on}");
        }
        let for_tests = Dependency { is_dev: true, ..dependency("wal", "sim", true) };
        assert_eq!(violations(&[for_tests]), [""; 0]);
    }
}
