//! The width of comments: the same as that of code, which rustfmt keeps.
//!
//! `check` finds lines that are too wide, `reflowed` fills the paragraphs that have one anew. A paragraph is a run of
//! `//`, `///` or `//!` lines that says one thing: a blank line ends it, and so do an item of a list, a heading and
//! what must stay as it is drawn (code between fences, tables, drawings). Comments behind code are not moved.

use crate::code::Code;
use crate::sources::{self, Source};
use std::fs;

/// What a line begins with that says what the paragraph behind it is about.
const LABELS: &[&str] = &[
    "Cases:",
    "Deliberately not here",
    "Fails",
    "Invariant:",
    "Invariants",
    "Not here:",
    "Not modelled:",
    "SAFETY: ",
    "Source:",
    "hash order: ",
];

/// As `max_width` in `rustfmt.toml`.
const WIDTH: usize = 120;

/// Lines whose comment is too wide. A word that is longer than a line is nobody's fault.
pub fn check(path: &str, text: &str, parts: &Code) -> Vec<String> {
    let mut problems = Vec::new();
    for (at, (line, column)) in text.lines().zip(&parts.comments).enumerate() {
        let width = line.chars().count();
        let Some(column) = *column else { continue };
        let words = line.chars().skip(column).collect::<String>().split_whitespace().count();
        if width > WIDTH && words > 2 {
            problems.push(format!(
                "{path}:{}: a comment is {width} columns wide, {WIDTH} are all; `cargo xtask fix`",
                at + 1
            ));
        }
    }
    problems
}

/// Rewrites every file that has a paragraph to fill.
pub fn fix() -> Result<(), String> {
    for Source { path, text, parts } in sources::read_all()? {
        let filled = reflowed(&text, &parts);
        if filled != text {
            fs::write(crate::root().join(&path), filled).map_err(|error| format!("write {path}: {error}"))?;
        }
    }
    Ok(())
}

/// The text with the paragraphs that are too wide filled anew.
fn reflowed(text: &str, parts: &Code) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut out: Vec<String> = Vec::with_capacity(lines.len());
    let mut at = 0;
    while at < lines.len() {
        let Some(margin) = margin(lines[at], parts.comments[at]) else {
            out.push(lines[at].to_owned());
            at += 1;
            continue;
        };
        let same = |(line, column): (&&str, &Option<usize>)| self::margin(line, *column) == Some(margin);
        let count = lines[at..].iter().zip(&parts.comments[at..]).take_while(|pair| same(*pair)).count();
        reflow_block(margin, &lines[at..at + count], &mut out);
        at += count;
    }
    let end = if text.ends_with('\n') { "\n" } else { "" };
    out.join("\n") + end
}

/// What stands before the text of a line that is nothing but a comment: its indent and its slashes.
fn margin(line: &str, comment: Option<usize>) -> Option<&str> {
    let indent = line.len() - line.trim_start().len();
    let comment = comment.filter(|column| *column == indent).map(|_| &line[indent..])?;
    let slashes = ["//!", "///", "//"].into_iter().find(|slashes| comment.starts_with(slashes))?;
    Some(&line[..indent + slashes.len()])
}

/// What a line of a comment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Stays as it is.
    Fixed,
    /// Begins a paragraph, whose other lines are indented by so much.
    Begins(usize),
    /// Text with this indent: goes on with the paragraph above it.
    Text(usize),
}

fn reflow_block(margin: &str, lines: &[&str], out: &mut Vec<String>) {
    let mut fenced = false;
    let mut paragraph: Vec<&str> = Vec::new();
    let mut hang = 0;
    for line in lines {
        let body = &line[margin.len()..];
        let fence = body.trim_start().starts_with("```");
        let kind = if fenced || fence { Kind::Fixed } else { kind(body) };
        fenced ^= fence;
        match kind {
            Kind::Text(indent) if !paragraph.is_empty() && (indent == hang || paragraph.len() == 1) => {
                // An item's own lines may be indented less than its text: as they are, so they stay.
                hang = indent;
                paragraph.push(line);
                continue;
            }
            _ => fill(margin, hang, &std::mem::take(&mut paragraph), out),
        }
        match kind {
            Kind::Fixed => out.push((*line).to_owned()),
            Kind::Begins(indent) | Kind::Text(indent) => {
                hang = indent;
                paragraph.push(line);
            }
        }
    }
    fill(margin, hang, &paragraph, out);
}

fn kind(body: &str) -> Kind {
    let text = body.trim_start();
    let indent = body.len() - text.len();
    let is_drawn = text.contains("  ") || text.chars().any(|c| matches!(c, '\u{2500}'..='\u{25ff}'));
    if text.is_empty() || text.starts_with(['|', '#']) || is_drawn || indent > 6 {
        return Kind::Fixed;
    }
    let (first, _) = text.split_once(' ').unwrap_or((text, ""));
    if is_mark(first) {
        return Kind::Begins(indent + first.len() + 1);
    }
    if LABELS.iter().any(|label| text.starts_with(label)) { Kind::Begins(indent) } else { Kind::Text(indent) }
}

/// What makes a line an item of a list, or a quote.
fn is_mark(word: &str) -> bool {
    let number = word.strip_suffix(['.', ')']);
    matches!(word, "-" | "*" | "+" | ">") || number.is_some_and(|number| number.parse::<u8>().is_ok())
}

/// Writes a paragraph, the first line's indent as it is, the others' `hang`.
fn fill(margin: &str, hang: usize, lines: &[&str], out: &mut Vec<String>) {
    if lines.iter().all(|line| line.chars().count() <= WIDTH) {
        out.extend(lines.iter().map(|line| (*line).to_owned()));
        return;
    }
    let bodies = lines.iter().map(|line| &line[margin.len()..]);
    let first = bodies.clone().next().unwrap_or_default();
    // A mark at the front of a line would begin an item, so it stays with the word before it.
    let mut pieces: Vec<String> = Vec::new();
    for word in bodies.flat_map(str::split_whitespace) {
        match pieces.last_mut().filter(|_| is_mark(word) || word.starts_with(['#', '|'])) {
            Some(piece) => *piece += &format!(" {word}"),
            None => pieces.push(word.to_owned()),
        }
    }
    let mut line = format!("{margin}{}", &first[..first.len() - first.trim_start().len()]);
    let mut is_empty = true;
    for piece in pieces {
        if !is_empty && line.chars().count() + 1 + piece.chars().count() > WIDTH {
            out.push(std::mem::replace(&mut line, format!("{margin}{}", " ".repeat(hang))));
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(&piece);
        is_empty = false;
    }
    out.push(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reflow(text: &str) -> String {
        reflowed(text, &Code::of(text))
    }

    fn wide(count: usize) -> String {
        vec!["word"; count].join(" ")
    }

    #[test]
    fn a_paragraph_is_filled_and_nothing_else() {
        let text = format!("//! One {}.\n//! Two.\n//!\n//! Three.\n    /// {}\n    fn f() {{}}\n", wide(23), wide(24));
        let expected = format!(
            "//! One {}\n//! word. Two.\n//!\n//! Three.\n    /// {}\n    /// word word\n    fn f() {{}}\n",
            wide(22),
            wide(22),
        );
        assert_eq!(reflow(&text), expected);
        assert_eq!(reflow(&expected), expected, "once is enough");
        assert_eq!(check("x.rs", &text, &Code::of(&text)).len(), 2);
        assert_eq!(check("x.rs", &expected, &Code::of(&expected)), [""; 0]);
    }

    #[test]
    fn items_hang() {
        let text = format!("// - {}\n//   two\n// - three\n// 1. {}\n", wide(24), wide(24));
        let expected = format!("// - {}\n//   word two\n// - three\n// 1. {}\n//    word\n", wide(23), wide(23));
        assert_eq!(reflow(&text), expected);
        for mark in ["-", "22."] {
            let marked = format!("// {} last {mark}\n// x\n", wide(23));
            assert_eq!(reflow(&marked), format!("// {}\n// last {mark} x\n", wide(23)), "no item comes to be");
        }
    }

    #[test]
    fn what_is_drawn_stays() {
        let wide = wide(30);
        for text in [
            format!("/// ```text\n/// {wide}\n/// ```\n"),
            format!("// | {wide} |\n"),
            format!("// # {wide}\n"),
            format!("// {wide} ──▶ {wide}\n"),
            format!("// a   {wide}\n"),
            format!("let a = \"\n// {wide}\n\";\n"),
            format!("let a = 1; // {wide}\n"),
            format!("// https://{}\n", "x".repeat(WIDTH)),
        ] {
            assert_eq!(reflow(&text), text);
        }
    }
}
