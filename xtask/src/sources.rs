//! House rules on source files, line by line.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Beyond this, look for a second noun.
const LINES_MAX: usize = 1000;

/// Crates that are driven from outside: time, randomness and threads reach them as values.
const PURE: &[&str] = &["consensus", "model", "mvcc", "state", "stdx", "store", "wal", "watch"];

const IMPURE_CALLS: &[&str] =
    &["Instant::now", "SystemTime::now", "thread::spawn", "thread::Builder", "thread::sleep", "std::env::var"];

/// Checks every Rust file.
pub fn check() -> Result<Vec<String>, String> {
    let mut problems = Vec::new();
    for path in rust_files()? {
        let text = fs::read_to_string(crate::root().join(&path)).map_err(|error| format!("read {path}: {error}"))?;
        problems.extend(check_file(&path, &text));
    }
    Ok(problems)
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
    let pure = is_pure(path);
    for (at, line) in text.lines().enumerate() {
        let number = at + 1;
        problems.extend(check_line(line).map(|problem| format!("{path}:{number}: {problem}")));
        let call = IMPURE_CALLS.iter().find(|call| pure && line.contains(**call) && !is_comment(line));
        problems.extend(call.map(|call| format!("{path}:{number}: {call} in a crate that takes it from outside")));
    }
    problems
}

/// Code of a crate that is driven from outside; its tests and benches may do as they like.
fn is_pure(path: &str) -> bool {
    let Some((name, rest)) = path.strip_prefix("crates/").and_then(|path| path.split_once('/')) else { return false };
    PURE.contains(&name) && rest.starts_with("src/") && !Path::new(rest).to_string_lossy().contains("test")
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
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
    fn pure_crates_take_time_from_outside() {
        let text = "//! X.\nlet now = Instant::now();\n// not Instant::now\n";
        assert_eq!(check_file("crates/mvcc/src/x.rs", text).len(), 1);
        assert_eq!(check_file("crates/mvcc/benches/x.rs", text), [""; 0]);
        assert_eq!(check_file("crates/mvcc/src/x_tests.rs", text), [""; 0]);
        assert_eq!(check_file("crates/node/src/x.rs", text), [""; 0]);
    }
}
