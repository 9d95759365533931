//! The summary as text. Keys and messages, which others wrote, are escaped.

use std::{fmt, time::Duration};

use jetline_runtime::human;
use jetline_source::Skipped;
use jetline_store::{ObjectState as State, catalog::objects::ObjectStatus};

use super::{
    Report,
    table::{MAX_ERROR_CHARS, Table},
};
use crate::terminal::{Escaped, escaped_file_name, shortened};

/// The most objects that are shown; of more, only those that failed, are open, or have rejected lines.
const MAX_SHOWN: usize = 20;

/// What to do about failed objects.
pub(super) const ADVICE: &str = "Correct a failed object in the source: it is read as a new version. If the cause was \
    another one and is removed, `--source SOURCE replay --object NUMBER` reads it again; `dismiss NUMBER` accepts the loss. \
    Until then the exit status is 1.";

fn count(objects: usize) -> String {
    human::count(i64::try_from(objects).unwrap_or(i64::MAX))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_missing_and_skipped(f)?;
        if !self.objects.is_empty() {
            self.table(f)?;
        } else if !self.is_listed {
            f.write_str("The sources were not listed, and nothing was read.")?;
        } else if self.listed == 0 {
            f.write_str("Nothing to do: the sources hold no objects.")?;
        } else {
            let listed = self.listed;
            write!(f, "Nothing new: all {} objects are known and were not read.", count(listed))?;
        }
        self.failures(f)
    }
}

impl Report {
    /// Locations that match nothing, and skipped entries.
    fn write_missing_and_skipped(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for location in &self.missing {
            writeln!(f, "No object matches {} (SOURCE).", Escaped(location))?;
        }
        write_skipped(&self.skipped, f)
    }

    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::default();
        table.add(&self.objects);
        writeln!(f, "{}", table.heading())?;
        let shows_all = self.objects.len() <= MAX_SHOWN;
        let is_shown = |object: &&ObjectStatus| {
            shows_all || object.state != State::Done || object.rejected > 0
        };
        for object in self.objects.iter().filter(is_shown).take(MAX_SHOWN) {
            writeln!(f, "{}", table.row(object, self.rejects.get(&object.id)))?;
        }
        let without_rejects = self.objects.iter().filter(|object| !is_shown(object)).count();
        if without_rejects > 0 {
            let count = count(without_rejects);
            writeln!(f, "{count} objects are done, without rejected lines")?;
        }
        let more = (self.objects.len() - without_rejects).saturating_sub(MAX_SHOWN);
        if more > 0 {
            writeln!(f, "and {} more: `status` shows them", count(more))?;
        }
        write!(f, "{}", table.totals())?;
        self.speed(f)
    }

    fn speed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.listed.saturating_sub(self.objects.len());
        let elapsed = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX);
        let elapsed = humantime::format_duration(Duration::from_millis(elapsed));
        match self.rate() {
            Some(rate) => write!(f, "\n{} lines per second, {elapsed} in all", human::count(rate))?,
            None => write!(f, "\n{elapsed} in all")?,
        }
        if known > 0 {
            write!(f, "; {} objects were known and not read", count(known))?;
        }
        Ok(())
    }

    /// What had failed before, and what to do about failed objects.
    fn failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.failed_before > 0 {
            write!(f, "\nKnown objects that failed: {}", count(self.failed_before))?;
            for object in &self.first_failed {
                let error = object.error.as_deref().unwrap_or_default();
                write!(f, "\n  object {} ({}): ", object.id, escaped_file_name(&object.uri))?;
                write!(f, "{}", Escaped(&shortened(error, MAX_ERROR_CHARS)))?;
            }
            let more = self.failed_before - self.first_failed.len();
            if more > 0 {
                write!(f, "\n  and {more} more: `status` shows them")?;
            }
        }
        let mut objects = self.objects.iter();
        let has_new = objects.any(|object| object.state == State::Failed && !object.dismissed);
        if self.failed_before > 0 || has_new {
            write!(f, "\n{ADVICE}")?;
        }
        Ok(())
    }

    /// The lines of this run in a second; none where it took less, or where earlier lines were not counted.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a rate for people"
    )]
    fn rate(&self) -> Option<i64> {
        let lines = self.objects.iter().map(ObjectStatus::lines).sum::<i64>() - self.lines_before?;
        let seconds = self.elapsed.as_secs_f64();
        (seconds >= 1.0).then(|| (lines.max(0) as f64 / seconds).round() as i64)
    }
}

/// Names the first skipped entries, and counts the others.
pub(crate) fn write_skipped(skipped: &Skipped, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for entry in skipped.named() {
        writeln!(f, "Skipped: {}", Escaped(entry))?;
    }
    match skipped.count() - skipped.named().len() as u64 {
        0 => Ok(()),
        more => writeln!(f, "Skipped: {more} more entries"),
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use jetline_store::catalog::rejects::RejectSummary;

    use super::*;

    fn object(id: i64, state: State, error: Option<&str>) -> ObjectStatus {
        ObjectStatus {
            id,
            uri: format!("s3://bucket/{id}\u{1b}[2J\nforged.jsonl  done"),
            etag: "e".to_owned(),
            dataset: "products".to_owned(),
            state,
            error: error.map(str::to_owned),
            dismissed: false,
            bytes: 1,
            total_bytes: None,
            read_bytes: 0,
            read_stored_bytes: 0,
            committed_bytes: 0,
            inserted: 0,
            updated: 0,
            deleted: 0,
            unchanged: 0,
            superseded: 0,
            rejected: 3,
            registered_at: Utc::now(),
            done_at: None,
        }
    }

    #[test]
    fn keys_and_messages_cannot_forge_a_line_of_the_summary() {
        let rejects = RejectSummary {
            reasons: vec![("invalid_json".to_owned(), 2), ("wrong_type".to_owned(), 1)],
            line: 7,
            reason: "wrong_type".to_owned(),
            message: "no \u{7}bell\r\n".to_owned(),
        };
        let report = Report {
            is_listed: true,
            listed: 3,
            objects: vec![
                object(1, State::Failed, Some("bad\n1 done")),
                object(2, State::Registered, Some("access denied")),
            ],
            failed_before: 2,
            first_failed: vec![object(3, State::Failed, Some("worse\u{9b}1m"))],
            rejects: [(1, rejects)].into(),
            ..Report::default()
        };
        assert!(!report.is_complete());
        let text = report.to_string();
        let hostile = |char: char| char.is_control() && char != '\n';
        assert!(!text.contains(hostile), "{text:?}");
        for line in [
            "  rejected: 2 invalid_json, 1 wrong_type; first: line 7, wrong_type: no \\u{7}bell\\r\\n",
            "  object 1 failed: bad\\n1 done",
            "  object 2 is open: access denied",
            "Known objects that failed: 2",
            "  object 3 (3\\u{1b}[2J\\nforged.jsonl  done): worse\\u{9b}1m",
            "  and 1 more: `status` shows them",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
        }
        // Heading, two objects with two lines and one, sums, speed, and what failed.
        assert_eq!(text.lines().count(), 1 + 3 + 2 + 2 + 4, "{text}");
    }
}
