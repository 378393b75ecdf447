//! The house rules that no compiler knows. Each breach is one line that says what to do.

use crate::{dead_pub, known_bugs, layers, manifests, modules, sources};
use std::fs;

/// Whether all rules are kept; breaches are printed.
pub fn run() -> bool {
    let checks: [(&str, Check); 7] = [
        ("layers", layers::check),
        ("modules", modules::check),
        ("dependencies", manifests::check),
        ("sources", sources::check),
        ("dead pub", dead_pub::check),
        ("known bugs", known_bugs::check),
        ("generated pages", generated_pages),
    ];
    let (mut passed, mut failed) = (0, 0);
    for (name, check) in checks {
        let problems = check().unwrap_or_else(|error| vec![format!("{name}: {error}")]);
        for problem in &problems {
            println!("{problem}");
        }
        if problems.is_empty() { passed += 1 } else { failed += 1 }
    }
    println!("tidy: {passed} passed, {failed} failed");
    failed == 0
}

type Check = fn() -> Result<Vec<String>, String>;

fn generated_pages() -> Result<Vec<String>, String> {
    let expected = flags_page()?;
    let page = fs::read_to_string(crate::root().join(FLAGS_PAGE)).unwrap_or_default();
    let current = page == expected;
    Ok(if current {
        vec![]
    } else {
        vec![format!("{FLAGS_PAGE}: not what the table of flags says; run `cargo xtask fix`")]
    })
}

pub const FLAGS_PAGE: &str = "docs/flags.md";

/// The reference page as the binary prints it.
pub fn flags_page() -> Result<String, String> {
    let output = crate::cargo()
        .args(["run", "--quiet", "--package", "cli", "--", "flags"])
        .current_dir(crate::root())
        .output()
        .map_err(|error| format!("run bowline flags: {error}"))?;
    if !output.status.success() {
        return Err(format!("bowline flags failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("bowline flags: {error}"))
}
