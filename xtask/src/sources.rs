//! House rules on source files, line by line.

use crate::code::Code;
use crate::{comments, determinism};
use std::fs;
use std::process::Command;

/// Beyond this, look for a second noun.
const LINES_MAX: usize = 1000;

/// Checks every Rust file.
pub fn check() -> Result<Vec<String>, String> {
    let mut problems = Vec::new();
    for Source { path, text, parts } in read_all()? {
        problems.extend(check_file(&path, &text));
        problems.extend(determinism::check(&path, &text, &parts));
        problems.extend(comments::check(&path, &text, &parts));
    }
    let gone = determinism::PURE_FILES.iter().filter(|path| !crate::root().join(path).exists());
    problems.extend(
        gone.map(|path| format!("{path}: the list of files in xtask/src/determinism.rs names it, but it is gone")),
    );
    Ok(problems)
}

/// A Rust file of the repository.
pub struct Source {
    /// From the top of the repository.
    pub path: String,
    pub text: String,
    pub parts: Code,
}

/// All of them.
pub fn read_all() -> Result<Vec<Source>, String> {
    let read = |path: String| {
        let text = fs::read_to_string(crate::root().join(&path)).map_err(|error| format!("read {path}: {error}"))?;
        let parts = Code::of(&text);
        Ok(Source { path, text, parts })
    };
    rust_files()?.into_iter().map(read).collect()
}

/// Every Rust file that git knows or would take.
pub fn rust_files() -> Result<Vec<String>, String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "--", "*.rs"])
        .current_dir(crate::root())
        .output()
        .map_err(|error| format!("run git ls-files: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let paths = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>();
    // A file that was removed but not committed yet is still in the list.
    Ok(paths.into_iter().filter(|path| crate::root().join(path).exists()).collect())
}

fn check_file(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !text.starts_with("//!") {
        problems.push(format!("{path}:1: a file opens with `//!`: what it is, its invariants, what is not in it"));
    }
    let count = text.lines().count();
    if count > LINES_MAX {
        problems.push(format!("{path}: {count} lines, more than {LINES_MAX}: look for a second noun"));
    }
    for (at, line) in text.lines().enumerate() {
        problems.extend(check_line(line).map(|problem| format!("{path}:{}: {problem}", at + 1)));
    }
    problems
}

/// A file that is only compiled for tests, or is one.
pub fn is_test(path: &str) -> bool {
    let mut folders = path.split('/').rev();
    let stem = folders.next().and_then(|name| name.strip_suffix(".rs")).unwrap_or_default();
    stem == "tests" || stem.ends_with("_tests") || folders.any(|folder| folder == "tests")
}

fn check_line(line: &str) -> Option<String> {
    // Taken apart, so that this file keeps its own rules.
    let (todo, fixme) = (concat!("TO", "DO"), concat!("FIX", "ME"));
    if line.contains(fixme) {
        return Some(format!("{fixme}: do it, or open an issue and write {todo}(#n)"));
    }
    if let Some((_, after)) = line.split_once(todo)
        && !has_issue(after)
    {
        return Some(format!("{todo} without an issue: do it, delete it, or write {todo}(#n)"));
    }
    let attribute = concat!("allow(", "dead_code");
    line.contains(attribute).then(|| format!("{attribute}): delete the code; git remembers"))
}

fn has_issue(after: &str) -> bool {
    let number = after.strip_prefix("(#").and_then(|rest| rest.split_once(')')).map(|(number, _)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_its_breach() {
        let todo = concat!("TO", "DO");
        assert_eq!(check_file("crates/api/src/x.rs", &format!("//! X.\n// {todo}(#12): later\n")), [""; 0]);
        for text in [
            "fn main() {}\n".to_owned(),
            format!("//! X.\n// {todo}: later\n"),
            format!("//! X.\n// {todo}(#): later\n"),
            format!("//! X.\n#[{}]\n", concat!("allow(", "dead_code)")),
            format!("//! X.\n{}", "\n".repeat(LINES_MAX)),
        ] {
            assert_eq!(check_file("crates/api/src/x.rs", &text).len(), 1, "{text}");
        }
    }

    #[test]
    fn tests_are_told_by_their_names() {
        for test in ["crates/mvcc/src/tree/tests.rs", "crates/mvcc/src/tests/mod.rs", "crates/api/src/kv_tests.rs"] {
            assert!(is_test(test), "{test}");
        }
        assert!(!is_test("crates/mvcc/src/contest.rs"));
    }
}
