//! What a sample shows to a caller.

use std::fmt::Write;

use jetline_runtime::human;
use jetline_store::catalog::{
    objects::ObjectStatus,
    totals::{DatasetTotals, MAX_COUNTED},
};
use tokio::time::Instant;

use super::{monitor::Sample, rows::ObjectRow};
use crate::auth::Caller;

/// The size of the plot, in units of its picture.
const PLOT: (f64, f64) = (300.0, 60.0);

/// The time that the plot shows, in seconds.
const PLOT_SECONDS: f64 = 300.0;

/// The time over which the rate of now is measured, in seconds.
const RATE_SECONDS: f64 = 10.0;

/// What is shown of a figure that is not known.
const UNKNOWN: &str = "–";

/// Sums over the datasets that the caller may read.
pub(super) struct Totals {
    pub(super) notice: Option<&'static str>,
    pub(super) open: String,
    pub(super) open_bytes: String,
    pub(super) done: String,
    pub(super) failed: String,
    pub(super) has_failed: bool,
    pub(super) rate: String,
    /// Due and dead ones, where there are destinations.
    pub(super) deliveries: Option<(String, String)>,
    pub(super) datasets: Vec<DatasetRow>,
}

/// The lines of a dataset.
pub(super) struct DatasetRow {
    pub(super) name: String,
    pub(super) lines: String,
    pub(super) counts: [String; 6],
}

/// Records per second over the last minutes.
pub(super) struct Plot {
    /// The points of the line.
    pub(super) points: String,
    pub(super) label: String,
}

impl Totals {
    pub(super) fn of(sample: &Sample, caller: &Caller) -> Self {
        let totals = || sample.totals.iter().filter(|one| caller.may_read(&one.dataset));
        let known = |text: String| if sample.is_known() { text } else { UNKNOWN.to_owned() };
        let sum = |of: fn(&DatasetTotals) -> i64| known(human::count(totals().map(of).sum()));
        let mut deliveries =
            sample.deliveries.iter().filter(|one| caller.may_read(&one.dataset)).peekable();
        let deliveries = deliveries
            .peek()
            .is_some()
            .then(|| deliveries.fold((0, 0), |(due, dead), one| (due + one.due, dead + one.dead)));
        let rates = rates(sample, caller);
        Self {
            notice: notice(sample),
            open: sum(|one| one.open),
            open_bytes: known(human::bytes(totals().map(|one| one.open_bytes).sum())),
            done: sum(|one| one.done),
            failed: sum(|one| one.failed),
            has_failed: totals().any(|one| one.failed > 0),
            rate: rates.last().map_or(UNKNOWN.to_owned(), |_| rate(recent(&rates))),
            deliveries: deliveries.map(|(due, dead)| (counted(due), counted(dead))),
            datasets: totals().map(DatasetRow::of).collect(),
        }
    }
}

fn notice(sample: &Sample) -> Option<&'static str> {
    match (sample.is_known(), sample.is_stale) {
        (true, false) => None,
        (true, true) => Some("The ledger could not be read. These are the last known figures."),
        (false, _) => {
            Some("The ledger was not read yet, or could not be: the log of the service says why.")
        }
    }
}

impl DatasetRow {
    fn of(totals: &DatasetTotals) -> Self {
        let DatasetTotals { inserted, updated, deleted, unchanged, superseded, rejected, .. } =
            *totals;
        Self {
            name: totals.dataset.clone(),
            lines: human::count(totals.lines()),
            counts: [inserted, updated, deleted, unchanged, superseded, rejected].map(human::count),
        }
    }
}

impl Plot {
    pub(super) fn of(sample: &Sample, caller: &Caller) -> Self {
        let rates = rates(sample, caller);
        let highest = rates.iter().map(|point| point.rate).fold(0.0, f64::max);
        let mut points = String::new();
        for point in &rates {
            let x = (1.0 - point.age / PLOT_SECONDS) * PLOT.0;
            let y = PLOT.1 - 2.0 - point.rate / highest.max(1.0) * (PLOT.1 - 4.0);
            // Writing to a string does not fail.
            let _ = write!(points, "{x:.1},{y:.1} ");
        }
        let now = rate(recent(&rates));
        let label =
            format!("The last 5 minutes: {now} records per second now, {} at most", rate(highest));
        Self { points: points.trim_end().to_owned(), label }
    }
}

impl Sample {
    /// The rows of those objects that the caller may read.
    pub(super) fn rows(&self, objects: &[ObjectStatus], caller: &Caller) -> Vec<ObjectRow> {
        let seen = objects.iter().filter(|object| caller.may_read(&object.dataset));
        seen.map(|object| ObjectRow::new(object, self.rates.get(&object.id).copied())).collect()
    }
}

struct Point {
    /// In seconds.
    age: f64,
    /// In records per second, since the point before.
    rate: f64,
    records: i64,
    seconds: f64,
}

/// The rates between samples.
#[expect(clippy::cast_precision_loss, reason = "a plot")]
fn rates(sample: &Sample, caller: &Caller) -> Vec<Point> {
    let lines = sample.history.iter().map(|(at, lines)| {
        let seen = lines.iter().filter(|(dataset, _)| caller.may_read(dataset));
        (*at, seen.map(|(_, lines)| lines).sum::<i64>())
    });
    let lines: Vec<(Instant, i64)> = lines.collect();
    let now = lines.last().map(|(at, _)| *at);
    let between = lines.windows(2).map(|pair| {
        let seconds = (pair[1].0 - pair[0].0).as_secs_f64().max(0.001);
        // A replay sets the counts back.
        let records = (pair[1].1 - pair[0].1).max(0);
        let age = now.map_or(0.0, |now| (now - pair[1].0).as_secs_f64());
        Point { age, rate: records as f64 / seconds, records, seconds }
    });
    between.collect()
}

/// Records per second in the last seconds.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn recent(points: &[Point]) -> f64 {
    let last = || points.iter().filter(|point| point.age < RATE_SECONDS);
    let seconds: f64 = last().map(|point| point.seconds).sum();
    last().map(|point| point.records).sum::<i64>() as f64 / seconds.max(0.001)
}

#[expect(clippy::cast_possible_truncation, reason = "a rate for people")]
fn rate(rate: f64) -> String {
    human::count(rate.round() as i64)
}

/// A count that ends at [`MAX_COUNTED`].
pub(super) fn counted(count: i64) -> String {
    if count >= MAX_COUNTED { format!("{}+", human::count(count)) } else { human::count(count) }
}
