//! What a run does, on a terminal: a bar for each of the first open objects, a line for all of them, and, where the sources are
//! watched, a line for each object that was settled.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use indicatif::{ProgressBar, ProgressStyle};
use jetline_runtime::{human, terminal};
use jetline_store::{
    Catalog, ObjectState as State,
    catalog::{
        objects::{Filter, ObjectStatus},
        totals::RunTotals,
    },
};

use crate::terminal::escaped_file_name;

/// The most objects that are shown.
const MAX_BARS: u64 = 8;

/// How many characters of the name of an object are shown: a bar has 80 columns.
const NAME_CHARS: usize = 30;

/// The least time between two drawings, and as a multiple of the duration of the last one.
const MIN_INTERVAL: Duration = Duration::from_millis(250);
const MIN_REST_FACTOR: u32 = 20;

/// A rate over less time says nothing.
const MIN_RATE_TIME: Duration = Duration::from_secs(1);

/// The most objects that were settled at a time of which each is shown.
const MAX_SETTLED_SHOWN: usize = 20;

/// The progress of a run.
pub(crate) struct Progress {
    shown: HashMap<i64, ProgressBar>,
    all: Option<ProgressBar>,
    now: fn() -> DateTime<Utc>,
    /// When the first of the objects that are counted may have ended.
    began: DateTime<Utc>,
    /// The totals when they were read first.
    first: Option<(Instant, RunTotals)>,
    next: Instant,
    /// Objects that were settled up to then were shown; none where they are not.
    settled_until: Option<DateTime<Utc>>,
}

impl Progress {
    /// The progress of a run that begins now, if a terminal shows it. `watches` says that the run does not end by itself.
    pub(crate) fn on_terminal(now: fn() -> DateTime<Utc>, watches: bool) -> Option<Self> {
        let shows_settled = watches && terminal::is_terminal(&std::io::stdout());
        let shows_bars = terminal::is_terminal(&std::io::stderr());
        (shows_bars || shows_settled).then(|| Self {
            shown: HashMap::new(),
            all: None,
            now,
            began: now(),
            first: None,
            next: Instant::now(),
            settled_until: shows_settled.then(now),
        })
    }

    /// Draws the progress of the open objects; an error of the ledger is ignored.
    pub(crate) async fn draw(&mut self, catalog: &Catalog) {
        let begin = Instant::now();
        if begin < self.next {
            return;
        }
        self.print_settled(catalog).await;
        if terminal::is_terminal(&std::io::stderr()) {
            self.draw_bars(catalog).await;
        }
        self.next = Instant::now() + (begin.elapsed() * MIN_REST_FACTOR).max(MIN_INTERVAL);
    }

    async fn draw_bars(&mut self, catalog: &Catalog) {
        let mut active = Vec::new();
        for state in [State::Reading, State::Loading] {
            let filter = Filter { state: Some(state), ..Filter::default() };
            let left = MAX_BARS - active.len() as u64;
            active.extend(catalog.objects(&filter, None, left).await.unwrap_or_default());
        }
        self.shown.retain(|id, bar| {
            let is_active = active.iter().any(|object| object.id == *id);
            if !is_active {
                bar.finish_and_clear();
            }
            is_active
        });
        for object in active {
            self.bar(&object);
        }
        match catalog.run_totals(self.began).await {
            Ok(totals) if totals.settled < totals.objects => self.draw_totals(totals),
            _ => self.clear_totals(),
        }
    }

    fn bar(&mut self, object: &ObjectStatus) {
        let above = self.all.clone();
        let bar = self.shown.entry(object.id).or_insert_with(|| {
            let name = escaped_file_name(&object.uri);
            let name = human::shortened_in_the_middle(&name, NAME_CHARS);
            let bar = ProgressBar::no_length().with_prefix(name);
            if let Ok(style) = ProgressStyle::with_template("{prefix:30!} {bar:24} {msg}") {
                bar.set_style(style);
            }
            match &above {
                Some(all) => terminal::bars().insert_before(all, bar),
                None => terminal::bars().add(bar),
            }
        });
        let total = object.estimated_bytes().unwrap_or(object.bytes).max(object.committed_bytes);
        bar.set_length(total.cast_unsigned());
        bar.set_position(object.committed_bytes.cast_unsigned());
        bar.set_message(bytes_of(object.committed_bytes, total));
    }

    fn draw_totals(&mut self, totals: RunTotals) {
        let now = Instant::now();
        let (begin, first) = self.first.get_or_insert((now, totals));
        let line = totals_line(totals, *first, now - *begin);
        let all = self.all.get_or_insert_with(|| {
            let bar = ProgressBar::no_length();
            if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                bar.set_style(style);
            }
            terminal::bars().add(bar)
        });
        all.set_message(line);
    }

    fn clear_totals(&mut self) {
        if let Some(all) = self.all.take() {
            all.finish_and_clear();
            // The next objects are counted, and their rate is measured, from here on.
            self.first = None;
            self.began = (self.now)();
        }
    }

    /// Prints a line for each object that was settled since the last time.
    async fn print_settled(&mut self, catalog: &Catalog) {
        let Some(since) = self.settled_until else { return };
        let Ok(settled) = catalog.settled_since(since, MAX_SETTLED_SHOWN as u64 + 1).await else {
            return;
        };
        let Some(last) = settled.iter().filter_map(|object| object.done_at).max() else { return };
        self.settled_until = Some(last);
        let mut lines: Vec<String> =
            settled.iter().take(MAX_SETTLED_SHOWN).map(settled_line).collect();
        if settled.len() > MAX_SETTLED_SHOWN {
            lines.push("more objects ended; `status` shows them".to_owned());
        }
        terminal::bars().suspend(|| {
            // A closed terminal shows nothing.
            let _ = jetline_runtime::output::print_note(lines.join("\n"));
        });
    }

    /// Removes the bars.
    pub(crate) async fn end(mut self, catalog: &Catalog) {
        self.print_settled(catalog).await;
        self.shown.clear();
        self.clear_totals();
        // A closed terminal shows nothing.
        let _ = terminal::bars().clear();
    }
}

/// Such as `12 of 64 objects, 3.1 of 8.4 GB, 92,000 records/s, 0:57 left`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "estimates for people"
)]
fn totals_line(now: RunTotals, first: RunTotals, elapsed: Duration) -> String {
    let mut parts = vec![
        format!("{} of {} objects", human::count(now.settled), human::count(now.objects)),
        bytes_of(now.done_bytes, now.bytes),
    ];
    if elapsed >= MIN_RATE_TIME {
        let seconds = elapsed.as_secs_f64();
        // A replay sets the counts back.
        let records = (now.lines - first.lines).max(0) as f64 / seconds;
        parts.push(format!("{} records/s", human::count(records.round() as i64)));
        let done = now.done_bytes - first.done_bytes;
        if done > 0 {
            let left = (now.bytes - now.done_bytes).max(0) as f64 / (done as f64 / seconds);
            if let Ok(left) = Duration::try_from_secs_f64(left) {
                parts.push(format!("{} left", human::clock(left)));
            }
        }
    }
    parts.join(", ")
}

/// Such as `3.1 of 8.4 GB`.
fn bytes_of(some: i64, all: i64) -> String {
    let (some, all) = (human::bytes(some), human::bytes(all));
    match (some.split_once(' '), all.split_once(' ')) {
        (Some((number, unit)), Some((_, of_all))) if unit == of_all => format!("{number} of {all}"),
        _ => format!("{some} of {all}"),
    }
}

/// Such as `3  products-3.jsonl  done: 2,500 records, 2,161 inserted, 1 rejected`.
fn settled_line(object: &ObjectStatus) -> String {
    let state = match object.state {
        State::Failed => terminal::red("failed"),
        _ => "done".to_owned(),
    };
    let counts = [
        (object.inserted, "inserted"),
        (object.updated, "updated"),
        (object.deleted, "deleted"),
        (object.unchanged, "unchanged"),
        (object.superseded, "superseded"),
        (object.rejected, "rejected"),
    ];
    let (name, lines) = (escaped_file_name(&object.uri), human::count(object.lines()));
    let mut line = format!("{}  {name}  {state}: {lines} records", object.id);
    for (count, word) in counts.into_iter().filter(|(count, _)| *count > 0) {
        line += &[", ", &human::count(count), " ", word].concat();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_for_all_objects_fits_80_columns_and_has_no_rate_below_a_second() {
        let first =
            RunTotals { objects: 64, settled: 0, bytes: 8_400_000_000, done_bytes: 0, lines: 0 };
        let now = RunTotals { settled: 12, done_bytes: 3_100_000_000, lines: 3_220_000, ..first };
        let line = totals_line(now, first, Duration::from_secs(35));
        let expected = "12 of 64 objects, 3.1 of 8.4 GB, 92,000 records/s, 0:59 left";
        assert_eq!(line, expected);
        let line = totals_line(now, first, Duration::from_millis(999));
        assert_eq!(line, "12 of 64 objects, 3.1 of 8.4 GB");
        let many = RunTotals {
            objects: 100_000,
            settled: 99_999,
            bytes: 999_900_000_000,
            done_bytes: 899_900_000_000,
            lines: 999_999_999,
        };
        let line = totals_line(
            many,
            RunTotals { objects: 0, settled: 0, bytes: 0, done_bytes: 0, lines: 0 },
            Duration::from_secs(9_999),
        );
        assert!(line.len() <= 80, "{line}");
        // What was committed before the run does not count.
        let line = totals_line(now, now, Duration::from_secs(35));
        assert_eq!(line, "12 of 64 objects, 3.1 of 8.4 GB, 0 records/s");
    }
}
