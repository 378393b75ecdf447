//! What a rule found: what, evidence, why it matters and what to do, in the order in which a tired person needs it.

/// How bad it is. The order is that of a report, from the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing to do.
    Info,
    /// Will hurt, or hurts a little.
    Warning,
    /// Hurts now.
    Critical,
    /// The control plane does not boot or heal, or writes are refused.
    Blocking,
}

/// One thing that a rule found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Names the rule for ever: `webhook-blocks-boot`. What `--explain` takes.
    pub id: &'static str,
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// What it is about, if that is one thing: a webhook, a resource, a member.
    pub subject: Option<String>,
    pub what: String,
    /// Keys with their revisions, numbers, rules that matched; each one line.
    pub evidence: Vec<String>,
    pub why: String,
    /// Steps in their order; a line that is a command works when pasted.
    pub fix: Vec<String>,
}
