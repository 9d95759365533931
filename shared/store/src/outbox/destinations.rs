//! Destinations in the ledger: numbered when they are declared, and removed with their deliveries when they are not any more.

use jetline_datasets::{Dataset, Destination};
use sea_orm::{ConnectionTrait, FromQueryResult};

use super::Outbox;
use crate::{
    Error, dialect,
    statement::{execute, query},
    watermark::Number,
};

/// Whether the destination that is the first parameter is not disabled, as an SQL expression.
pub(super) const IS_ENABLED: &str =
    "EXISTS (SELECT 1 FROM delivery_destinations WHERE id = $1 AND disabled IS NULL)";

/// The number of deliveries that wait, and of changes that are not folded into any, of a row of the destinations, as an SQL
/// expression.
const WAITING: &str = "((SELECT COUNT(*) FROM deliveries WHERE destination = delivery_destinations.id AND due_at IS NOT NULL)
     + (SELECT COUNT(*) FROM delivery_changes WHERE destination = delivery_destinations.id))";

#[derive(FromQueryResult)]
struct Row {
    id: i64,
    dataset: String,
    name: String,
}

async fn rows(db: &impl ConnectionTrait) -> Result<Vec<Row>, Error> {
    let sql = "SELECT id, dataset, name FROM delivery_destinations";
    query(db, "read the destinations: run jetline-migrate", sql, []).await
}

/// Gives numbers to the destinations of a declaration, and removes those that it has not. Returns what was done.
pub(crate) async fn declare(
    tx: &impl ConnectionTrait,
    dataset: &Dataset,
) -> Result<Vec<String>, Error> {
    let mut done = Vec::new();
    let known = rows(tx).await?;
    let of_dataset: Vec<&Row> = known.iter().filter(|row| row.dataset == dataset.name).collect();
    for Destination { name, .. } in &dataset.destinations {
        if of_dataset.iter().any(|row| row.name == *name) {
            continue;
        }
        let number = "UPDATE ledger SET last_destination = last_destination + 1";
        execute(tx, "number a destination", number, []).await?;
        let sql = "INSERT INTO delivery_destinations (id, dataset, name)
             SELECT last_destination, $1, $2 FROM ledger";
        let values = [dataset.name.as_str().into(), name.as_str().into()];
        execute(tx, "add a destination", sql, values).await?;
        done.push(format!(
            "destination {name} of {} added: changes are delivered from now on",
            dataset.name
        ));
    }
    for row in of_dataset {
        if !dataset.destinations.iter().any(|destination| destination.name == row.name) {
            let waiting = remove(tx, row.id).await?;
            done.push(format!(
                "destination {} of {} removed, and its deliveries; {waiting} of them were waiting",
                row.name, dataset.name
            ));
        }
    }
    Ok(done)
}

/// Removes the destinations of a dataset.
pub(crate) async fn forget(tx: &impl ConnectionTrait, dataset: &str) -> Result<(), Error> {
    for row in rows(tx).await?.iter().filter(|row| row.dataset == dataset) {
        remove(tx, row.id).await?;
    }
    Ok(())
}

/// Removes a destination. Returns how many of its deliveries were waiting.
async fn remove(tx: &impl ConnectionTrait, id: i64) -> Result<i64, Error> {
    let sql = format!("SELECT {WAITING} AS number FROM delivery_destinations WHERE id = $1");
    let waiting: Vec<Number> = query(tx, "count waiting deliveries", &sql, [id.into()]).await?;
    for (table, column) in [
        ("delivery_changes", "destination"),
        ("deliveries", "destination"),
        ("delivery_cancellations", "destination"),
        ("delivery_destinations", "id"),
    ] {
        let sql = format!("DELETE FROM {table} WHERE {column} = $1");
        execute(tx, "remove a destination", &sql, [id.into()]).await?;
    }
    Ok(waiting.first().map_or(0, |row| row.number))
}

/// Sets the numbers of destinations.
pub(crate) async fn number(
    db: &impl ConnectionTrait,
    datasets: &mut [Dataset],
) -> Result<(), Error> {
    let known = rows(db).await?;
    for dataset in datasets {
        for destination in &mut dataset.destinations {
            let row = known
                .iter()
                .find(|row| row.dataset == dataset.name && row.name == destination.name);
            destination.id = row.map_or(0, |row| row.id);
        }
    }
    Ok(())
}

/// How many deliveries of a destination are in each state.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Backlog {
    /// The dataset.
    pub dataset: String,
    /// The destination.
    pub destination: String,
    /// Why nothing is delivered to it, if it is disabled.
    pub disabled: Option<String>,
    /// Deliveries that wait for their time or for an attempt, and changes that are not folded into any.
    pub waiting: u64,
    /// Deliveries whose content was acknowledged.
    pub delivered: u64,
    /// Deliveries that are dead.
    pub dead: u64,
}

#[derive(FromQueryResult)]
struct BacklogRow {
    dataset: String,
    name: String,
    disabled: Option<String>,
    waiting: i64,
    delivered: i64,
    dead: i64,
}

impl Outbox {
    /// How many deliveries there are, by destination.
    pub async fn backlog(&self) -> Result<Vec<Backlog>, Error> {
        let sql = format!(
            "SELECT dataset, name, disabled, {WAITING} AS waiting,
                 (SELECT COUNT(*) FROM deliveries WHERE destination = id AND state = 'delivered') AS delivered,
                 (SELECT COUNT(*) FROM deliveries WHERE destination = id AND state = 'dead') AS dead
             FROM delivery_destinations ORDER BY dataset, name"
        );
        let rows: Vec<BacklogRow> = query(&self.db, "count deliveries", &sql, []).await?;
        let backlog = rows.into_iter().map(|row| Backlog {
            dataset: row.dataset,
            destination: row.name,
            disabled: row.disabled,
            waiting: row.waiting.cast_unsigned(),
            delivered: row.delivered.cast_unsigned(),
            dead: row.dead.cast_unsigned(),
        });
        Ok(backlog.collect())
    }

    /// Why nothing is delivered to a destination, if it is disabled.
    pub async fn disabled(&self, destination: &Destination) -> Result<Option<String>, Error> {
        #[derive(FromQueryResult)]
        struct Disabled {
            disabled: Option<String>,
        }
        let sql = "SELECT disabled FROM delivery_destinations WHERE id = $1";
        let rows: Vec<Disabled> =
            query(&self.db, "read a destination", sql, [destination.id.into()]).await?;
        Ok(rows.into_iter().next().and_then(|row| row.disabled))
    }

    /// Delivers nothing to a destination until it is enabled.
    pub async fn disable(&self, destination: &Destination, reason: &str) -> Result<(), Error> {
        let sql = "UPDATE delivery_destinations SET disabled = $2 WHERE id = $1";
        let values = [destination.id.into(), reason.into()];
        execute(&self.db, "disable a destination", sql, values).await.map(drop)
    }

    /// Delivers to a destination again.
    pub async fn enable(&self, destination: &Destination) -> Result<(), Error> {
        let now = dialect::of(&self.db).milliseconds();
        // The time in which nothing was attempted does not count.
        let sql = format!(
            "UPDATE deliveries SET first_due_at = {now} WHERE destination = $1 AND due_at IS NOT NULL AND first_due_at < {now}"
        );
        execute(&self.db, "renew deliveries", &sql, [destination.id.into()]).await?;
        let sql = "UPDATE delivery_destinations SET disabled = NULL WHERE id = $1";
        execute(&self.db, "enable a destination", sql, [destination.id.into()]).await.map(drop)
    }
}
