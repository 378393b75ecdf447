//! What decides must be repeatable: code that is driven from outside names no clock, no randomness, no thread and no
//! environment, and no hash map whose order can be seen.
//!
//! Words are banned, not calls, so that an import is a breach already and no alias gets by. Clippy's
//! `disallowed-methods` would resolve names, but has one list for all crates and tests.

use crate::code::{Code, is_word, words};

/// Crates that are driven from outside.
const PURE_CRATES: &[&str] = &["consensus", "model", "mvcc", "state", "stdx", "store", "wal", "watch"];

/// Files of other crates that are too; each must exist.
pub const PURE_FILES: &[&str] = &[
    "crates/node/src/apply.rs",
    "crates/node/src/auto_compaction.rs",
    "crates/node/src/background.rs",
    "crates/node/src/budget_watch.rs",
    "crates/node/src/chores.rs",
    "crates/node/src/driver.rs",
    "crates/node/src/governor.rs",
    "crates/node/src/leader_clock.rs",
    "crates/node/src/log.rs",
    "crates/node/src/messages.rs",
    "crates/node/src/office.rs",
    "crates/node/src/pace.rs",
    "crates/node/src/parts.rs",
    "crates/node/src/stepped.rs",
];

struct Ban {
    /// A word, or several with `::` between.
    name: &'static str,
    instead: &'static str,
}

const CLOCK: &str = "take the time as a value, or through io::Clock";
const RANDOM: &str = "take randomness through io::Rng, so that a run can be repeated";
const THREAD: &str = "be stepped by who owns the threads: `node`'s shell";
const ENVIRONMENT: &str = "take it as an option, from who made this";

const BANS: &[Ban] = &[
    Ban { name: "Instant", instead: CLOCK },
    Ban { name: "SystemTime", instead: CLOCK },
    Ban { name: "UNIX_EPOCH", instead: CLOCK },
    Ban { name: "sleep", instead: CLOCK },
    Ban { name: "rand", instead: RANDOM },
    Ban { name: "getrandom", instead: RANDOM },
    Ban { name: "RandomState", instead: RANDOM },
    Ban { name: "DefaultHasher", instead: "use crc32c: this one's results may change with the compiler" },
    Ban { name: "thread", instead: THREAD },
    Ban { name: "thread_local", instead: THREAD },
    Ban { name: "rayon", instead: THREAD },
    Ban { name: "crossbeam", instead: THREAD },
    Ban { name: "tokio", instead: THREAD },
    Ban { name: "futures", instead: THREAD },
    Ban { name: "available_parallelism", instead: ENVIRONMENT },
    Ban { name: "env", instead: ENVIRONMENT },
    Ban { name: "std::process", instead: ENVIRONMENT },
    Ban { name: "process::id", instead: ENVIRONMENT },
    Ban { name: "fs", instead: "meet files through io::Disk" },
    Ban { name: "std::net", instead: "leave sockets to the rim" },
];

/// Maps and sets whose order differs from run to run, or with what else they held.
const HASHED: &[&str] =
    &["HashMap", "HashSet", "hashbrown", "FxHashMap", "FxHashSet", "AHashMap", "AHashSet", "DashMap"];

/// What stands right above each line that names one.
const ORDER_MARK: &str = "// hash order: ";

/// Checks a file; `code` is the same without comments, literals and tests.
pub fn check(path: &str, text: &str, parts: &Code) -> Vec<String> {
    if !is_pure(path) {
        return Vec::new();
    }
    let code = parts.without_tests();
    let lines: Vec<&str> = text.lines().collect();
    let mut problems = Vec::new();
    for (at, line) in code.lines().enumerate() {
        let number = at + 1;
        let banned = BANS.iter().filter(|ban| names(line, ban.name));
        problems.extend(banned.map(|Ban { name, instead }| {
            format!("{path}:{number}: {name} in code that is driven from outside: {instead}")
        }));
        let is_import = line.trim_start().starts_with("use ") && !words(line).any(|word| word == "as");
        let hashed = words(line).find(|word| HASHED.contains(word) && !is_import);
        if let Some(name) = hashed.filter(|_| !has_mark(&lines[..at])) {
            problems.push(format!(
                "{path}:{number}: {name}: use BTreeMap or BTreeSet, or write `{ORDER_MARK}<why it cannot leak>` right above"
            ));
        }
    }
    problems
}

/// Code that is driven from outside; its tests and benches may do as they like.
fn is_pure(path: &str) -> bool {
    let in_crate = path.strip_prefix("crates/").and_then(|path| path.split_once("/src/"));
    let pure = in_crate.is_some_and(|(name, _)| PURE_CRATES.contains(&name)) || PURE_FILES.contains(&path);
    pure && !crate::sources::is_test(path)
}

/// True if `name` stands in the line, not as a part of longer words nor as a macro.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let behind = line[at + name.len()..].chars().next();
        !before.is_some_and(is_word) && !behind.is_some_and(|c| is_word(c) || c == '!')
    })
}

/// True if the comment that ends these lines has the mark and says something behind it.
fn has_mark(above: &[&str]) -> bool {
    let comment = above.iter().rev().map(|line| line.trim_start()).take_while(|line| line.starts_with("//"));
    comment.filter_map(|line| line.strip_prefix(ORDER_MARK)).any(|why| !why.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> usize {
        check(path, text, &Code::of(text)).len()
    }

    #[test]
    fn what_comes_from_outside_is_not_taken_inside() {
        for line in [
            "let now = Instant::now();",
            "use std::time::Instant;",
            "use std::time::{Duration, SystemTime as Time};",
            "use std::thread;",
            "let me = thread::current();",
            "use std::hash::RandomState;",
            "let rng = rand::rng();",
            "async fn f() { tokio::task::yield_now().await }",
            "let path = std::env::var(\"HOME\");",
            "use std::process;",
            "use std::{env, io};",
            "use std::fs;",
        ] {
            assert_eq!(problems("crates/mvcc/src/x.rs", line), 1, "{line}");
            assert_eq!(problems(PURE_FILES[0], line), 1, "{line}");
            for elsewhere in ["crates/mvcc/benches/x.rs", "crates/mvcc/src/x_tests.rs", "crates/io/src/x.rs"] {
                assert_eq!(problems(elsewhere, line), 0, "{line}");
            }
        }
        for line in [
            "// not Instant::now",
            "let text = \"Instant::now\";",
            "let operand = threads + environment;",
            "let name = env!(\"CARGO_PKG_NAME\");",
            "#[cfg(test)]\nuse std::time::Instant;",
        ] {
            assert_eq!(problems("crates/mvcc/src/x.rs", line), 0, "{line}");
        }
    }

    #[test]
    fn hash_maps_say_why_their_order_is_not_seen() {
        let marked =
            "use std::collections::HashMap;\n/// By id.\n// hash order: only looked up.\nm: HashMap<u8, u8>,\n";
        assert_eq!(problems("crates/state/src/x.rs", marked), 0);
        for text in [
            "m: HashMap<u8, u8>,",
            "// hash order: \nm: HashSet<u8>,",
            "// hash order: looked up.\n\nm: HashSet<u8>,",
            "use std::collections::HashMap as Map;",
            "type M = hashbrown::HashMap<u8, u8>;",
        ] {
            assert_eq!(problems("crates/state/src/x.rs", text), 1, "{text}");
            assert_eq!(problems("crates/api/src/x.rs", text), 0, "{text}");
        }
    }
}
