//! Findings for people and for programs, and what a script learns from the exit code.

use crate::finding::{Finding, Severity};
use crate::source::{SourceInfo, SourceKind};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Of the JSON form; counted up when a field changes its meaning.
pub(crate) const SCHEMA: u32 = 1;

/// What the whole look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Clean,
    Findings,
    /// Something that decides could not be read.
    CannotTell,
    Blocking,
}

impl Outcome {
    pub fn of(findings: &[Finding]) -> Outcome {
        let worst = findings.iter().map(|finding| finding.severity).max();
        let hidden = |finding: &Finding| finding.severity == Severity::Critical && UNREADABLE.contains(&finding.id);
        match worst {
            Some(Severity::Blocking) => Outcome::Blocking,
            _ if findings.iter().any(hidden) => Outcome::CannotTell,
            Some(Severity::Warning | Severity::Critical) => Outcome::Findings,
            Some(Severity::Info) | None => Outcome::Clean,
        }
    }

    pub fn exit_code(self) -> u8 {
        match self {
            Outcome::Clean => 0,
            Outcome::Findings => 1,
            Outcome::CannotTell => 2,
            Outcome::Blocking => 3,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Outcome::Clean => "clean",
            Outcome::Findings => "findings",
            Outcome::CannotTell => "cannot-tell",
            Outcome::Blocking => "blocking",
        }
    }
}

/// Rules that mean that another rule could not look.
const UNREADABLE: &[&str] = &["no-cluster", "value-encrypted", "value-damaged"];

pub(crate) fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
        Severity::Blocking => "blocking",
    }
}

fn kind_name(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Etcd => "etcd",
        SourceKind::Bowline => "bowline",
        SourceKind::DataDirectory => "data-directory",
        SourceKind::Snapshot => "snapshot",
        SourceKind::Manifests => "manifests",
    }
}

/// For a person who is tired: the worst first, and of each what, evidence, why, and what to do. `color` for a terminal.
pub fn text(source: &SourceInfo, findings: &[Finding], color: bool) -> String {
    let mut out = format!("looked at {} {}", kind_name(source.kind), source.place);
    if let Some(version) = &source.version {
        let _ = write!(out, ", version {version}");
    }
    out.push('\n');
    for blind in &source.blind {
        let _ = writeln!(out, "  not seen: {blind}");
    }
    for finding in findings {
        let (begin, end) = if color { (code(finding.severity), "\x1b[0m") } else { ("", "") };
        let _ = writeln!(out, "\n{begin}{}{end}  {}", severity_name(finding.severity).to_uppercase(), finding.title);
        let _ = writeln!(out, "  {}", finding.what);
        for line in &finding.evidence {
            let _ = writeln!(out, "    - {line}");
        }
        let _ = writeln!(out, "  why it matters: {}", finding.why);
        out.push_str("  what to do:\n");
        for line in &finding.fix {
            let _ = writeln!(out, "    > {line}");
        }
        let _ = writeln!(out, "  more: bowline doctor --explain {}", finding.id);
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let _ = writeln!(
        out,
        "\n{} blocking, {} critical, {} warnings, {} notes: {}",
        count(Severity::Blocking),
        count(Severity::Critical),
        count(Severity::Warning),
        count(Severity::Info),
        Outcome::of(findings).as_str()
    );
    out
}

fn code(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "\x1b[36m",
        Severity::Warning => "\x1b[33m",
        Severity::Critical => "\x1b[31m",
        Severity::Blocking => "\x1b[1;31m",
    }
}

/// For programs; `docs/doctor.md` says what the fields are.
pub fn json(source: &SourceInfo, findings: &[Finding]) -> Value {
    let findings_json: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "id": finding.id,
                "severity": severity_name(finding.severity),
                "title": finding.title,
                "subject": finding.subject,
                "what": finding.what,
                "evidence": finding.evidence,
                "why": finding.why,
                "fix": finding.fix,
            })
        })
        .collect();
    json!({
        "schema": SCHEMA,
        "source": {
            "kind": kind_name(source.kind),
            "place": source.place,
            "version": source.version,
            "notSeen": source.blind,
        },
        "outcome": Outcome::of(findings).as_str(),
        "findings": findings_json,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(id: &'static str, severity: Severity) -> Finding {
        Finding {
            id,
            severity,
            title: "title".to_owned(),
            subject: None,
            what: "What.".to_owned(),
            evidence: vec!["evidence".to_owned()],
            why: "why".to_owned(),
            fix: vec!["fix".to_owned()],
        }
    }

    #[test]
    fn scripts_learn_the_worst() {
        for (findings, code) in [
            (vec![], 0),
            (vec![finding("a", Severity::Info)], 0),
            (vec![finding("a", Severity::Warning), finding("b", Severity::Info)], 1),
            (vec![finding("a", Severity::Critical)], 1),
            (vec![finding("value-encrypted", Severity::Critical)], 2),
            (vec![finding("value-encrypted", Severity::Info)], 0),
            (vec![finding("value-damaged", Severity::Critical), finding("b", Severity::Blocking)], 3),
        ] {
            assert_eq!(Outcome::of(&findings).exit_code(), code);
        }
    }

    #[test]
    fn people_read_what_evidence_why_and_what_to_do() {
        let source = SourceInfo {
            kind: SourceKind::Etcd,
            place: "127.0.0.1:2379".to_owned(),
            version: Some("3.6.0".to_owned()),
            blind: vec!["history".to_owned()],
        };
        let report = text(&source, &[finding("some-rule", Severity::Blocking)], false);
        let expected = "looked at etcd 127.0.0.1:2379, version 3.6.0\n  not seen: history\n\nBLOCKING  title\n  What.\n    - evidence\n  \
                        why it matters: why\n  what to do:\n    > fix\n  more: bowline doctor --explain some-rule\n\n\
                        1 blocking, 0 critical, 0 warnings, 0 notes: blocking\n";
        assert_eq!(report, expected);
        assert!(text(&source, &[finding("a", Severity::Warning)], true).contains("\x1b[33mWARNING\x1b[0m"));
    }
}
