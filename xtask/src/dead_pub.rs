//! What is `pub` without a reader: an item of a crate that no other package names.
//!
//! A search for words, so that a name that others use for something else hides a dead item of the same name; what is
//! found is dead for certain. A type also lives while a public signature of its own crate names it. Binaries are the
//! compiler's business.

use crate::code::words;
use crate::sources::{self, Source};
use std::collections::{BTreeMap, BTreeSet};

/// Items that only the benches, tests or examples of their own crate name: crate, name, reason.
const ONLY_MEASURED: &[(&str, &str, &str)] = &[
    ("bbolt", "next_item", "the test of damaged pages walks a bucket item by item"),
    ("consensus", "transfer_leader", "the scripts of whole clusters hand leadership over"),
    ("consensus", "tail_bytes", "shows that a member without peers keeps no applied entries"),
    ("mvcc", "Summary", "the tree's bench sums up entries of its own"),
    ("watch", "distinct_ranges", "the scripts show that watchers of equal ranges share a group"),
];

const KINDS: &[&str] = &["fn", "struct", "const", "static", "trait", "enum", "type", "union"];
/// What may stand between `pub` and the kind.
const MODIFIERS: &[&str] = &["async", "unsafe", "const", "extern"];

/// The packages that name a word.
type Readers<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

pub fn check() -> Result<Vec<String>, String> {
    Ok(problems(&sources::read_all()?, ONLY_MEASURED))
}

struct Item<'a> {
    path: &'a str,
    line: usize,
    kind: &'a str,
    name: &'a str,
}

fn problems(sources: &[Source], only_measured: &[(&str, &str, &str)]) -> Vec<String> {
    let mut readers = Readers::new();
    for Source { path, parts, .. } in sources {
        let reader = reader(path);
        words(&parts.code).for_each(|word| {
            readers.entry(word).or_default().insert(reader);
        });
    }
    let libraries: BTreeSet<&str> =
        sources.iter().filter_map(|source| source.path.strip_suffix("/src/lib.rs")).collect();
    let code: Vec<(&str, String)> = sources
        .iter()
        .filter(|source| source.path.starts_with("crates/") && libraries.contains(package(&source.path)))
        .filter(|source| source.path.contains("/src/") && !sources::is_test(&source.path))
        .map(|source| (source.path.as_str(), source.parts.without_tests()))
        .collect();
    let mut shown: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut items = Vec::new();
    for (path, code) in &code {
        let shown = shown.entry(package(path)).or_default();
        read_items(path, code, &mut items, shown);
    }
    let aliases: Vec<(&str, &str, &str)> = code.iter().flat_map(|(path, code)| aliases(package(path), code)).collect();
    for (package, name, alias) in aliases {
        let others =
            readers.get(alias).into_iter().flatten().copied().filter(|reader| self::package(reader) != package);
        let others: Vec<&str> = others.collect();
        readers.entry(name).or_default().extend(others);
    }
    let mut problems = Vec::new();
    let mut used = BTreeSet::new();
    for Item { path, line, kind, name } in items {
        let package = package(path);
        let is_type = !matches!(kind, "fn" | "const" | "static");
        let named_by = &readers[name];
        let others = named_by.iter().any(|reader| self::package(reader) != package);
        if others || (is_type && shown[package].contains(name)) {
            continue;
        }
        let listed = only_measured.iter().position(|(on, item, _)| *on == crate_name(package) && *item == name);
        if let Some(listed) = listed.filter(|_| named_by.iter().any(|reader| *reader != package)) {
            used.insert(listed);
            continue;
        }
        problems.push(format!(
            "{path}:{line}: no other package names the pub {kind} {name}: delete it, or make it pub(crate)"
        ));
    }
    let unused = only_measured.iter().enumerate().filter(|(at, _)| !used.contains(at));
    problems.extend(unused.map(|(_, (on, item, _))| {
        format!("xtask/src/dead_pub.rs: the list of what is only measured names {item} of {on}, which is not so")
    }));
    problems
}

/// `crates/NAME`, `testing/NAME` or `xtask`.
fn package(path: &str) -> &str {
    let parts = if path.starts_with("xtask") { 1 } else { 2 };
    path.match_indices('/').nth(parts - 1).map_or(path, |(end, _)| &path[..end])
}

/// The package, or what of it is compiled as if it were another.
fn reader(path: &str) -> &str {
    let package = package(path);
    let folder = path[package.len()..].split('/').nth(1).unwrap_or_default();
    if matches!(folder, "benches" | "tests" | "examples") { &path[..package.len() + 1 + folder.len()] } else { package }
}

fn crate_name(package: &str) -> &str {
    package.rsplit('/').next().unwrap_or(package)
}

/// Collects the public items of a file, and the words of its public signatures.
fn read_items<'a>(path: &'a str, code: &'a str, items: &mut Vec<Item<'a>>, shown: &mut BTreeSet<&'a str>) {
    let mut at = 0;
    for (number, line) in code.split_inclusive('\n').enumerate() {
        let start = at;
        at += line.len();
        if let Some(rest) = line.trim_start().strip_prefix("pub ") {
            let item = item(rest);
            let behind = &code[start + (line.len() - rest.len())..];
            let mut signature = words(signature(behind, item.map(|(kind, _)| kind)));
            if let Some((kind, name)) = item {
                items.push(Item { path, line: number + 1, kind, name });
                // Its own name does not count.
                signature.by_ref().find(|word| *word == name);
            }
            shown.extend(signature);
        } else if line.trim_start().starts_with("type ") {
            shown.extend(words(line).skip(2));
        }
    }
}

/// Each item that a library exports under another name: the package, the name, and the other.
fn aliases<'a>(package: &'a str, code: &'a str) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
    let words: Vec<&str> =
        code.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next()).flat_map(words).collect();
    let aliases: Vec<_> =
        words.windows(3).filter(|words| words[1] == "as").map(|words| (package, words[0], words[2])).collect();
    aliases.into_iter()
}

/// Kind and name of the item that begins behind `pub`; `None` for fields, modules and imports.
fn item(rest: &str) -> Option<(&str, &str)> {
    let mut words = words(rest).peekable();
    loop {
        let word = words.next()?;
        let next = words.peek()?;
        if KINDS.contains(&word) && !KINDS.contains(next) && !MODIFIERS.contains(next) {
            return Some((word, next));
        }
        if !MODIFIERS.contains(&word) {
            return None;
        }
    }
}

/// As much as callers see: to the body of a function, the whole of an enum or trait, the line of a field.
fn signature<'a>(code: &'a str, kind: Option<&str>) -> &'a str {
    let end = match kind {
        None => code.find('\n'),
        Some("enum" | "trait") => code.find("\n}").or_else(|| code.find('\n')),
        Some("struct" | "union") => code.find([';', '{', '\n']),
        Some(_) => code.find([';', '{']),
    };
    &code[..end.unwrap_or(code.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;

    fn found(files: &[(&str, &str)], only_measured: &[(&str, &str, &str)]) -> Vec<String> {
        let sources = files.iter().map(|(path, text)| Source {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
            parts: Code::of(text),
        });
        problems(&sources.collect::<Vec<_>>(), only_measured)
    }

    const LIBRARY: &str = "crates/a/src/lib.rs";

    #[test]
    fn what_nobody_names_is_found() {
        let text = "pub const unsafe fn one() {}\npub struct Two;\npub(crate) fn three() {}\npub const FOUR: u8 = 4;\n\
                    #[cfg(test)]\nmod tests { pub fn five() { one(); } }\n// pub fn six()\npub mod seven;\npub use eight::Nine;\n";
        let problems = found(&[(LIBRARY, text)], &[]);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(
            problems[0].starts_with("crates/a/src/lib.rs:1: no other package names the pub fn one"),
            "{problems:?}"
        );
        let reader = ("testing/b/src/main.rs", "fn main() { a::one(); a::Two; let x = \"FOUR\"; }");
        assert_eq!(found(&[(LIBRARY, text), reader], &[]).len(), 1);
        assert_eq!(found(&[("crates/a/src/main.rs", text)], &[]), [""; 0], "a binary");
        let renamed = "mod x { pub fn one() {} }\npub use x::{one as ten, two};\n";
        let reader = ("crates/b/src/lib.rs", "use a::ten;");
        assert_eq!(found(&[(LIBRARY, renamed), reader], &[]), [""; 0], "under another name");
    }

    #[test]
    fn a_type_lives_in_public_signatures() {
        let reader = ("crates/b/src/lib.rs", "use a::{used, Kept, Chosen};");
        let text = "pub fn used(\n one: One,\n) -> Two {}\npub struct One;\npub struct Two;\npub struct Lost;\n\
                    fn hidden() -> Lost {}\npub struct Kept {\n pub three: Three,\n}\npub struct Three;\n\
                    pub enum Chosen {\n Four(Four),\n}\npub struct Four;\n";
        let problems = found(&[(LIBRARY, text), reader], &[]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("pub struct Lost"), "{problems:?}");
    }

    #[test]
    fn what_is_only_measured_is_listed() {
        let bench = ("crates/a/benches/speed.rs", "fn main() { a::one() }");
        let files = [(LIBRARY, "pub fn one() {}"), bench];
        let listed = [("a", "one", "the bench calls it")];
        assert_eq!(found(&files, &[]).len(), 1);
        assert_eq!(found(&files, &listed), [""; 0]);
        assert_eq!(found(&files[..1], &listed).len(), 2, "it is dead, and the list is wrong");
    }
}
