//! Inside a crate, modules know each other in one direction: the paths that begin with `crate::` and `super::` must not
//! lead around in a circle.
//!
//! A folder counts as one module for those beside it, and the modules in it are looked at by themselves; what a
//! `mod.rs` and its children have with each other is their own affair. Tests may look anywhere.
//!
//! A text search, not a compiler: it follows `use` trees, paths within code and re-exports by name. Not here: paths
//! that begin with a child's name, macros, and re-exports with a star.

use crate::sources;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Modules that know each other in a circle, by their folder.
const ALLOWED: &[(&str, &[&str])] = &[
    // A bucket is read through its database, and the database hands out buckets.
    ("bbolt", &["bucket", "database"]),
    // Each prints what the other's answers contain too.
    ("cli", &["budget", "top"]),
    // Gates are flags, and the configuration is made of flags.
    ("cli", &["config", "flags"]),
    // The command's parts use what all of them share, which stands in `doctor`.
    ("cli", &["doctor", "doctor_space", "doctor_webhooks"]),
    // One error for all places that flags come from, which stands with the command line.
    ("cli::flags", &["environment", "file", "parse"]),
    // The check of a message looks at the status of the machine that calls it.
    ("consensus", &["check", "consensus"]),
    // A rejection carries the budget that refuses, and a budget's own check returns a rejection.
    ("model", &["budget", "rejection"]),
    // A version's checksum is of its payload, and a tombstone's payload is made in `version`.
    ("mvcc", &["crc", "version"]),
    // `Mvcc` is one type whose methods stand in a file for each matter.
    ("mvcc", &["checkpoint", "load", "owner", "space", "txn"]),
    // A walk of events steps over a view, and a view begins one.
    ("mvcc", &["events", "view"]),
    // `Apply` is one type whose upkeep stands in a file of its own.
    ("node", &["apply", "upkeep"]),
    // `State` is one type whose methods stand in a file for each matter, and its parts share one error.
    (
        "state",
        &[
            "apply",
            "budget",
            "demand",
            "fault",
            "lease",
            "lease_clock",
            "lease_reader",
            "lease_terms",
            "live",
            "read_ahead",
            "state",
            "tables",
            "txn",
            "view",
        ],
    ),
    // Opening writes a manifest where none is, and a checkpoint begins as every file does, which stands in `open`.
    ("store", &["checkpoint", "manifest", "open"]),
    // Groups hold members by the registry's ids.
    ("watch", &["groups", "registry"]),
];

/// Segments below the crate; empty for its root.
type Path = Vec<String>;
/// Who knows whom among the modules of one folder.
type Graph = BTreeMap<String, BTreeSet<String>>;

pub fn check() -> Result<Vec<String>, String> {
    let mut crates: BTreeMap<String, BTreeMap<Path, String>> = BTreeMap::new();
    for path in sources::rust_files()? {
        let Some((name, module)) = module_of(&path) else { continue };
        let text = fs::read_to_string(crate::root().join(&path)).map_err(|error| format!("read {path}: {error}"))?;
        crates.entry(name).or_default().insert(module, code_of(&text));
    }
    let mut problems = Vec::new();
    let mut met = BTreeSet::new();
    for (name, modules) in &crates {
        for (folder, circle) in circles(modules) {
            let place = [std::slice::from_ref(name), folder.as_slice()].concat().join("::");
            let covers = |(allowed, modules): &(&str, &[&str])| {
                *allowed == place && circle.modules.iter().all(|module| modules.contains(&module.as_str()))
            };
            match ALLOWED.iter().position(covers) {
                Some(position) => drop(met.insert(position)),
                None => {
                    let modules: Vec<&str> = circle.modules.iter().map(String::as_str).collect();
                    let (modules, way) = (modules.join(", "), circle.way.join(" → "));
                    problems.push(format!("{place}: a circle of {modules}; the shortest way around: {way}"));
                }
            }
        }
    }
    let gone = ALLOWED.iter().enumerate().filter(|(position, _)| !met.contains(position));
    problems.extend(gone.map(|(_, (place, modules))| {
        format!("{place}: {} make no circle any more; take them off the list in xtask", modules.join(", "))
    }));
    Ok(problems)
}

/// The crate and the module that a file is; none for tests and what is not below `crates/*/src`.
fn module_of(path: &str) -> Option<(String, Path)> {
    let (name, file) = path.strip_prefix("crates/")?.split_once("/src/")?;
    let mut module: Path = file.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    let is_test = |segment: &String| segment == "tests" || segment.ends_with("_tests");
    if module.iter().any(is_test) || module.first().is_some_and(|first| first == "bin") {
        return None;
    }
    if module.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        module.pop();
    }
    Some((name.to_owned(), module))
}

/// The lines in front of the tests, without comments.
fn code_of(text: &str) -> String {
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("\n{line}")).collect()
}

/// Modules of one folder of which each leads to each other.
struct Circle {
    modules: BTreeSet<String>,
    /// The shortest way around.
    way: Vec<String>,
}

/// All circles, with the folder that each lies in.
fn circles(modules: &BTreeMap<Path, String>) -> Vec<(Path, Circle)> {
    let exports: BTreeMap<&Path, BTreeMap<String, Path>> =
        modules.iter().map(|(module, code)| (module, exports_of(module, code))).collect();
    let mut graphs: BTreeMap<Path, Graph> = BTreeMap::new();
    for (module, code) in modules {
        for path in paths_in(module, code) {
            let target = resolve(&path, modules, &exports);
            let shared = module.iter().zip(&target).take_while(|(one, other)| one == other).count();
            if let (Some(from), Some(to)) = (module.get(shared), target.get(shared)) {
                let graph = graphs.entry(target[..shared].to_vec()).or_default();
                graph.entry(from.clone()).or_default().insert(to.clone());
            }
        }
    }
    let of_folder =
        |(folder, graph): (Path, Graph)| circles_of(&graph).into_iter().map(move |circle| (folder.clone(), circle));
    graphs.into_iter().flat_map(of_folder).collect()
}

fn circles_of(graph: &Graph) -> Vec<Circle> {
    let mut circles: Vec<Circle> = Vec::new();
    for module in graph.keys() {
        let Some(way) = way(graph, module, module) else { continue };
        if let Some(circle) = circles.iter_mut().find(|circle| circle.modules.contains(module)) {
            if way.len() < circle.way.len() {
                circle.way = way;
            }
            continue;
        }
        let leads_back = |other: &&String| {
            *other == module || (self::way(graph, module, other).is_some() && self::way(graph, other, module).is_some())
        };
        circles.push(Circle { modules: graph.keys().filter(leads_back).cloned().collect(), way });
    }
    circles
}

/// The shortest way of at least one step, with both its ends.
fn way(graph: &Graph, from: &str, to: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![from.to_owned()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in way.last().and_then(|last| graph.get(last)).into_iter().flatten() {
                let extended = [way.as_slice(), std::slice::from_ref(next)].concat();
                if next == to {
                    return Some(extended);
                }
                if seen.insert(next) {
                    longer.push(extended);
                }
            }
        }
        ways = longer;
    }
    None
}

/// The module that a path leads to, through what modules export again.
fn resolve(path: &Path, modules: &BTreeMap<Path, String>, exports: &BTreeMap<&Path, BTreeMap<String, Path>>) -> Path {
    let mut path = path.clone();
    // Each step is one re-export; a chain of them is short.
    for _ in 0..8 {
        let known = (0..=path.len()).rev().find(|&length| modules.contains_key(&path[..length])).unwrap_or_default();
        let module = path[..known].to_vec();
        let exported = path.get(known).and_then(|name| exports.get(&module)?.get(name));
        match exported {
            Some(exported) if exported[..] != path[..=known] => path = [exported, &path[known + 1..]].concat(),
            _ => return module,
        }
    }
    path
}

/// Names that a module exports and has from elsewhere in its crate.
fn exports_of(module: &Path, code: &str) -> BTreeMap<String, Path> {
    let mut exports = BTreeMap::new();
    for start in ["\npub use ", "\npub(crate) use ", "\npub(super) use "] {
        for (at, found) in code.match_indices(start) {
            for path in tree_paths(&code[at + found.len()..]) {
                let path = absolute(module, &path).unwrap_or_else(|| [module.as_slice(), &path].concat());
                exports.extend(path.last().cloned().map(|name| (name, path)));
            }
        }
    }
    exports
}

/// Paths in the code that begin with `crate`, `self` or `super`, from the crate's root.
fn paths_in(module: &Path, code: &str) -> Vec<Path> {
    let mut paths = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            // `$crate::`, `pub(in super::…)` and the later parts of `super::super::` are no beginnings.
            if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '$')) {
                continue;
            }
            paths.extend(tree_paths(&code[at..]).iter().filter_map(|path| absolute(module, path)));
        }
    }
    paths
}

/// Takes `crate`, `self` and `super` off the front; none if the path begins with something else.
fn absolute(module: &[String], path: &[String]) -> Option<Path> {
    let mut base = match path.first()?.as_str() {
        "crate" => Vec::new(),
        "self" => module.to_vec(),
        "super" => module[..module.len().saturating_sub(1)].to_vec(),
        _ => return None,
    };
    for segment in &path[1..] {
        if segment == "super" {
            base.pop();
        } else if segment != "self" {
            base.push(segment.clone());
        }
    }
    Some(base)
}

/// The paths of a `use` tree, or of the path that the text begins with.
fn tree_paths(text: &str) -> Vec<Path> {
    let mut rest = text;
    read_tree(&mut rest)
}

fn read_tree(rest: &mut &str) -> Vec<Path> {
    let mut path = Path::new();
    loop {
        *rest = rest.trim_start();
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (segment, after) = rest.split_at(length);
        if segment.is_empty() {
            break;
        }
        path.push(segment.to_owned());
        *rest = after;
        let Some(after) = rest.strip_prefix("::") else { break };
        *rest = after;
        if let Some(group) = rest.strip_prefix('{') {
            *rest = group;
            return read_group(rest).into_iter().map(|tail| [path.as_slice(), &tail].concat()).collect();
        }
    }
    vec![path]
}

/// The trees up to the closing brace.
fn read_group(rest: &mut &str) -> Vec<Path> {
    let mut paths = Vec::new();
    loop {
        paths.extend(read_tree(rest).into_iter().filter(|path| !path.is_empty()));
        let end = rest.find([',', '}']).unwrap_or(rest.len());
        let is_last = !rest[end..].starts_with(',');
        *rest = rest.get(end + 1..).unwrap_or_default();
        if is_last {
            return paths;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(files: &[(&str, &str)]) -> BTreeMap<Path, String> {
        let module = |(file, text): &(&str, &str)| {
            (module_of(&format!("crates/x/src/{file}")).expect("a module").1, code_of(text))
        };
        files.iter().map(module).collect()
    }

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let line = |(folder, circle): (Path, Circle)| folder.join("::") + ": " + &circle.way.join(" ");
        circles(&modules(files)).into_iter().map(line).collect()
    }

    #[test]
    fn one_direction_is_no_circle() {
        let files =
            [("lib.rs", "mod a;\nmod b;\nuse crate::a::A;"), ("a.rs", "use crate::b::B;"), ("b.rs", "use std::fmt;")];
        assert_eq!(found(&files), [""; 0]);
    }

    #[test]
    fn circles_are_found_through_groups_code_and_re_exports() {
        let a = ("a.rs", "use crate::{c::C, b::{self, B}};");
        assert_eq!(found(&[("lib.rs", ""), a, ("b.rs", "fn f() { crate::a::g(); }")]), [": a b a"]);
        assert_eq!(found(&[("lib.rs", ""), a, ("b.rs", "use super::a;")]), [": a b a"]);
        assert_eq!(found(&[("lib.rs", "mod a;\npub use a::A;"), a, ("b.rs", "use crate::A;")]), [": a b a"]);
        let longer = [a, ("b.rs", "use crate::d;"), ("d.rs", "use crate::a;")];
        assert_eq!(found(&longer), [": a b d a"]);
    }

    #[test]
    fn circles_apart_are_told_apart() {
        let files = [
            ("a.rs", "use crate::b;"),
            ("b.rs", "use crate::a;\nuse crate::c;"),
            ("c.rs", "use crate::d;"),
            ("d.rs", "use crate::c;"),
        ];
        assert_eq!(found(&files), [": a b a", ": c d c"]);
    }

    #[test]
    fn a_folder_is_one_module_and_its_children_are_looked_at_by_themselves() {
        let files = [
            ("f/mod.rs", "mod one;\nmod two;\npub(crate) use one::One;\nuse crate::low::Low;"),
            ("f/one.rs", "use super::two::Two;\nuse super::Shared;"),
            ("f/two.rs", "use super::One;"),
            ("low.rs", ""),
        ];
        assert_eq!(found(&files), ["f: one two one"]);
        let files =
            [("f/mod.rs", ""), ("f/one.rs", "use crate::g;"), ("f/two.rs", ""), ("g.rs", "use crate::f::two::Two;")];
        assert_eq!(found(&files), [": f g f"]);
    }

    #[test]
    fn tests_and_comments_do_not_count() {
        let b = ("b.rs", "// crate::a::A\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n");
        assert_eq!(found(&[("a.rs", "use crate::b;"), b]), [""; 0]);
        assert_eq!(module_of("crates/x/src/a_tests.rs"), None);
        assert_eq!(module_of("crates/x/tests/suite/a.rs"), None);
    }
}
