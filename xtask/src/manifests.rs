//! No dependency stands in a manifest without a user: each of the workspace is one of a member's, and each of a
//! member's is named in its sources.
//!
//! A text search, not a compiler: what counts is that a path begins with the crate's name.

use crate::sources;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

/// Dependencies that no source names, as package and dependency.
const UNNAMED: &[(&str, &str)] = &[
    // Code that the build script generates names them.
    ("proto", "bytes"),
    ("proto", "prost"),
    ("proto", "tonic"),
    ("proto", "tonic-prost"),
];

/// The members of the workspace, as `cargo metadata` shows them.
pub fn packages() -> Result<Vec<Value>, String> {
    let output = crate::cargo()
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(crate::root())
        .output()
        .map_err(|error| format!("run cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    Ok(array(&metadata, "packages").to_vec())
}

pub fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

pub fn check() -> Result<Vec<String>, String> {
    let manifest = read("Cargo.toml")?;
    let packages = packages()?;
    let mut files = Vec::new();
    for path in sources::rust_files()? {
        let text = read(&path)?;
        files.push((path, text));
    }
    let mut problems = Vec::new();
    let mut used = BTreeSet::new();
    let mut unnamed = Vec::new();
    for package in &packages {
        let name = package["name"].as_str().unwrap_or_default();
        let folder = folder_of(package);
        for dependency in array(package, "dependencies") {
            let on = dependency["rename"].as_str().or(dependency["name"].as_str()).unwrap_or_default();
            used.insert(on.to_owned());
            let kind = dependency["kind"].as_str().unwrap_or_default();
            let texts = files.iter().filter(|(path, _)| is_for(kind, path.strip_prefix(&folder)));
            if !texts.into_iter().any(|(_, text)| names(text, on)) {
                unnamed.push((name, on.to_owned()));
            }
        }
    }
    for (package, on) in &unnamed {
        if !UNNAMED.contains(&(package, on.as_str())) {
            problems.push(format!("{package}: depends on {on}, and no source names it: take it out of Cargo.toml"));
        }
    }
    for (package, on) in UNNAMED {
        if !unnamed.iter().any(|(name, unnamed)| name == package && unnamed == on) {
            problems.push(format!("{package}: {on} is listed as unnamed and is not; take it off the list in xtask"));
        }
    }
    let unused = workspace_dependencies(&manifest).into_iter().filter(|name| !used.contains(*name));
    problems.extend(unused.map(|name| format!("Cargo.toml: no member depends on {name}: take it out")));
    Ok(problems)
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(crate::root().join(path)).map_err(|error| format!("read {path}: {error}"))
}

/// Folder of a package below the root, with a slash behind.
fn folder_of(package: &Value) -> String {
    let manifest = package["manifest_path"].as_str().unwrap_or_default();
    let root = format!("{}/", crate::root().display());
    manifest.strip_prefix(&root).unwrap_or(manifest).trim_end_matches("Cargo.toml").to_owned()
}

/// Whether a dependency of this kind may be named in the file, by its path below the package.
fn is_for(kind: &str, file: Option<&str>) -> bool {
    let Some(file) = file else { return false };
    match kind {
        "build" => file == "build.rs",
        // Tests stand in sources too.
        "dev" => file != "build.rs",
        _ => file.starts_with("src/"),
    }
}

/// Names in the table of the workspace's dependencies.
fn workspace_dependencies(manifest: &str) -> Vec<&str> {
    let lines = manifest.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    let table = lines.take_while(|line| !line.starts_with('['));
    table.filter_map(|line| Some(line.split_once('=')?.0.trim())).filter(|name| !name.starts_with('#')).collect()
}

/// Whether a path in the text begins with the crate's name.
fn names(text: &str, package: &str) -> bool {
    let name = package.replace('-', "_");
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.into_iter().any(|line| line.match_indices(name.as_str()).any(|(at, _)| is_name(line, at, &name)))
}

fn is_name(line: &str, at: usize, name: &str) -> bool {
    let (before, after) = (&line[..at], &line[at + name.len()..]);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    // `::http::Method` is the crate's, `crate::http::Method` is not.
    let outside = before.strip_suffix("::").unwrap_or(before);
    if outside.ends_with(is_word) || outside.ends_with('$') {
        return false;
    }
    after.starts_with("::") || (before.trim_end().ends_with("use") && !after.starts_with(is_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_is_named_where_a_path_begins_with_it() {
        for line in ["use http::Method;", "use ::http::Method;", "let x: http::Uri;", "pub use http;", "    http::f()"]
        {
            assert!(names(line, "http"), "{line}");
        }
        for line in [
            "use crate::http::Head;",
            "// http::Method",
            "let http = 1;",
            "use http_body::Body;",
            "xhttp::f()",
            "$http::f()",
        ] {
            assert!(!names(line, "http"), "{line}");
        }
        assert!(names("use tokio_rustls::TlsAcceptor;", "tokio-rustls"));
    }

    #[test]
    fn dependencies_are_looked_for_where_they_are_for() {
        for (kind, file, expected) in [
            ("", "src/a.rs", true),
            ("", "tests/a.rs", false),
            ("dev", "tests/a.rs", true),
            ("dev", "src/a.rs", true),
            ("build", "build.rs", true),
            ("build", "src/a.rs", false),
        ] {
            assert_eq!(is_for(kind, Some(file)), expected, "{kind} {file}");
        }
        assert!(!is_for("", None));
    }

    #[test]
    fn the_workspaces_table_is_read() {
        let manifest = "[workspace]\nresolver = \"3\"\n\n[workspace.dependencies]\n# ours\na = \"1\"\nb-c = { path = \"x\" }\n\n[profile.dev]\nd = 1\n";
        assert_eq!(workspace_dependencies(manifest), ["a", "b-c"]);
    }
}
