//! Collects figures by work and server, and prints medians with their ratios.

use harness::Kind;
use std::collections::BTreeMap;
use std::fmt::Write;

/// One measured number of one run.
pub struct Figure {
    pub name: String,
    pub unit: &'static str,
    pub value: f64,
}

impl Figure {
    pub fn new(name: impl Into<String>, unit: &'static str, value: f64) -> Figure {
        Figure { name: name.into(), unit, value }
    }
}

#[derive(Default)]
pub struct Report {
    sections: Vec<(&'static str, Section)>,
}

#[derive(Default)]
struct Section {
    order: Vec<(String, &'static str)>,
    values: BTreeMap<(String, Kind), Vec<f64>>,
}

impl Report {
    pub fn add(&mut self, work: &'static str, kind: Kind, figure: Figure) {
        if !self.sections.iter().any(|(name, _)| *name == work) {
            self.sections.push((work, Section::default()));
        }
        let Some((_, section)) = self.sections.iter_mut().find(|(name, _)| *name == work) else { return };
        if !section.order.iter().any(|(name, _)| *name == figure.name) {
            section.order.push((figure.name.clone(), figure.unit));
        }
        section.values.entry((figure.name, kind)).or_default().push(figure.value);
    }

    /// The table of one work.
    pub fn section(&self, work: &str) -> String {
        self.sections.iter().filter(|(name, _)| *name == work).map(|(name, section)| section.table(name)).collect()
    }

    pub fn markdown(&self) -> String {
        self.sections.iter().map(|(name, section)| section.table(name)).collect()
    }
}

impl Section {
    fn table(&self, work: &str) -> String {
        let mut out = format!(
            "\n### {work}\n\n| figure | etcd | Bowline | ratio | rounds (Bowline min to max) |\n|---|---|---|---|---|\n"
        );
        for (name, unit) in &self.order {
            let values = |kind| self.values.get(&(name.clone(), kind)).cloned().unwrap_or_default();
            let (etcd, bowline) = (values(Kind::Etcd), values(Kind::Bowline));
            let (theirs, ours) = (median(&etcd), median(&bowline));
            let spread = match (bowline.iter().copied().reduce(f64::min), bowline.iter().copied().reduce(f64::max)) {
                (Some(low), Some(high)) => format!("{} ({} to {})", bowline.len(), short(low), short(high)),
                _ => "none".to_owned(),
            };
            let _ = writeln!(
                out,
                "| {name} | {} {unit} | {} {unit} | {:.2} | {spread} |",
                short(theirs),
                short(ours),
                ours / theirs
            );
        }
        out
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Middle value; the mean of the two middle ones for an even number; NaN for none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.as_slice() {
        [] => f64::NAN,
        sorted if sorted.len() % 2 == 1 => sorted[middle],
        sorted => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// The value below which `part` (0 to 1) of the samples lie.
pub fn quantile(samples: &mut [f64], part: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let last = samples.len().saturating_sub(1);
    samples.get(((last as f64) * part).round() as usize).copied().unwrap_or(f64::NAN)
}
