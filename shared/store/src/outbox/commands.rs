//! What commands change: deliveries are made again, or for records that a destination was never told of.

use jetline_core::Key;
use jetline_datasets::{ChangeKind, Column, Dataset, Value};
use sea_orm::{DbErr, FromQueryResult, QueryResult};

use super::{Outbox, changes::append_to, delivery::DeliveryState, is_current, table};
use crate::{
    Error,
    dialect::{self, Lock},
    statement::{execute, query, value},
    transaction::Transaction,
    upsert::{
        ChangedRow,
        change::{StoredRow, UntypedRow},
    },
};

/// Maximum number of rows that are read and locked in one transaction.
const PAGE_ROWS: usize = 1_000;

/// Which deliveries are to be made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redeliver {
    /// Those that are dead.
    Dead,
    /// Those that were delivered or died at this time or later, in milliseconds since 1970.
    Since(i64),
    /// That of the record with this key.
    Key(String),
}

impl Outbox {
    /// Makes deliveries of a destination due again; returns their number. Those that wait or are under way stay as they
    /// are.
    pub async fn redeliver(&self, destination: i64, which: &Redeliver) -> Result<u64, Error> {
        let (condition, value) = match which {
            Redeliver::Dead => ("state = 'dead'", None),
            Redeliver::Since(time) => ("ended_at >= $2", Some((*time).into())),
            Redeliver::Key(key) => ("key = $2", Some(key.as_str().into())),
        };
        let now = dialect::of(&self.db).milliseconds();
        let sql = format!(
            "UPDATE deliveries SET state = 'waiting', due_at = {now}, first_due_at = {now}, attempts = 0,
                 ended_at = NULL
             WHERE destination = $1 AND state IN ('delivered', 'dead') AND lease IS NULL AND {condition}"
        );
        let values = [destination.into()].into_iter().chain(value);
        execute(&self.db, "make deliveries due again", &sql, values).await
    }

    /// Appends a change for every record that one of the dataset's destinations was never told of, as if it was new;
    /// returns their number. `at` is the number of the destination.
    pub async fn backfill(&self, dataset: &Dataset, at: usize) -> Result<u64, Error> {
        let destination = &dataset.destinations[at];
        let (mut after, mut count) = (None, 0);
        loop {
            let tx = Transaction::begin(&self.db).await?;
            // The declarations stay as they are, and so does the table.
            dialect::of(&tx).lock(&tx, Lock::EpochShared).await?;
            if !is_current(&tx, dataset).await? {
                let reason = "there is another one now: run the command again";
                let dataset = dataset.name.clone();
                return Err(Error::Declaration { dataset, reason: reason.to_owned() });
            }
            let mut rows = page(&tx, dataset, at, after.as_ref()).await?;
            let Some(last) = rows.last() else {
                return Ok(count);
            };
            after = Some(last.key.clone());
            let mut keys: Vec<String> = rows.iter().map(|row| row.key.to_string()).collect();
            keys.sort_unstable();
            let known =
                table::lock(&tx, "lock deliveries to backfill", destination.id, keys).await?;
            let told = known.into_iter().filter(|known| {
                known.state != DeliveryState::Ignored || known.kind == ChangeKind::Updated
            });
            let told: Vec<String> = told.map(|known| known.key).collect();
            rows.retain(|row| told.binary_search(&row.key.to_string()).is_err());
            append_to(&tx, destination, at, &rows).await?;
            tx.commit("backfill").await?;
            count += rows.len() as u64;
        }
    }
}

struct StoredWithDelay {
    row: UntypedRow,
    delay: Option<i64>,
}

impl FromQueryResult for StoredWithDelay {
    fn from_query_result(row: &QueryResult, prefix: &str) -> Result<Self, DbErr> {
        let delay = row.try_get("", "jetline_delay")?;
        Ok(Self { row: UntypedRow::from_query_result(row, prefix)?, delay })
    }
}

/// The next rows that are not deleted, in the order of their keys; locked, so that no commit changes them meanwhile.
async fn page(
    tx: &Transaction,
    dataset: &Dataset,
    at: usize,
    after: Option<&Key>,
) -> Result<Vec<ChangedRow>, Error> {
    const ACTION: &str = "read rows to deliver";
    let (dialect, key) = (dialect::of(tx), dataset.key());
    let delay = dataset.destinations[at].delay.as_ref();
    let mut conditions = vec!["1 = 1".to_owned()];
    if dataset.has(&Column::deleted().name) {
        conditions.push(format!("{:?} IS NOT TRUE", Column::deleted().name));
    }
    if after.is_some() {
        conditions.push(format!("{:?} > {}", key.name, dialect.placeholder(1, key.column_type)));
    }
    let sql = format!(
        "SELECT {} AS id, jetline_fingerprint, jetline_position, {} AS version, {} AS jetline_delay
         FROM {:?} WHERE {} ORDER BY {:?}.{:?} LIMIT {PAGE_ROWS} {}",
        dialect.select(key),
        dialect.version(dataset.version()),
        delay.map_or("NULL".to_owned(), |delay| format!("{:?}", delay.column)),
        dataset.name,
        conditions.join(" AND "),
        // Another column of the result may be called like the key.
        dataset.name,
        key.name,
        dialect.for_update()
    );
    let rows: Vec<StoredWithDelay> = query(tx, ACTION, &sql, after.map(value)).await?;
    let changed = rows.into_iter().map(|StoredWithDelay { row, delay }| {
        let (key, StoredRow { rank, fingerprint }) = row.with_key(dataset)?;
        let mut delays = vec![Value::Null; dataset.destinations.len()];
        delays[at] = delay.map_or(Value::Null, Value::Bigint);
        Ok(ChangedRow { key, rank, fingerprint, kind: ChangeKind::Inserted, is_new: false, delays })
    });
    changed.collect::<Result<_, DbErr>>().map_err(|error| Error::classify(ACTION, error))
}
