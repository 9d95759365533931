//! Deliveries, and those that newer ones cancelled.

use chrono::{DateTime, Utc};
use jetline_core::Rank;
use jetline_datasets::ChangeKind;
use sea_orm::{DbErr, FromQueryResult, QueryResult, Statement, Value};

use super::{Catalog, shorten};
use crate::{
    Error,
    database::query_failed,
    outbox::{DeliveryState, kind, rank, state},
    statement::{Conditions, named},
};

/// The operation, in errors and statements.
const READ: &str = "read deliveries";

/// Maximum number of cancellations of a record that are shown: the latest ones.
const MAX_CANCELLATIONS: i64 = 100;

/// A delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryStatus {
    /// The number of its destination.
    pub destination_id: i64,
    /// The name of its destination.
    pub destination: String,
    /// Its dataset.
    pub dataset: String,
    /// The text of its record's key.
    pub key: String,
    /// The change.
    pub kind: ChangeKind,
    /// Its state.
    pub state: DeliveryState,
    /// The rank of the line that set the content.
    pub rank: Rank,
    /// When the next attempt may begin, if it waits.
    pub due_at: Option<DateTime<Utc>>,
    /// Attempts to deliver this content.
    pub attempts: i64,
    /// The HTTP status of the last attempt.
    pub status: Option<i64>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// When it was delivered or dead.
    pub ended_at: Option<DateTime<Utc>>,
}

/// A delivery that was not made because of a newer one.
#[derive(Clone, Debug, PartialEq)]
pub struct CancelledDelivery {
    /// The name of its destination.
    pub destination: String,
    /// The rank of its content.
    pub rank: Rank,
    /// The rank of the newer content.
    pub by: Rank,
    /// When.
    pub at: DateTime<Utc>,
}

/// Selects deliveries.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those in this state.
    pub state: Option<DeliveryState>,
    /// Only those to destinations of this name.
    pub destination: Option<String>,
    /// Only those of these datasets.
    pub datasets: Option<Vec<String>>,
    /// Only those of this key.
    pub key: Option<String>,
}

/// The place of a delivery in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The number of its destination.
    pub destination: i64,
    /// The text of its record's key.
    pub key: String,
}

impl Catalog {
    /// The deliveries in the order of destination and key, those after `after`. Up to `limit` of them.
    pub async fn deliveries(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        limit: u64,
    ) -> Result<Vec<DeliveryStatus>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut conditions = Conditions::after(vec![limit.into()]);
        conditions.require("destination = id".to_owned());
        conditions.only("name =", filter.destination.as_deref().map(Value::from));
        conditions.only_of("dataset", filter.datasets.as_deref());
        conditions.only("key =", filter.key.as_deref().map(Value::from));
        if let Some(state) = filter.state {
            // Not a parameter, so that the index of the dead ones is used.
            conditions.require(format!("state = '{}'", state.name()));
        }
        if let Some(Cursor { destination, key }) = after {
            let destination = conditions.parameter(destination.into());
            let key = conditions.parameter(key.into());
            conditions.require(format!("(destination, key) > ({destination}, {key})"));
        }
        let sql = format!(
            "SELECT destination, name, dataset, key, kind, state, version, position, due_at, attempts, status, error, ended_at
             FROM deliveries, delivery_destinations WHERE {} ORDER BY destination, key LIMIT $1",
            conditions.sql()
        );
        self.query_deliveries(sql, conditions.into_values()).await
    }

    /// The latest deliveries of a record that newer ones cancelled, the latest first.
    pub async fn cancelled_deliveries(
        &self,
        dataset: &str,
        key: &str,
    ) -> Result<Vec<CancelledDelivery>, Error> {
        let sql = "SELECT name, version, position, by_version, by_position, cancelled_at
             FROM delivery_cancellations, delivery_destinations
             WHERE destination = id AND dataset = $1 AND key = $2
             ORDER BY cancelled_at DESC, by_version DESC, by_position DESC LIMIT $3";
        let values = vec![dataset.into(), key.into(), MAX_CANCELLATIONS.into()];
        self.query_deliveries(sql.to_owned(), values).await
    }

    async fn query_deliveries<T: FromQueryResult>(
        &self,
        sql: String,
        values: Vec<Value>,
    ) -> Result<Vec<T>, Error> {
        let failed = |error| query_failed(READ, error);
        let backend = self.db.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, values);
        T::find_by_statement(named(READ, statement)).all(&self.db).await.map_err(failed)
    }
}

impl FromQueryResult for DeliveryStatus {
    fn from_query_result(row: &QueryResult, _: &str) -> Result<Self, DbErr> {
        let mut error: Option<String> = row.try_get("", "error")?;
        if let Some(error) = &mut error {
            shorten(error);
        }
        Ok(Self {
            destination_id: row.try_get("", "destination")?,
            destination: row.try_get("", "name")?,
            dataset: row.try_get("", "dataset")?,
            key: row.try_get("", "key")?,
            kind: kind(row)?,
            state: state(row)?,
            rank: rank(row, "version", "position")?,
            due_at: time(row, "due_at")?,
            attempts: row.try_get("", "attempts")?,
            status: row.try_get("", "status")?,
            error,
            ended_at: time(row, "ended_at")?,
        })
    }
}

impl FromQueryResult for CancelledDelivery {
    fn from_query_result(row: &QueryResult, _: &str) -> Result<Self, DbErr> {
        Ok(Self {
            destination: row.try_get("", "name")?,
            rank: rank(row, "version", "position")?,
            by: rank(row, "by_version", "by_position")?,
            at: time(row, "cancelled_at")?.unwrap_or_default(),
        })
    }
}

fn time(row: &QueryResult, column: &str) -> Result<Option<DateTime<Utc>>, DbErr> {
    let milliseconds: Option<i64> = row.try_get("", column)?;
    Ok(milliseconds.and_then(DateTime::from_timestamp_millis))
}
