//! Which metrics there are, and which ones a text asks for.

use std::collections::{BTreeMap, BTreeSet};

/// The metrics that the services export, and the series that Prometheus records from them.
pub(super) struct Metrics {
    exported: BTreeMap<String, Kind>,
    recorded: BTreeSet<String>,
    /// The rules that record them.
    recording: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Exported as buckets, a sum and a count, and never under its own name.
    Histogram,
}

impl Metrics {
    /// From the file that names all metrics, and the recording rules.
    pub(super) fn parse(source: &str, recording: &str) -> Self {
        let histograms: BTreeSet<&str> = source
            .split("describe_histogram!(")
            .skip(1)
            .filter_map(|rest| rest.trim_start().split(',').next())
            .collect();
        let exported = constants(source)
            .map(|(constant, name)| {
                let kind = if histograms.contains(constant) {
                    Kind::Histogram
                } else {
                    Kind::Plain
                };
                (name.to_owned(), kind)
            })
            .collect();
        let recorded = recording
            .lines()
            .filter_map(|line| line.trim().strip_prefix("- record: "))
            .map(str::to_owned)
            .collect();
        Self {
            exported,
            recorded,
            recording: recording.to_owned(),
        }
    }

    pub(super) fn complaints(&self) -> Vec<String> {
        if self.exported.is_empty() {
            return vec!["no metrics were found in shared/runtime/src/metrics.rs".to_owned()];
        }
        self.unknown("recording.yml", &self.recording)
    }

    /// Series that the text asks for and nobody has.
    pub(super) fn unknown(&self, file: &str, text: &str) -> Vec<String> {
        names(text)
            .filter(|name| !self.recorded.contains(*name) && self.exported(name).is_none())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(|name| format!("{file}: there is no metric {name}"))
            .collect()
    }

    /// Metrics that no dashboard shows, be it through a recorded series.
    pub(super) fn not_shown<'a>(
        &self,
        expressions: impl Iterator<Item = &'a String>,
    ) -> Vec<String> {
        let mut shown = BTreeSet::new();
        for expression in expressions {
            for name in names(expression) {
                let source = if self.recorded.contains(name) {
                    rule(&self.recording, name)
                } else {
                    name
                };
                shown.extend(names(source).filter_map(|name| self.exported(name)));
            }
        }
        self.exported
            .keys()
            .filter(|name| !shown.contains(name.as_str()))
            .map(|name| format!("no dashboard shows {name}"))
            .collect()
    }

    /// The metric that a series belongs to.
    fn exported(&self, series: &str) -> Option<&str> {
        if let Some((name, Kind::Plain)) = self.exported.get_key_value(series) {
            return Some(name);
        }
        ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| series.strip_suffix(suffix))
            .filter_map(|name| self.exported.get_key_value(name))
            .find(|(_, kind)| **kind == Kind::Histogram)
            .map(|(name, _)| name.as_str())
    }
}

/// `pub const NAME: &str = "value";`, on one line or two.
fn constants(source: &str) -> impl Iterator<Item = (&str, &str)> {
    source.split("pub const ").skip(1).filter_map(|rest| {
        let (constant, rest) = rest.split_once(": &str =")?;
        let value = rest.trim_start().strip_prefix('"')?.split('"').next()?;
        Some((constant, value))
    })
}

/// Names of series in a text: `jetline_…` and `jetline:…`.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .map(|word| word.trim_end_matches(':'))
        .filter(|word| word.starts_with("jetline_") || word.starts_with("jetline:"))
}

/// What a recorded series is made of.
fn rule<'a>(recording: &'a str, name: &str) -> &'a str {
    recording
        .split("- record: ")
        .find_map(|rule| rule.strip_prefix(name)?.strip_prefix('\n'))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
        /// Lines.
        pub const LINES: &str = "jetline_lines_total";
        pub const SECONDS: &str =
            "jetline_seconds";
        pub const QUEUE: &str = "jetline_queue";
        const OTHER: [f64; 1] = [1.0];
        fn describe() {
            describe_counter!(LINES, "lines");
            describe_histogram!(
                SECONDS,
                "seconds"
            );
        }
    "#;
    const RECORDING: &str = "
      - record: jetline:queue:max
        expr: max(jetline_queue)
      - record: jetline:lines:rate5m
        expr: sum(rate(jetline_lines_total[5m]))
    ";

    fn metrics() -> Metrics {
        Metrics::parse(SOURCE, RECORDING)
    }

    #[test]
    fn known_series_are_no_complaint() {
        let text =
            "rate(jetline_lines_total{a=\"b\"}[5m]) / jetline_seconds_bucket + jetline:queue:max
            jetline-api jetline_queue: see jetline_seconds_count";
        assert_eq!(metrics().unknown("file", text), Vec::<String>::new());
        assert_eq!(metrics().complaints(), Vec::<String>::new());
    }

    #[test]
    fn other_names_suffixes_and_records_are_unknown() {
        let text = "jetline_line_total jetline_queue_sum jetline_seconds jetline:queue:min";
        assert_eq!(
            metrics().unknown("file", text),
            [
                "file: there is no metric jetline:queue:min",
                "file: there is no metric jetline_line_total",
                "file: there is no metric jetline_queue_sum",
                "file: there is no metric jetline_seconds",
            ]
        );
    }

    #[test]
    fn metric_is_shown_directly_or_through_its_record() {
        let expressions = ["jetline:queue:max", "jetline_seconds_sum"].map(str::to_owned);
        assert_eq!(
            metrics().not_shown(expressions.iter()),
            ["no dashboard shows jetline_lines_total"]
        );
    }

    #[test]
    fn source_without_metrics_is_a_complaint() {
        assert_eq!(Metrics::parse("", "").complaints().len(), 1);
    }
}
