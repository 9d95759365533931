//! The summary: what became of every object and every line.

use std::{fmt, time::Duration};

use jetline_records::ObjectId;
use jetline_store::{
    Error, Ledger,
    entities::objects::State,
    read::objects::{self, ObjectStatus},
};

/// How many objects are asked for at once.
const PAGE: u64 = 1000;

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many objects the sources hold.
    pub listed: usize,
    /// The objects that were open when the run began or were new, in their order.
    pub objects: Vec<ObjectStatus>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Report {
    /// Reads how the objects ended.
    pub(crate) async fn read(
        ledger: &Ledger,
        listed: usize,
        wanted: &[ObjectId],
        elapsed: Duration,
    ) -> Result<Self, Error> {
        let mut report = Self {
            listed,
            elapsed,
            ..Self::default()
        };
        let Some(first) = wanted.first() else {
            return Ok(report);
        };
        let mut after = Some(first.get() - 1);
        while let Some(behind) = after {
            let filter = objects::Filter::default();
            let page = objects::list(ledger.connection(), &filter, Some(behind), PAGE)
                .await
                .map_err(|error| Error::reading("read the objects", error))?;
            after = page.last().map(|object| object.id);
            report.objects.extend(page.into_iter().filter(|object| {
                ObjectId::new(object.id).is_some_and(|id| wanted.binary_search(&id).is_ok())
            }));
        }
        Ok(report)
    }

    /// Whether every object is done.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.objects
            .iter()
            .all(|object| object.state == State::Done)
    }

    fn sum(&self, count: impl Fn(&ObjectStatus) -> i64) -> i64 {
        self.objects.iter().map(count).sum()
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    fn rate(&self) -> f64 {
        let lines = self.sum(ObjectStatus::lines) as f64;
        lines / self.elapsed.as_secs_f64().max(0.001)
    }
}

const COUNTS: [&str; 6] = [
    "lines",
    "inserted",
    "updated",
    "unchanged",
    "superseded",
    "rejected",
];

fn counts(object: &ObjectStatus) -> [i64; 6] {
    [
        object.lines(),
        object.inserted,
        object.updated,
        object.unchanged,
        object.superseded,
        object.rejected,
    ]
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.listed == 0 && self.objects.is_empty() {
            return f.write_str("Nothing to do: the sources hold no objects.");
        }
        if self.objects.is_empty() {
            return write!(
                f,
                "Nothing new: all {} objects are known and were not read.",
                self.listed
            );
        }
        let name =
            |object: &ObjectStatus| object.uri.rsplit('/').next().unwrap_or_default().to_owned();
        let width = self
            .objects
            .iter()
            .map(|object| name(object).len())
            .max()
            .unwrap_or(0)
            .max(6);
        write!(f, "{:width$}  {:7}", "object", "state")?;
        for count in COUNTS {
            write!(f, "  {count:>10}")?;
        }
        for object in &self.objects {
            let state = format!("{:?}", object.state).to_lowercase();
            write!(f, "\n{:width$}  {state:7}", name(object))?;
            for count in counts(object) {
                write!(f, "  {count:>10}")?;
            }
            if let Some(error) = &object.error {
                write!(f, "\n  {error}")?;
            }
        }
        write!(f, "\n{:width$}  {:7}", "in all", "")?;
        for index in 0..COUNTS.len() {
            write!(f, "  {:>10}", self.sum(|object| counts(object)[index]))?;
        }
        let known = self.listed.saturating_sub(self.objects.len());
        write!(
            f,
            "\n{:.0} lines per second, {} in all",
            self.rate(),
            humantime::format_duration(Duration::from_millis(
                u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX)
            ))
        )?;
        if known > 0 {
            write!(f, "; {known} objects were known and not read")?;
        }
        Ok(())
    }
}
