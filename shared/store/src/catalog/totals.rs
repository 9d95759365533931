//! Sums over all objects, and how many deliveries wait.

use chrono::{DateTime, Utc};
use sea_orm::FromQueryResult;

use super::{Catalog, objects::COUNTS};
use crate::{Error, dialect, statement::query};

/// Maximum number of deliveries that are counted: a statement does not take longer where there are more.
pub const MAX_COUNTED: i64 = 10_000;

/// The objects of a dataset, and the outcomes of their lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, FromQueryResult)]
pub struct DatasetTotals {
    /// The dataset.
    pub dataset: String,
    /// Objects that are neither done nor failed.
    pub open: i64,
    /// … that are done.
    pub done: i64,
    /// … that failed and are not dismissed.
    pub failed: i64,
    /// … that failed and are dismissed.
    pub dismissed: i64,
    /// Bytes of open objects, as stored.
    pub open_bytes: i64,
    /// Lines that became rows.
    pub inserted: i64,
    /// … that changed rows.
    pub updated: i64,
    /// … that deleted.
    pub deleted: i64,
    /// … whose rows had the same content.
    pub unchanged: i64,
    /// … that another line of the same id superseded.
    pub superseded: i64,
    /// … that were rejected.
    pub rejected: i64,
}

impl DatasetTotals {
    /// The lines whose outcome is known.
    #[must_use]
    pub const fn lines(&self) -> i64 {
        self.inserted
            + self.updated
            + self.deleted
            + self.unchanged
            + self.superseded
            + self.rejected
    }
}

/// The objects of a run: those that are open, and those that were settled since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromQueryResult)]
pub struct RunTotals {
    /// Their number.
    pub objects: i64,
    /// How many of them are settled.
    pub settled: i64,
    /// Bytes, as stored.
    pub bytes: i64,
    /// Bytes of those that are settled, and, at most as many as are stored, committed bytes of the others.
    pub done_bytes: i64,
    /// Lines whose outcome is known.
    pub lines: i64,
}

/// The deliveries of a dataset that did not end well yet; [`MAX_COUNTED`] at most of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, FromQueryResult)]
pub struct DeliveryTotals {
    /// The dataset.
    pub dataset: String,
    /// Those whose time has come.
    pub due: i64,
    /// Those that are dead.
    pub dead: i64,
}

impl Catalog {
    /// The objects of each dataset that has any, by its name.
    pub async fn totals(&self) -> Result<Vec<DatasetTotals>, Error> {
        let sums = COUNTS.map(|count| format!(", SUM({count}) AS {count}")).concat();
        let totals = COUNTS.map(|count| {
            format!(", CAST(SUM(o.{count} + COALESCE(c.{count}, 0)) AS bigint) AS {count}")
        });
        let objects = |name: &str, condition: &str| {
            format!(", CAST(SUM(CASE WHEN {condition} THEN 1 ELSE 0 END) AS bigint) AS {name}")
        };
        let is_open = "o.state NOT IN ('done', 'failed')";
        let sql = format!(
            "WITH c AS (SELECT object_id{sums} FROM chunks WHERE state IN ('committed', 'forgotten') GROUP BY object_id)
             SELECT o.dataset{}{}{}{},
                 CAST(SUM(CASE WHEN {is_open} THEN o.size ELSE 0 END) AS bigint) AS open_bytes{}
             FROM objects o LEFT JOIN c ON c.object_id = o.id GROUP BY o.dataset ORDER BY o.dataset",
            objects("open", is_open),
            objects("done", "o.state = 'done'"),
            objects("failed", "o.state = 'failed' AND NOT o.dismissed"),
            objects("dismissed", "o.state = 'failed' AND o.dismissed"),
            totals.concat()
        );
        query(&self.db, "sum up the objects", &sql, []).await
    }

    /// The objects of the run that began at this time.
    pub async fn run_totals(&self, began: DateTime<Utc>) -> Result<RunTotals, Error> {
        let lines = COUNTS.join(" + ");
        let sql = format!(
            "WITH c AS (SELECT object_id, SUM({lines}) AS lines, SUM(end_offset - start_offset) AS bytes
                 FROM chunks WHERE state IN ('committed', 'forgotten') GROUP BY object_id),
             o AS (SELECT size, done_at, {lines} + COALESCE(c.lines, 0) AS lines,
                     folded_bytes + COALESCE(c.bytes, 0) AS committed
                 FROM (SELECT * FROM objects WHERE done_at IS NULL OR done_at >= $1) AS each
                 LEFT JOIN c ON c.object_id = each.id)
             SELECT COUNT(*) AS objects, COUNT(done_at) AS settled, CAST(COALESCE(SUM(size), 0) AS bigint) AS bytes,
                 CAST(COALESCE(SUM(CASE WHEN done_at IS NULL AND committed < size THEN committed ELSE size END), 0) AS bigint)
                     AS done_bytes,
                 CAST(COALESCE(SUM(lines), 0) AS bigint) AS lines FROM o",
        );
        let found: Vec<RunTotals> =
            query(&self.db, "sum up the objects of a run", &sql, [began.into()]).await?;
        Ok(found.into_iter().next().unwrap_or_default())
    }

    /// The deliveries of each dataset with destinations, by its name.
    pub async fn delivery_totals(&self) -> Result<Vec<DeliveryTotals>, Error> {
        let now = dialect::of(&self.db).milliseconds();
        let count = |condition: &str| {
            format!(
                "(SELECT COUNT(*) FROM (SELECT 1 FROM deliveries WHERE destination = d.id AND {condition} LIMIT {MAX_COUNTED}) AS one)"
            )
        };
        let sql = format!(
            "SELECT dataset, CAST(SUM(due) AS bigint) AS due, CAST(SUM(dead) AS bigint) AS dead
             FROM (SELECT d.dataset, {} AS due, {} AS dead FROM delivery_destinations d) AS each
             GROUP BY dataset ORDER BY dataset",
            count(&format!("due_at <= {now}")),
            count("state = 'dead'")
        );
        query(&self.db, "count the deliveries", &sql, []).await
    }
}
