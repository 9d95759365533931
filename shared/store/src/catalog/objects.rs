//! Objects with their counts: the sum of those that are folded into the object's row and those of its rows in `chunks`.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveEnum, FromQueryResult, Statement, Value};

use super::{Catalog, MESSAGE_BYTES};
use crate::{
    Error,
    database::query_failed,
    entities::objects::State,
    statement::{Conditions, named},
};

/// The operation, in errors and statements.
const READ: &str = "read objects";

/// The columns with the outcomes of lines.
pub(super) const COUNTS: [&str; 6] =
    ["inserted", "updated", "deleted", "unchanged", "superseded", "rejected"];

/// An object version, its progress and the outcomes of its lines.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult, serde::Serialize)]
pub struct ObjectStatus {
    /// The object sequence.
    pub id: i64,
    /// Its address.
    pub uri: String,
    /// The `ETag`.
    pub etag: String,
    /// The dataset of its lines.
    pub dataset: String,
    /// Its state.
    pub state: State,
    /// Why it failed; or, while it is open, why it could not be read the last time.
    pub error: Option<String>,
    /// Whether its failure was dismissed.
    pub dismissed: bool,
    /// Bytes, as stored.
    pub bytes: i64,
    /// Bytes, decompressed; known when it was read to the end.
    pub total_bytes: Option<i64>,
    /// Bytes, decompressed, that were read; some seconds ago, or when its reading ended.
    pub read_bytes: i64,
    /// The same, as stored; 0 if it was read in less than that.
    #[serde(skip)]
    pub read_stored_bytes: i64,
    /// Bytes, decompressed, that are committed.
    pub committed_bytes: i64,
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
    /// … that are rejected; the first of them are in `rejected_lines`.
    pub rejected: i64,
    /// When it was registered.
    pub registered_at: DateTime<Utc>,
    /// When it was done or failed.
    pub done_at: Option<DateTime<Utc>>,
}

impl ObjectStatus {
    /// Bytes, decompressed: known when it was read to the end, and of an object that is not compressed; estimated by the part of
    /// the stored bytes that was read.
    #[must_use]
    pub fn estimated_bytes(&self) -> Option<i64> {
        if self.total_bytes.is_some() {
            return self.total_bytes;
        }
        let extension = self.uri.rsplit('.').next().unwrap_or_default();
        if !["gz", "zst", "bz2"].contains(&extension) && self.committed_bytes <= self.bytes {
            return Some(self.bytes);
        }
        let read = self.read_bytes.max(self.committed_bytes);
        let estimate = i128::from(read) * i128::from(self.bytes)
            / i128::from(self.read_stored_bytes.min(self.bytes)).max(1);
        (self.read_stored_bytes > 0).then(|| i64::try_from(estimate).unwrap_or(i64::MAX).max(read))
    }

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

/// Selects objects.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those of these datasets.
    pub datasets: Option<Vec<String>>,
    /// Only those that were dismissed, or only the others.
    pub dismissed: Option<bool>,
    /// Only those that are neither done nor failed.
    pub open: bool,
    /// Only those with rejected lines.
    pub has_rejects: bool,
}

impl Catalog {
    /// Up to `limit` objects in the order of their ids, those after `after`.
    pub async fn objects(
        &self,
        filter: &Filter,
        after: Option<i64>,
        limit: u64,
    ) -> Result<Vec<ObjectStatus>, Error> {
        let mut conditions = conditions(filter);
        conditions.only("id >", after.map(Value::from));
        self.read_objects(conditions, "id", limit).await
    }

    /// Up to `limit` objects, the one with the highest id first, those before `before`.
    pub async fn latest_objects(
        &self,
        filter: &Filter,
        before: Option<i64>,
        limit: u64,
    ) -> Result<Vec<ObjectStatus>, Error> {
        let mut conditions = conditions(filter);
        conditions.only("id <", before.map(Value::from));
        self.read_objects(conditions, "id DESC", limit).await
    }

    /// Up to `limit` of the objects that were settled after this time, in the order of their ids.
    pub async fn settled_since(
        &self,
        time: DateTime<Utc>,
        limit: u64,
    ) -> Result<Vec<ObjectStatus>, Error> {
        let mut conditions = Conditions::default();
        conditions.only("done_at >", Some(time.into()));
        self.read_objects(conditions, "id", limit).await
    }

    /// The objects with these ids that exist, in the order of their ids.
    pub async fn objects_with(&self, ids: &[i64]) -> Result<Vec<ObjectStatus>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut conditions = Conditions::default();
        let of: Vec<String> = ids.iter().map(|id| conditions.parameter((*id).into())).collect();
        conditions.require(format!("id IN ({})", of.join(", ")));
        self.read_objects(conditions, "id", u64::MAX).await
    }

    /// One object.
    pub async fn object(&self, id: i64) -> Result<Option<ObjectStatus>, Error> {
        let mut conditions = Conditions::default();
        conditions.only("id =", Some(id.into()));
        Ok(self.read_objects(conditions, "id", 1).await?.pop())
    }

    async fn read_objects(
        &self,
        mut conditions: Conditions,
        order: &str,
        limit: u64,
    ) -> Result<Vec<ObjectStatus>, Error> {
        let db = &self.db;
        let limit = conditions.parameter(i64::try_from(limit).unwrap_or(i64::MAX).into());
        let sql = statement(&conditions.sql(), order, &limit);
        let values = conditions.into_values();
        let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
        let found = ObjectStatus::find_by_statement(named(READ, statement)).all(db).await;
        found.map_err(|error| query_failed(READ, error))
    }
}

fn conditions(filter: &Filter) -> Conditions {
    let mut conditions = Conditions::default();
    conditions.only("state =", filter.state.map(|state| state.to_value().into()));
    conditions.only_of("dataset", filter.datasets.as_deref());
    conditions.only("dismissed =", filter.dismissed.map(Value::from));
    if filter.open {
        conditions.require("state NOT IN ('done', 'failed')".to_owned());
    }
    if filter.has_rejects {
        let of_chunks = "SELECT 1 FROM chunks WHERE object_id = objects.id AND rejected > 0";
        conditions.require(format!("(rejected > 0 OR EXISTS ({of_chunks}))"));
    }
    conditions
}

/// Selects the page first, and sums only the chunks of its objects. The sums are cast because PostgreSQL's are
/// `numeric`.
fn statement(condition: &str, order: &str, limit: &str) -> String {
    let sums: String = COUNTS.map(|count| format!(", SUM({count}) AS {count}")).concat();
    let totals: String = COUNTS.map(|count| format!(", {}", total(count, count))).concat();
    format!(
        "WITH page AS (SELECT * FROM objects WHERE {condition} ORDER BY {order} LIMIT {limit}), \
         open AS (SELECT object_id, \
         SUM(CASE WHEN state = 'committed' THEN end_offset - start_offset ELSE 0 END) AS committed{sums} \
         FROM chunks WHERE object_id IN (SELECT id FROM page) AND state IN ('committed', 'forgotten') \
         GROUP BY object_id) \
         SELECT page.id, page.root || '/' || page.key AS uri, page.etag, page.dataset, page.state, page.dismissed, \
         substr(COALESCE(page.error, page.refusal), 1, {MESSAGE_BYTES}) AS error, \
         page.size AS bytes, page.total_bytes, page.registered_at, page.done_at, \
         COALESCE(page.total_bytes, page.read_bytes) AS read_bytes, page.read_stored_bytes, \
         {} AS committed_bytes{totals} \
         FROM page LEFT JOIN open ON open.object_id = page.id ORDER BY page.{order}",
        sum("folded_bytes", "committed"),
    )
}

fn total(folded: &str, open: &str) -> String {
    format!("{} AS {folded}", sum(folded, open))
}

fn sum(folded: &str, open: &str) -> String {
    format!("CAST(page.{folded} + COALESCE(open.{open}, 0) AS bigint)")
}
