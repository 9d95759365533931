//! Removes what is kept for a limited time: the rejected lines and the entries of objects that have ended. In small steps, so that
//! nobody waits for them.

use chrono::{DateTime, Utc};
use jetline_core::{ObjectId, ObjectVersion};
use jetline_datasets::Datasets;
use sea_orm::{FromQueryResult, Value};

use super::ObjectLedger;
use crate::{
    Error,
    database::begin_exclusive,
    dialect,
    statement::{execute, placeholders, query},
    watermark::settled,
};

/// How many rejected lines of an object are stored; further ones are only counted.
pub const STORED_REJECTS: u64 = 100_000;

/// Maximum number of lines or objects in one statement.
const BATCH: u64 = 500;

/// The tables that grow with what is loaded, beside those of datasets; `all` is for databases that measure no single table.
const TABLES: [&str; 10] = [
    "all",
    "chunks",
    "deliveries",
    "delivery_cancellations",
    "delivery_changes",
    "intake",
    "listed_objects",
    "objects",
    "rejected_lines",
    "unknown_fields",
];

#[derive(FromQueryResult)]
struct TableBytes {
    name: String,
    bytes: i64,
}

/// An ended object of which rejected lines are removed.
#[derive(FromQueryResult)]
struct Pruned {
    id: i64,
    is_old: bool,
}

/// An object version that was settled before a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledVersion {
    /// Its number.
    pub object: ObjectId,
    /// The version.
    pub version: ObjectVersion,
}

#[derive(FromQueryResult)]
struct SettledRow {
    id: i64,
    root: String,
    key: String,
    etag: String,
    size: i64,
    last_modified: DateTime<Utc>,
}

impl ObjectLedger {
    /// The bytes on disk of the ledger's tables, of those of datasets and their histories, and of the outbox, by table; in SQLite of
    /// all of them together.
    pub async fn table_bytes(&self, datasets: &Datasets) -> Result<Vec<(String, u64)>, Error> {
        let mut names: Vec<Value> = TABLES.map(Value::from).into();
        for dataset in datasets.iter() {
            names.push(dataset.name.as_str().into());
            names.extend(dataset.has_history.then(|| dataset.history_table().into()));
        }
        let sql = dialect::of(&self.db).table_bytes(&placeholders(1, names.len()));
        let tables: Vec<TableBytes> = query(&self.db, "measure the tables", &sql, names).await?;
        Ok(tables.into_iter().map(|one| (one.name, one.bytes.cast_unsigned())).collect())
    }

    /// Removes rejected lines of objects that were settled before a time, and those beyond the number that is stored. They stay counted.
    /// Those of posts stay as long as the posts. Returns how many were removed.
    pub async fn remove_rejects(&self, ended_before: Option<DateTime<Utc>>) -> Result<u64, Error> {
        let (mut after, mut removed) = (0, 0);
        let before = ended_before.unwrap_or(DateTime::UNIX_EPOCH);
        loop {
            let sql = format!(
                "SELECT id, done_at < $2 AS is_old FROM objects
                 WHERE id > $1 AND id < $3 AND state IN ('done', 'failed') AND rejected > 0
                     AND (done_at < $2 OR rejected > {STORED_REJECTS})
                     AND EXISTS (SELECT 1 FROM rejected_lines WHERE object_id = objects.id)
                     AND NOT EXISTS (SELECT 1 FROM intake WHERE object_id = objects.id)
                 ORDER BY id LIMIT {BATCH}"
            );
            let settled = settled(&self.db).await?.get();
            let values = [after.into(), before.into(), settled.into()];
            let found: Vec<Pruned> =
                query(&self.db, "find old rejected lines", &sql, values).await?;
            for object in &found {
                removed += self.remove_rejects_of(object).await?;
            }
            match found.last() {
                Some(last) => after = last.id,
                None => return Ok(removed),
            }
        }
    }

    async fn remove_rejects_of(&self, object: &Pruned) -> Result<u64, Error> {
        let kept = if object.is_old { 0 } else { STORED_REJECTS };
        // A replay may have opened it again.
        let sql = format!(
            "DELETE FROM rejected_lines WHERE object_id = $1 AND line IN (
                 SELECT line FROM rejected_lines WHERE object_id = $1 ORDER BY line LIMIT {BATCH} OFFSET {kept})
             AND EXISTS (SELECT 1 FROM objects WHERE id = $1 AND state IN ('done', 'failed'))"
        );
        let mut removed = 0;
        loop {
            let step = execute(&self.db, "remove rejected lines", &sql, [object.id.into()]).await?;
            removed += step;
            if step < BATCH {
                return Ok(removed);
            }
        }
    }

    /// The next versions below these roots that were settled before a time, in the order of their numbers; see
    /// [`ObjectLedger::remove_objects`].
    pub async fn settled_versions(
        &self,
        roots: &[String],
        after: Option<ObjectId>,
        ended_before: DateTime<Utc>,
    ) -> Result<Vec<SettledVersion>, Error> {
        let sql = format!(
            "SELECT id, root, key, etag, size, last_modified FROM objects
             WHERE id > $1 AND id < $2 AND done_at < $3 AND {REMOVABLE} AND root IN ({})
             ORDER BY id LIMIT {BATCH}",
            placeholders(4, roots.len())
        );
        let settled = settled(&self.db).await?.get();
        let mut values: Vec<Value> =
            vec![after.map_or(0, ObjectId::get).into(), settled.into(), ended_before.into()];
        values.extend(roots.iter().map(|root| root.as_str().into()));
        let rows: Vec<SettledRow> = query(&self.db, "find ended objects", &sql, values).await?;
        Ok(rows.into_iter().filter_map(SettledRow::version).collect())
    }

    /// Removes the entries of ended objects, with their counts and rejected lines; returns how many. The caller knows that no
    /// listing has these versions: one that is listed again would be registered as new, and its old lines would win.
    ///
    /// Those that are open, that failed and are not dismissed, that have posts, and the one with the highest number stay.
    pub async fn remove_objects(&self, objects: &[ObjectId]) -> Result<u64, Error> {
        if objects.is_empty() {
            return Ok(0);
        }
        // There may be very many, and the transaction excludes commits.
        for object in objects {
            self.remove_rejects_of(&Pruned { id: object.get(), is_old: true }).await?;
        }
        let tx = begin_exclusive(&self.db).await?;
        let settled = settled(&tx).await?.get();
        let ids = placeholders(2, objects.len());
        let mut values: Vec<Value> = vec![settled.into()];
        values.extend(objects.iter().map(|object| Value::from(object.get())));
        let removed =
            format!("SELECT id FROM objects WHERE id < $1 AND id IN ({ids}) AND {REMOVABLE}");
        for table in ["chunks", "rejected_lines"] {
            let sql = format!("DELETE FROM {table} WHERE object_id IN ({removed})");
            execute(&tx, "remove what was committed", &sql, values.clone()).await?;
        }
        let sql = format!(
            "UPDATE ledger SET removed_object =
                 (SELECT MAX(id) FROM (SELECT id FROM ({removed}) AS removed UNION ALL SELECT removed_object FROM ledger) AS last)"
        );
        execute(&tx, "record removed objects", &sql, values.clone()).await?;
        let sql = format!("DELETE FROM objects WHERE id IN ({removed})");
        let removed = execute(&tx, "remove objects", &sql, values).await?;
        tx.commit("remove objects").await?;
        Ok(removed)
    }
}

/// Objects whose entries nobody needs any more, if their versions do not exist.
const REMOVABLE: &str = "(state = 'done' OR state = 'failed' AND dismissed)
     AND id < (SELECT MAX(id) FROM objects)
     AND NOT EXISTS (SELECT 1 FROM intake WHERE object_id = objects.id)";

impl SettledRow {
    fn version(self) -> Option<SettledVersion> {
        let Self { id, root, key, etag, size, last_modified } = self;
        let version = ObjectVersion { root, key, etag, size: size.cast_unsigned(), last_modified };
        Some(SettledVersion { object: ObjectId::new(id)?, version })
    }
}
