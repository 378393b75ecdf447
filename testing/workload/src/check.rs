//! Expectations that are printed one by one and counted, so that a run ends with how many held.

#[derive(Debug, Default)]
pub struct Checks {
    passed: usize,
    failed: usize,
}

impl Checks {
    /// Prints whether `holds`, with what was seen.
    pub fn that(&mut self, holds: bool, what: &str, seen: impl std::fmt::Display) {
        println!("  {} {what}: {seen}", if holds { "ok    " } else { "FAILED" });
        if holds { self.passed += 1 } else { self.failed += 1 }
    }

    /// Prints the sum; whether all held.
    pub fn end(&self, name: &str) -> bool {
        println!("{name}: {} passed, {} failed", self.passed, self.failed);
        self.failed == 0
    }
}
