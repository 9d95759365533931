//! The plot of `scaling`: throughput by writers, and CPU by stage.

use std::fmt::Write;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{
    figures::Spread,
    tables::{array, short},
};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 360.0;
/// The plots themselves: from the top, and how high.
const TOP: f64 = 60.0;
const TALL: f64 = 240.0;
const WIDE: f64 = 290.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 450.0;
/// Room at both ends of the axis.
const MARGIN: f64 = 40.0;
const BAR: f64 = 44.0;

/// Told apart by people who see few colours too.
const COLOURS: [&str; 8] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999", "#f0e442",
];

/// Writers, throughput, and µs a line by stage.
struct Point {
    label: String,
    rate: Spread,
    stages: Vec<(String, f64)>,
}

/// The plot as a picture that stands by itself.
pub(super) fn svg(report: &Value) -> anyhow::Result<String> {
    let points = array(report, "cases")
        .iter()
        .map(|case| point(case).with_context(|| format!("cannot plot {case}")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(!points.is_empty(), "there is nothing to plot");
    let mut svg = Svg::default();
    svg.throughput(&points);
    svg.cpu(&points);
    Ok(svg.finish())
}

fn point(case: &Value) -> Option<Point> {
    let label = case["name"].as_str()?.split(' ').next()?.to_owned();
    let stages = case["processes"].as_object()?.iter();
    let stages = stages.map(|(name, process)| {
        let micros = Spread::from_json(&process["cpu_micros_each"])?.median;
        Some((name.clone(), micros))
    });
    Some(Point {
        label,
        rate: Spread::from_json(&case["rate"])?,
        stages: stages.collect::<Option<_>>()?,
    })
}

#[derive(Default)]
struct Svg(String);

impl Svg {
    /// A line through the medians, and a stroke from the lowest to the highest.
    fn throughput(&mut self, points: &[Point]) {
        let highest = points
            .iter()
            .map(|point| point.rate.max)
            .fold(0.0, f64::max);
        let scale = Scale::up_to(highest);
        self.axes(LEFT, "lines a second, by writers", &scale, points);
        let mut path = String::new();
        for (at, Point { rate, .. }) in points.iter().enumerate() {
            let (x, y) = (across(LEFT, at, points.len()), scale.y(rate.median));
            let (low, high) = (scale.y(rate.min), scale.y(rate.max));
            self.line([x, low, x, high], "#0072b2", 2.0);
            self.put(format_args!(
                r##"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="#0072b2"/>"##
            ));
            self.text(x + 8.0, y - 8.0, "start", &short(rate.median));
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        let path = path.trim_end();
        self.put(format_args!(
            r##"<polyline points="{path}" fill="none" stroke="#0072b2" stroke-width="1.5"/>"##
        ));
    }

    /// A bar for each number of writers, of one piece for each stage.
    fn cpu(&mut self, points: &[Point]) {
        let sum = |point: &Point| point.stages.iter().map(|(_, micros)| micros).sum::<f64>();
        let scale = Scale::up_to(points.iter().map(sum).fold(0.0, f64::max));
        self.axes(RIGHT, "CPU by stage, µs a line, by writers", &scale, points);
        for (at, point) in points.iter().enumerate() {
            let x = across(RIGHT, at, points.len()) - BAR / 2.0;
            let mut below = 0.0;
            for ((_, micros), colour) in point.stages.iter().zip(COLOURS.iter().cycle()) {
                let (bottom, top) = (scale.y(below), scale.y(below + micros));
                let height = bottom - top;
                self.put(format_args!(
                    r#"<rect x="{x:.1}" y="{top:.1}" width="{BAR}" height="{height:.1}" fill="{colour}"/>"#
                ));
                below += micros;
            }
            self.text(x + BAR / 2.0, scale.y(below) - 6.0, "middle", &short(below));
        }
        self.legend(points);
    }

    fn legend(&mut self, points: &[Point]) {
        let stages = points.first().map_or(&[][..], |point| &point.stages);
        let x = RIGHT + WIDE + 8.0;
        let mut y = TOP + TALL;
        for ((name, _), colour) in stages.iter().zip(COLOURS.iter().cycle()) {
            self.put(format_args!(
                r#"<rect x="{x}" y="{:.1}" width="10" height="10" fill="{colour}"/>"#,
                y - 9.0
            ));
            self.text(x + 15.0, y, "start", name);
            y -= 18.0;
        }
    }

    fn axes(&mut self, left: f64, title: &str, scale: &Scale, points: &[Point]) {
        self.text(left, TOP - 28.0, "start", title);
        for step in scale.steps() {
            let y = scale.y(step);
            self.line([left, y, left + WIDE, y], "#dddddd", 1.0);
            self.text(left - 6.0, y + 4.0, "end", &short(step));
        }
        for (at, point) in points.iter().enumerate() {
            let x = across(left, at, points.len());
            self.text(x, TOP + TALL + 20.0, "middle", &point.label);
        }
    }

    fn line(&mut self, [x1, y1, x2, y2]: [f64; 4], colour: &str, width: f64) {
        self.put(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}" stroke-width="{width}"/>"#
        ));
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        self.put(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    fn put(&mut self, element: std::fmt::Arguments) {
        // Writing to a text does not fail.
        let _ = writeln!(self.0, "  {element}");
    }

    fn finish(self) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\" fill=\"#333333\">\n  \
             <title>Throughput and CPU by number of writers</title>\n  \
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n{}</svg>\n",
            self.0
        )
    }
}

/// The middle of the column of a point.
fn across(left: f64, at: usize, count: usize) -> f64 {
    let part = |number: usize| u32::try_from(number).map_or(0.0, f64::from);
    let gaps = part(count.saturating_sub(1)).max(1.0);
    left + MARGIN + (WIDE - 2.0 * MARGIN) * part(at) / gaps
}

/// From nothing to a round number.
struct Scale {
    step: f64,
    count: u32,
}

impl Scale {
    /// In four to eight steps of 1, 2 or 5 times a power of ten.
    fn up_to(highest: f64) -> Self {
        let power = 10_f64.powf((highest.max(1e-9) / 4.0).log10().floor());
        let steps = [5.0, 2.0, 1.0].map(|factor| factor * power);
        let step = steps.into_iter().find(|step| highest / step >= 4.0);
        let step = step.unwrap_or(power);
        let mut count = 1;
        while f64::from(count) * step < highest {
            count += 1;
        }
        Self { step, count }
    }

    fn steps(&self) -> impl Iterator<Item = f64> {
        (0..=self.count).map(|at| f64::from(at) * self.step)
    }

    fn y(&self, figure: f64) -> f64 {
        TOP + TALL * (1.0 - figure / (self.step * f64::from(self.count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::tests::example;

    #[test]
    fn scale_ends_at_or_above_the_highest() {
        for highest in [0.7, 3.0, 20.0, 85_545.0, 100_000.0, 199_000.0] {
            let scale = Scale::up_to(highest);
            let last = scale.steps().last().unwrap();
            assert!(
                last >= highest && last - scale.step < highest,
                "{highest}: {last}"
            );
            assert!(
                (4..=10).contains(&scale.count),
                "{highest}: {}",
                scale.count
            );
        }
    }

    #[test]
    fn higher_figures_stand_higher() {
        let scale = Scale::up_to(100.0);
        assert!((scale.y(0.0) - (TOP + TALL)).abs() < 1e-9);
        assert!((scale.y(100.0) - TOP).abs() < 1e-9);
    }

    #[test]
    fn plot_has_a_point_and_a_bar_for_every_case() {
        let svg = svg(&example()).unwrap();
        assert_eq!(svg.matches("<circle").count(), 2);
        assert_eq!(svg.matches("width=\"44\"").count(), 2);
        assert_eq!(svg.matches('<').count(), svg.matches('>').count());
        assert!(svg.contains(">writer</text>"), "{svg}");
    }

    #[test]
    fn result_without_cases_is_not_plotted() {
        assert!(super::svg(&serde_json::json!({ "cases": [] })).is_err());
        assert!(super::svg(&serde_json::json!({ "cases": [{ "name": "1 writer" }] })).is_err());
    }
}
