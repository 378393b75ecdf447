//! A small line chart as SVG: bytes over seconds.

use std::fmt::Write;

pub struct Line {
    pub name: String,
    pub color: &'static str,
    /// Seconds and bytes.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 36.0;
const MIB: f64 = 1_048_576.0;
const TICKS: usize = 5;
/// More points than pixels show nothing more.
const POINTS_MAX: usize = 800;

pub fn svg(title: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let seconds = points().map(|point| point.0).fold(1.0, f64::max);
    let step = nice(points().map(|point| point.1).fold(MIB, f64::max) / MIB / TICKS as f64);
    let top = step * TICKS as f64;
    let x = |at: f64| LEFT + at / seconds * (WIDTH - LEFT - RIGHT);
    let y = |mib: f64| HEIGHT - BOTTOM - mib / top * (HEIGHT - TOP - BOTTOM);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n<text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>\n",
        escape(title)
    );
    for tick in 0..=TICKS {
        let (mib, at) = (step * tick as f64, seconds * tick as f64 / TICKS as f64);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{mib} MiB</text>\n\
             <text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{at:.0} s</text>",
            WIDTH - RIGHT,
            y(mib),
            y(mib),
            LEFT - 6.0,
            y(mib) + 4.0,
            x(at),
            HEIGHT - BOTTOM + 18.0
        );
    }
    for (number, line) in lines.iter().enumerate() {
        let every = line.points.len().div_ceil(POINTS_MAX).max(1);
        let points: Vec<String> = line
            .points
            .iter()
            .step_by(every)
            .map(|&(at, bytes)| format!("{:.1},{:.1}", x(at), y(bytes / MIB)))
            .collect();
        let legend = TOP + 8.0 + 20.0 * number as f64;
        let _ = writeln!(
            out,
            "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\" points=\"{}\"/>\n\
             <text x=\"{:.0}\" y=\"{legend:.0}\" fill=\"{}\">{}</text>",
            line.color,
            points.join(" "),
            WIDTH - RIGHT + 10.0,
            line.color,
            escape(&line.name)
        );
    }
    out.push_str("</svg>\n");
    out
}

/// 1, 2 or 5 times a power of ten, at least `value`.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|&step| step >= value * 0.999).unwrap_or(value)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_holds_its_lines_and_round_numbers() {
        let line = Line { name: "a<b".to_owned(), color: "#000", points: vec![(0.0, 0.0), (10.0, 90.0 * MIB)] };
        let chart = svg("title", &[line]);
        assert!(chart.contains("100 MiB") && chart.contains("a&lt;b") && chart.contains("<polyline"), "{chart}");
        assert_eq!([nice(18.0), nice(21.0), nice(0.3), nice(1.0)], [20.0, 50.0, 0.5, 1.0]);
    }
}
