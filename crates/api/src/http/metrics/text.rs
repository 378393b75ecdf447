//! The Prometheus text format. Written here because no library lets a counter go without `_total` or a gauge carry it,
//! and etcd's names do both.

use std::fmt::Write;

/// The value of `Content-Type` for this format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Counter,
    Gauge,
    Histogram,
}

/// Metrics as they are collected; sorted by name when written, as Prometheus' own clients do.
#[derive(Default)]
pub(crate) struct Text {
    families: Vec<(&'static str, String)>,
}

/// One metric's samples being written.
pub(crate) struct Family<'a> {
    name: &'static str,
    out: &'a mut String,
}

type Labels<'a> = &'a [(&'a str, &'a str)];

impl Text {
    pub(crate) fn family(&mut self, name: &'static str, kind: Type, help: &str) -> Family<'_> {
        let kind = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        };
        self.families.push((name, format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")));
        let (_, out) = self.families.last_mut().expect("pushed above");
        Family { name, out }
    }

    pub(crate) fn counter(&mut self, name: &'static str, help: &str, value: u64) {
        self.family(name, Type::Counter, help).sample(&[], value as f64);
    }

    pub(crate) fn gauge(&mut self, name: &'static str, help: &str, value: f64) {
        self.family(name, Type::Gauge, help).sample(&[], value);
    }

    /// A histogram without labels, from cumulative buckets.
    pub(crate) fn histogram(&mut self, name: &'static str, help: &str, buckets: &[(f64, u64)], sum: f64) {
        self.family(name, Type::Histogram, help).buckets(&[], buckets, sum);
    }

    pub(crate) fn finish(mut self) -> String {
        self.families.sort_by_key(|(name, _)| *name);
        self.families.into_iter().map(|(_, text)| text).collect()
    }
}

impl Family<'_> {
    pub(crate) fn sample(&mut self, labels: Labels<'_>, value: f64) {
        self.line("", labels, None, value);
    }

    /// Buckets (upper bound, observations at or below it), the last bound infinite.
    pub(crate) fn buckets(&mut self, labels: Labels<'_>, buckets: &[(f64, u64)], sum: f64) {
        for &(bound, count) in buckets {
            self.line("_bucket", labels, Some(bound), count as f64);
        }
        self.line("_sum", labels, None, sum);
        self.line("_count", labels, None, buckets.last().map_or(0.0, |&(_, count)| count as f64));
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<f64>, value: f64) {
        let out = &mut *self.out;
        out.push_str(self.name);
        out.push_str(suffix);
        if !labels.is_empty() || bound.is_some() {
            out.push('{');
            for (position, (name, text)) in labels.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                push_label(out, name, text);
            }
            if let Some(bound) = bound {
                if !labels.is_empty() {
                    out.push(',');
                }
                push_label(out, "le", &number(bound));
            }
            out.push('}');
        }
        out.push(' ');
        out.push_str(&number(value));
        out.push('\n');
    }
}

fn push_label(out: &mut String, name: &str, text: &str) {
    let _ = write!(out, "{name}=\"");
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            character => out.push(character),
        }
    }
    out.push('"');
}

/// As Go's `%g` writes it: shortest digits, an exponent below 1e-4 and from a million on.
fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_string();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e6).contains(&magnitude) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_sorted_and_escaped() {
        let mut text = Text::default();
        text.gauge("b_total", "a gauge, for all its name", 1.5);
        text.family("a", Type::Counter, "labels").sample(&[("x", "1\"\\\n"), ("y", "")], 2.0);
        text.histogram("c_seconds", "buckets", &[(0.001, 1), (f64::INFINITY, 3)], 0.25);
        let expected = "# HELP a labels\n# TYPE a counter\na{x=\"1\\\"\\\\\\n\",y=\"\"} 2\n\
            # HELP b_total a gauge, for all its name\n# TYPE b_total gauge\nb_total 1.5\n\
            # HELP c_seconds buckets\n# TYPE c_seconds histogram\n\
            c_seconds_bucket{le=\"0.001\"} 1\nc_seconds_bucket{le=\"+Inf\"} 3\nc_seconds_sum 0.25\nc_seconds_count 3\n";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn numbers_look_like_gos() {
        for (value, text) in [
            (0.0, "0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (2_147_483_648.0, "2.147483648e+09"),
            (8.192, "8.192"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (1e21, "1e+21"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
