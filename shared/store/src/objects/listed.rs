//! The new objects of a listing until they are registered. A listing has its pages in any order, and their numbers have one over all
//! pages and sources.

use chrono::TimeDelta;
use jetline_core::ObjectVersion;
use sea_orm::{DbErr, FromQueryResult, Value};

use super::{
    NewObject, ObjectLedger,
    register::{BATCH, register_all},
};
use crate::{
    Error,
    dialect::{self, Lock},
    error::DriverError,
    statement::{execute, placeholders, query},
    transaction::Transaction,
};

/// More objects than this are in the table, not in memory.
const MAX_IN_MEMORY: usize = 1_000;

/// Objects in the table are deleted after this time: the process that listed them has ended.
const ABANDONED_AFTER: TimeDelta = TimeDelta::days(1);

const COLUMNS: usize = 5;

/// The new objects of a listing, in the order in which they are to be registered.
pub struct ListedObjects {
    ledger: ObjectLedger,
    listing: String,
    position: fn(&ObjectVersion) -> Vec<u8>,
    in_memory: Vec<Listed>,
    in_table: usize,
    next: i64,
}

/// An object, ordered by its position and then by its number in the listing.
struct Listed {
    position: Vec<u8>,
    number: i64,
    object: NewObject,
}

#[derive(FromQueryResult)]
struct Row {
    position: Vec<u8>,
    number: i64,
    object: String,
}

impl ObjectLedger {
    /// No objects yet, for a listing of this id, which no other process has. They will be ordered by the bytes of their position,
    /// and then as they are added.
    #[must_use]
    pub fn listed_objects(
        &self,
        listing: &str,
        position: fn(&ObjectVersion) -> Vec<u8>,
    ) -> ListedObjects {
        ListedObjects {
            ledger: self.clone(),
            listing: listing.to_owned(),
            position,
            in_memory: Vec::new(),
            in_table: 0,
            next: 0,
        }
    }
}

impl ListedObjects {
    /// The number that the next object will have in this listing.
    #[must_use]
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Adds objects.
    pub async fn add(&mut self, objects: Vec<NewObject>) -> Result<(), Error> {
        for object in objects {
            let position = (self.position)(&object.version);
            self.in_memory.push(Listed { position, number: self.next, object });
            self.next += 1;
        }
        if self.in_memory.len() > MAX_IN_MEMORY { self.store().await } else { Ok(()) }
    }

    /// Removes the objects from a number on.
    pub async fn remove_from(&mut self, number: i64) -> Result<(), Error> {
        self.in_memory.retain(|listed| listed.number < number);
        if self.in_table > 0 {
            let sql = "DELETE FROM listed_objects WHERE listing = $1 AND number >= $2";
            let values = [self.listing.as_str().into(), number.into()];
            let deleted = execute(&self.ledger.db, "remove listed objects", sql, values).await?;
            self.in_table = self.in_table.saturating_sub(usize::try_from(deleted).unwrap_or(0));
        }
        Ok(())
    }

    /// Registers those that are not in the ledger with their dataset; returns their number.
    pub async fn register(mut self) -> Result<usize, Error> {
        if self.in_table == 0 {
            self.in_memory.sort_by(|a, b| (&a.position, a.number).cmp(&(&b.position, b.number)));
            let objects: Vec<NewObject> =
                self.in_memory.into_iter().map(|listed| listed.object).collect();
            return self.ledger.register(&objects).await;
        }
        self.store().await?;
        let now = (self.ledger.now)();
        let tx = Transaction::begin(&self.ledger.db).await?;
        dialect::of(&tx).lock(&tx, Lock::Registration).await?;
        let (mut read, mut new) = (0, 0);
        let mut after: (Vec<u8>, i64) = (Vec::new(), -1);
        loop {
            let rows = self.rows(&tx, &after).await?;
            let Some(last) = rows.last() else { break };
            after = (last.position.clone(), last.number);
            read += rows.len();
            let objects = rows.iter().map(|row| serde_json::from_str(&row.object));
            let objects: Vec<NewObject> = objects
                .collect::<Result<_, _>>()
                .map_err(|error| Error::Corrupt(format!("a row of listed_objects: {error}")))?;
            new += register_all(&tx, &objects, now).await?;
        }
        if read != self.in_table {
            // PostgreSQL empties the table when it recovers from a crash.
            let lost =
                format!("{} of {} listed objects are lost", self.in_table - read, self.in_table);
            let source = DriverError(DbErr::Custom(lost));
            return Err(Error::Unavailable { action: "register objects", source });
        }
        let sql = "DELETE FROM listed_objects WHERE listing = $1";
        execute(&tx, "remove listed objects", sql, [self.listing.as_str().into()]).await?;
        tx.commit("register objects").await?;
        Ok(new)
    }

    async fn rows(&self, tx: &Transaction, after: &(Vec<u8>, i64)) -> Result<Vec<Row>, Error> {
        let sql = format!(
            "SELECT position, number, object FROM listed_objects
             WHERE listing = $1 AND (position, number) > ($2, $3)
             ORDER BY position, number LIMIT {BATCH}"
        );
        let (position, number) = after.clone();
        let values = [self.listing.as_str().into(), position.into(), number.into()];
        query(tx, "read listed objects", &sql, values).await
    }

    /// Moves those in memory into the table.
    async fn store(&mut self) -> Result<(), Error> {
        let (db, now) = (&self.ledger.db, (self.ledger.now)());
        if self.in_table == 0 {
            let sql = "DELETE FROM listed_objects WHERE listing = $1 OR listed_at < $2";
            let values = [self.listing.as_str().into(), (now - ABANDONED_AFTER).into()];
            execute(db, "remove listed objects", sql, values).await?;
        }
        for batch in self.in_memory.chunks(BATCH) {
            let mut values: Vec<Value> = Vec::with_capacity(batch.len() * COLUMNS);
            for Listed { position, number, object } in batch {
                let object = serde_json::to_string(object)
                    .map_err(|error| Error::Corrupt(format!("an object is no JSON: {error}")))?;
                values.extend([
                    self.listing.as_str().into(),
                    position.clone().into(),
                    (*number).into(),
                    object.into(),
                    now.into(),
                ]);
            }
            let rows = (0..batch.len()).map(|row| placeholders(row * COLUMNS + 1, COLUMNS));
            let rows: Vec<String> = rows.map(|row| format!("({row})")).collect();
            let sql = format!(
                "INSERT INTO listed_objects (listing, position, number, object, listed_at) VALUES {}",
                rows.join(", ")
            );
            execute(db, "store listed objects", &sql, values).await?;
            self.in_table += batch.len();
        }
        self.in_memory.clear();
        Ok(())
    }
}
