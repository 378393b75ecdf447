//! `docs/known-bugs.md` against the tests it names: each is there, and each test that carries a row's number is named.
//!
//! A text search, not a compiler: what counts is that `fn NAME(`, `func NAME(` or `def NAME(` stands in the named file.

use crate::sources;
use std::fs;

pub const PAGE: &str = "docs/known-bugs.md";
/// What stands in place of a test.
const WITHOUT_TEST: [&str; 2] = ["several members", "later: "];

/// A row of the page.
#[derive(Debug, PartialEq, Eq)]
struct Row<'a> {
    number: u32,
    /// File and function of each test.
    tests: Vec<(&'a str, &'a str)>,
    has_reason: bool,
}

pub fn check() -> Result<Vec<String>, String> {
    let page = read(PAGE)?;
    let rows = rows(&page);
    let mut problems = problems(&rows, |file| read(file).ok());
    for path in sources::rust_files()? {
        problems.extend(unnamed(&path, &read(&path)?, &rows));
    }
    Ok(problems)
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(crate::root().join(path)).map_err(|error| format!("read {path}: {error}"))
}

fn rows(page: &str) -> Vec<Row<'_>> {
    page.lines().filter_map(row).collect()
}

/// `| R12 | what must not happen | tests |`
fn row(line: &str) -> Option<Row<'_>> {
    let mut cells = line.strip_prefix("| R")?.trim_end_matches([' ', '|']).split(" | ");
    let number = cells.next()?.parse().ok()?;
    let tests = cells.nth(1)?;
    let quoted = tests.split('`').skip(1).step_by(2);
    let has_reason = WITHOUT_TEST.iter().any(|reason| tests.contains(reason));
    Some(Row { number, tests: quoted.filter_map(|test| test.split_once("::")).collect(), has_reason })
}

fn problems(rows: &[Row<'_>], file: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut problems = Vec::new();
    if rows.is_empty() {
        problems.push(format!("{PAGE}: no rows"));
    }
    for pair in rows.windows(2) {
        if let [one, next] = pair
            && next.number <= one.number
        {
            problems.push(format!("{PAGE}: R{:02} stands behind R{:02}", next.number, one.number));
        }
    }
    for Row { number, tests, has_reason } in rows {
        if tests.is_empty() && !has_reason {
            problems.push(format!("{PAGE}: R{number:02} names no test, nor why there is none"));
        }
        for (path, name) in tests {
            if !file(path).is_some_and(|text| has_test(&text, name)) {
                problems.push(format!("{PAGE}: R{number:02}: there is no test {name} in {path}"));
            }
        }
    }
    problems
}

fn has_test(text: &str, name: &str) -> bool {
    ["fn ", "func ", "def "].iter().any(|word| text.contains(&format!("{word}{name}(")))
}

/// Tests of a file whose names begin with numbers of rows that do not name them.
fn unnamed(path: &str, text: &str, rows: &[Row<'_>]) -> Vec<String> {
    let names = text.lines().filter_map(|line| {
        let name = line.trim_start().trim_start_matches("async ").strip_prefix("fn ")?;
        name.split_once('(').map(|(name, _)| name)
    });
    let is_named = |name: &str| rows.iter().any(|row| row.tests.contains(&(path, name)));
    let unnamed = names.filter(|name| is_numbered(name) && !is_named(name));
    unnamed.map(|name| format!("{path}: {name} has a row's number; name it in {PAGE}")).collect()
}

/// `r41_no_event_comes_twice` is, `r2_d2` is not.
fn is_numbered(name: &str) -> bool {
    let number = name.strip_prefix('r').and_then(|rest| rest.split_once('_')).map(|(number, _)| number);
    number.is_some_and(|number| number.len() >= 2 && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
| row | must not happen | test |
|---|---|---|
| R02 | No sync. | `a/b.rs::r02_synced`, `a/c.go::TestSync` |
| R03 | Steps back. | several members |
| R10 | Leaks. | later: users |
";

    #[test]
    fn rows_are_read() {
        let rows = rows(PAGE);
        let read: Vec<_> = rows.iter().map(|row| (row.number, row.tests.len(), row.has_reason)).collect();
        assert_eq!(read, [(2, 2, false), (3, 0, true), (10, 0, true)]);
        assert_eq!(rows[0].tests[1], ("a/c.go", "TestSync"));
        let file = |path: &str| Some(if path == "a/b.rs" { "fn r02_synced() {" } else { "func TestSync(t" }.to_owned());
        assert_eq!(problems(&rows, file), [""; 0]);
    }

    #[test]
    fn what_is_missing_is_told() {
        assert_eq!(problems(&rows(PAGE), |_| None).len(), 2, "both files");
        assert_eq!(problems(&rows(PAGE), |_| Some("fn r02_synced_too() {".to_owned())).len(), 2, "both tests");
        assert_eq!(problems(&rows("| R05 | Leaks. | soon |\n"), |_| None).len(), 1, "no reason");
        assert_eq!(problems(&rows("| R05 | A. | later: b |\n| R05 | A. | later: b |\n"), |_| None).len(), 1, "twice");
        assert_eq!(problems(&[], |_| None).len(), 1, "an empty page");
    }

    #[test]
    fn tests_that_no_row_names_are_found() {
        let text = "    async fn r02_r03_synced() {\nfn r02_synced() {\nfn r2_d2() {\nfn run_02() {\n";
        assert_eq!(unnamed("a/b.rs", text, &rows(PAGE)).len(), 1);
        assert_eq!(unnamed("a/other.rs", text, &rows(PAGE)).len(), 2);
    }
}
