//! The outbox: what each destination is to know of each record, and what it knows.
//!
//! It is a state and not a list of events: there is one delivery for each destination and key. A commit appends the rows
//! whose content changed, in its own transaction, so that loading a file again delivers nothing. A courier folds these changes
//! into the deliveries, where a newer content replaces one that waits; it leases deliveries that are due, sends, and records
//! the outcomes. While a delivery is leased, no other attempt begins, and a content that is committed meanwhile is due when
//! the lease ends.

mod changes;
mod commands;
mod delivery;
mod destinations;
mod table;

use std::time::Duration;

use jetline_datasets::{Dataset, Destination};
use sea_orm::{ConnectionTrait, DatabaseConnection, FromQueryResult};

pub(crate) use self::changes::append;
pub use self::changes::{DeadDelivery, Folded};
pub use self::commands::Redeliver;
pub use self::delivery::{Attempt, AttemptOutcome, DeliveryState};
pub use self::destinations::Backlog;
pub(crate) use self::destinations::{declare, forget, number};
pub(crate) use self::table::{kind, rank, state};
use crate::{
    Database, Error, dialect,
    statement::{execute, query},
    transaction::Transaction,
    watermark::Number,
};

/// The outbox of a database, for couriers.
#[derive(Clone, Debug)]
pub struct Outbox {
    db: DatabaseConnection,
}

#[derive(FromQueryResult)]
struct Due {
    wait: Option<i64>,
}

impl Outbox {
    /// The outbox of a database.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        Self { db: database.connection().clone() }
    }

    /// Leases up to `limit` deliveries that are due, the oldest first, for `term`. Each is an attempt, whose outcome
    /// is to be recorded. The leases are durable when this returns.
    ///
    /// There are none unless `dataset` is the current declaration: read by another one, a record may lack columns.
    pub async fn lease(
        &self,
        dataset: &Dataset,
        destination: &Destination,
        token: &str,
        term: Duration,
        limit: usize,
    ) -> Result<Vec<Attempt>, Error> {
        let tx = Transaction::begin(&self.db).await?;
        if let Some(sql) = dialect::of(&tx).commit_durably() {
            execute(&tx, "commit leases durably", sql, []).await?;
        }
        let mut due = table::lock_due(&tx, dataset, destination.id, limit).await?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let now = table::now(&tx).await?;
        let attempts = due.iter_mut().map(|delivery| delivery.begin(token, now, term)).collect();
        table::write(&tx, "write leases", destination.id, due).await?;
        tx.commit("lease deliveries").await?;
        Ok(attempts)
    }

    /// Whether a declaration is the current one of its dataset.
    pub async fn is_current(&self, dataset: &Dataset) -> Result<bool, Error> {
        is_current(&self.db, dataset).await
    }

    /// Records the outcomes of attempts. Returns for each whether its lease was still valid; otherwise another attempt has
    /// begun, and its outcome counts.
    pub async fn record(
        &self,
        destination: &Destination,
        outcomes: &[(Attempt, AttemptOutcome)],
    ) -> Result<Vec<bool>, Error> {
        let tx = Transaction::begin(&self.db).await?;
        let mut order: Vec<usize> = (0..outcomes.len()).collect();
        order.sort_unstable_by(|a, b| outcomes[*a].0.key.cmp(&outcomes[*b].0.key));
        let keys = order.iter().map(|at| outcomes[*at].0.key.clone()).collect();
        let mut known = table::lock(&tx, "lock attempted deliveries", destination.id, keys)
            .await?
            .into_iter()
            .peekable();
        let now = table::now(&tx).await?;
        let mut valid = vec![false; outcomes.len()];
        let (mut ended, mut cancelled) = (Vec::new(), Vec::new());
        for at in order {
            let (attempt, outcome) = &outcomes[at];
            let Some(mut delivery) = known.next_if(|known| known.key == attempt.key) else {
                // Its destination was removed.
                continue;
            };
            let (is_valid, of_attempt) = delivery.end(attempt, outcome, destination, now);
            valid[at] = is_valid;
            if is_valid {
                ended.push(delivery);
                cancelled.extend(of_attempt);
            }
        }
        table::write(&tx, "write outcomes", destination.id, ended).await?;
        table::write_cancellations(&tx, destination.id, cancelled, now).await?;
        tx.commit("record deliveries").await?;
        Ok(valid)
    }

    /// The number of deliveries of a destination whose time has come, with the changes that are not folded into any, and for
    /// how long the oldest is due.
    pub async fn due(&self, destination: &Destination) -> Result<(u64, Duration), Error> {
        #[derive(FromQueryResult)]
        struct Row {
            due: i64,
            oldest: Option<i64>,
        }
        let now = dialect::of(&self.db).milliseconds();
        let sql = format!(
            "SELECT (SELECT COUNT(*) FROM deliveries WHERE destination = $1 AND due_at <= {now})
                 + (SELECT COUNT(*) FROM delivery_changes WHERE destination = $1) AS due,
                 {now} - (SELECT MIN(due_at) FROM deliveries
                     WHERE destination = $1 AND due_at <= {now} AND {}) AS oldest",
            destinations::IS_ENABLED
        );
        let rows: Vec<Row> =
            query(&self.db, "count due deliveries", &sql, [destination.id.into()]).await?;
        let (due, oldest) = rows.first().map_or((0, None), |row| (row.due, row.oldest));
        let oldest = u64::try_from(oldest.unwrap_or(0)).unwrap_or(0);
        Ok((due.cast_unsigned(), Duration::from_millis(oldest)))
    }

    /// How long until a delivery is due; none if none waits.
    pub async fn next_due(&self, destination: &Destination) -> Result<Option<Duration>, Error> {
        let now = dialect::of(&self.db).milliseconds();
        // Not MIN, which would be NULL minus now; and the index is read from its beginning.
        let sql = format!(
            "SELECT due_at - {now} AS wait FROM deliveries
             WHERE destination = $1 AND due_at IS NOT NULL AND {} ORDER BY due_at LIMIT 1",
            destinations::IS_ENABLED
        );
        let rows: Vec<Due> =
            query(&self.db, "look for the next delivery", &sql, [destination.id.into()]).await?;
        let wait = rows.first().and_then(|row| row.wait);
        Ok(wait.map(|wait| Duration::from_millis(u64::try_from(wait).unwrap_or(0))))
    }
}

async fn is_current(db: &impl ConnectionTrait, dataset: &Dataset) -> Result<bool, Error> {
    let sql = "SELECT COALESCE(MAX(number), 0) AS number FROM declarations WHERE dataset = $1";
    let name = dataset.name.as_str().into();
    let rows: Vec<Number> = query(db, "look for the current declaration", sql, [name]).await?;
    Ok(rows.first().is_some_and(|row| row.number == dataset.declaration))
}
