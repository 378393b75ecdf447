//! Runs `testscripts/*.txt`: commands to a few members, and what they did. Messages and writes move only when a script says
//! so, which makes every interleaving writable. `BLESS=1` rewrites the expected output; read the diff.
//!
//! A script is a sequence of blocks: comment lines, command lines, a line `---`, the output, an empty line.

use crate::cluster::Cluster;
use std::fs;
use std::path::Path;

#[test]
fn scripts() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("testscripts");
    let mut paths: Vec<_> =
        fs::read_dir(&dir).expect("list scripts").map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    assert!(paths.len() >= 6, "scripts are missing from {}", dir.display());
    let mut wrong = Vec::new();
    for path in paths {
        let expected = fs::read_to_string(&path).expect("read script");
        let actual = run(&expected);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &actual).expect("write script");
        } else if actual != expected {
            wrong.push(format!("{}:\n{}", path.display(), difference(&expected, &actual)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn run(script: &str) -> String {
    let mut cluster = Cluster::default();
    let mut output = String::new();
    for block in script.trim_end().split("\n\n") {
        let commands = block.split("\n---").next().unwrap_or_default().trim_end();
        output.push_str(commands);
        output.push_str("\n---\n");
        for command in commands.lines().filter(|line| !line.starts_with('#')) {
            cluster.run(command, &mut output);
        }
        output.push('\n');
    }
    output.trim_end().to_string() + "\n"
}

fn difference(expected: &str, actual: &str) -> String {
    let mut expected = expected.lines();
    let mut actual = actual.lines();
    for line in 1.. {
        match (expected.next(), actual.next()) {
            (None, None) => break,
            (a, b) if a != b => return format!("line {line}\n  expected {a:?}\n  actual   {b:?}"),
            _ => {}
        }
    }
    "only white space differs".to_string()
}
