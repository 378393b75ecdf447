//! Runs golden scripts: commands, and exactly what they answer.
//!
//! A script is a sequence of blocks: comment lines (`#`), command lines, a line `---`, the output, an empty line. What
//! a command means belongs to the crate under test, and so does what lives from one command of a script to the next,
//! its session. With `BLESS=1` in the environment the expected output is rewritten; read the diff.

use std::fs;
use std::path::{Path, PathBuf};

/// Runs every script of `testscripts/` under `manifest_dir`, each in a session of its own; `run` does one command line
/// and appends what it answers. Panics with the first line of each script that differs, and if there are fewer than
/// `scripts_min` scripts: a folder that moved must not pass.
pub fn check<S>(
    manifest_dir: &str,
    scripts_min: usize,
    session: impl Fn() -> S,
    run: impl Fn(&mut S, &str, &mut String),
) {
    let directory = Path::new(manifest_dir).join("testscripts");
    let paths = scripts(&directory);
    assert!(paths.len() >= scripts_min, "{} scripts in {}, fewer than {scripts_min}", paths.len(), directory.display());
    let bless = std::env::var_os("BLESS").is_some();
    let wrong: Vec<String> = paths
        .iter()
        .filter_map(|path| {
            let expected = fs::read_to_string(path).unwrap_or_else(|e| panic!("read {}: {e}", path.display()));
            let actual = play(&expected, &mut session(), &run);
            if bless {
                fs::write(path, &actual).unwrap_or_else(|e| panic!("write {}: {e}", path.display()));
                return None;
            }
            Some(format!("{}:{}", path.display(), difference(&expected, &actual)?))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn scripts(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|e| panic!("list {}: {e}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a directory that opened is listed").path()).collect();
    paths.sort();
    paths
}

/// The script with the output that its commands have now.
fn play<S>(script: &str, session: &mut S, run: &impl Fn(&mut S, &str, &mut String)) -> String {
    let mut output = String::new();
    for block in script.trim_end().split("\n\n") {
        let commands = block.split("\n---").next().unwrap_or_default().trim_end();
        output.push_str(commands);
        output.push_str("\n---\n");
        for command in commands.lines().filter(|line| !line.starts_with('#')) {
            run(session, command, &mut output);
        }
        output.push('\n');
    }
    output.trim_end().to_owned() + "\n"
}

/// Number and text of the first line that differs.
fn difference(expected: &str, actual: &str) -> Option<String> {
    if expected == actual {
        return None;
    }
    let at = expected.lines().zip(actual.lines()).take_while(|(one, other)| one == other).count();
    let line = |text: &str| text.lines().nth(at).map_or_else(|| "nothing".to_owned(), str::to_owned);
    Some(format!("{}\n  expected {}\n  actual   {}", at + 1, line(expected), line(actual)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// A session is a sum; `N` adds to it and answers it.
    fn add(sum: &mut i64, line: &str, out: &mut String) {
        *sum += line.parse::<i64>().expect("a number");
        out.push_str(&format!("{sum}\n"));
    }

    fn check_one(script: &str, scripts_min: usize) -> Result<(), String> {
        let place = tempfile::tempdir().expect("a directory");
        let folder = place.path().join("testscripts");
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("1.txt"), script).expect("a script");
        let manifest_dir = place.path().to_str().expect("a path in UTF-8");
        catch_unwind(AssertUnwindSafe(|| check(manifest_dir, scripts_min, || 0, add)))
            .map_err(|panic| *panic.downcast::<String>().expect("a message"))
    }

    #[test]
    fn a_session_lasts_for_a_script() {
        assert_eq!(check_one("# Adds.\n1\n2\n---\n1\n3\n\n4\n---\n7\n", 1), Ok(()));
    }

    #[test]
    fn the_first_difference_is_named() {
        let wrong = check_one("1\n2\n---\n1\n4\n", 1).expect_err("it differs");
        assert!(wrong.ends_with("1.txt:5\n  expected 4\n  actual   3"), "{wrong}");
        let missing = check_one("1\n---\n", 1).expect_err("it differs");
        assert!(missing.ends_with("1.txt:3\n  expected nothing\n  actual   1"), "{missing}");
    }

    #[test]
    fn a_folder_that_lost_its_scripts_does_not_pass() {
        let wrong = check_one("1\n---\n1\n", 2).expect_err("too few");
        assert!(wrong.starts_with("1 scripts in ") && wrong.ends_with("fewer than 2"), "{wrong}");
    }
}
