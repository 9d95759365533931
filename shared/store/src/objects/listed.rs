//! The new objects of a listing until they are registered. Their pages come in any order; their numbers have one order over all pages
//! and sources.

use chrono::{DateTime, TimeDelta, Utc};
use jetline_core::ObjectVersion;
use sea_orm::{FromQueryResult, Value};

use super::{
    NewObject, ObjectLedger,
    register::{BATCH, register_new},
};
use crate::{
    Error,
    dialect::{self, Lock},
    statement::{execute, placeholders, query},
    transaction::Transaction,
};

/// When there are more in memory, all are moved to the table.
const MAX_IN_MEMORY: usize = 1_000;

/// A listing that has stored nothing for this time is taken for abandoned.
const ABANDONED_AFTER: TimeDelta = TimeDelta::days(1);

const COLUMNS: usize = 5;

/// The new objects of a listing, in the order in which they are to be registered.
pub struct ListedObjects {
    ledger: ObjectLedger,
    listing_id: String,
    order_key: fn(&ObjectVersion) -> Vec<u8>,
    /// Those that were added last; all before them are in the table.
    in_memory: Vec<Listed>,
    count: usize,
    uses_table: bool,
}

/// An object. Objects are ordered by their keys of order, and then as they were added.
struct Listed {
    order_key: Vec<u8>,
    sequence: i64,
    object: NewObject,
}

#[derive(FromQueryResult)]
struct Row {
    order_key: Vec<u8>,
    sequence: i64,
    object: String,
}

impl ObjectLedger {
    /// No objects yet, for a listing of this id, which no other one has. They will be registered in the order of the bytes of
    /// `order_key`, and where these are the same, as they are added.
    #[must_use]
    pub fn listed_objects(
        &self,
        listing_id: String,
        order_key: fn(&ObjectVersion) -> Vec<u8>,
    ) -> ListedObjects {
        ListedObjects {
            ledger: self.clone(),
            listing_id,
            order_key,
            in_memory: Vec::new(),
            count: 0,
            uses_table: false,
        }
    }

    /// Removes the objects of a listing from the table.
    pub async fn remove_listing(&self, listing_id: &str) -> Result<(), Error> {
        let sql = "DELETE FROM listed_objects WHERE listing_id = $1";
        execute(&self.db, "remove listed objects", sql, [listing_id.into()]).await.map(drop)
    }

    /// Removes the objects of listings that ended without removing them; returns how many objects.
    pub async fn remove_abandoned_listings(&self, now: DateTime<Utc>) -> Result<u64, Error> {
        let sql = "DELETE FROM listed_objects WHERE listing_id NOT IN
             (SELECT listing_id FROM listed_objects WHERE listed_at >= $1)";
        let values = [(now - ABANDONED_AFTER).into()];
        execute(&self.db, "remove abandoned listings", sql, values).await
    }
}

impl ListedObjects {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether the table may have some of them. They stay there until they are [removed](ObjectLedger::remove_listing).
    #[must_use]
    pub fn uses_table(&self) -> bool {
        self.uses_table
    }

    fn in_table(&self) -> usize {
        self.count - self.in_memory.len()
    }

    /// Adds objects.
    pub async fn add(&mut self, objects: Vec<NewObject>) -> Result<(), Error> {
        for object in objects {
            let order_key = (self.order_key)(&object.version);
            self.in_memory.push(Listed { order_key, sequence: to_i64(self.count), object });
            self.count += 1;
            if self.in_memory.len() > MAX_IN_MEMORY {
                self.store().await?;
            }
        }
        Ok(())
    }

    /// Keeps only as many of the first ones.
    pub async fn truncate(&mut self, count: usize) -> Result<(), Error> {
        let in_table = self.in_table();
        if in_table > count {
            let sql = "DELETE FROM listed_objects WHERE listing_id = $1 AND sequence >= $2";
            let values = [self.listing_id.as_str().into(), to_i64(count).into()];
            execute(&self.ledger.db, "remove listed objects", sql, values).await?;
        }
        self.in_memory.truncate(count.saturating_sub(in_table));
        self.count = self.count.min(count);
        Ok(())
    }

    /// Registers those that are not in the ledger with their dataset; returns how many.
    pub async fn register(&mut self) -> Result<usize, Error> {
        if !self.uses_table {
            let mut listed = std::mem::take(&mut self.in_memory);
            listed.sort_by(|a, b| (&a.order_key, a.sequence).cmp(&(&b.order_key, b.sequence)));
            let objects: Vec<NewObject> = listed.into_iter().map(|listed| listed.object).collect();
            return self.ledger.register(&objects).await;
        }
        self.store().await?;
        let now = (self.ledger.now)();
        let tx = Transaction::begin(&self.ledger.db).await?;
        dialect::of(&tx).lock(&tx, Lock::Registration).await?;
        let (mut read, mut new) = (0, 0);
        let mut after: (Vec<u8>, i64) = (Vec::new(), -1);
        loop {
            let rows = self.rows(&tx, after).await?;
            let Some(last) = rows.last() else { break };
            after = (last.order_key.clone(), last.sequence);
            read += rows.len();
            let objects = rows.iter().map(|row| serde_json::from_str(&row.object));
            let objects: Vec<NewObject> = objects
                .collect::<Result<_, _>>()
                .map_err(|error| Error::Corrupt(format!("an object of a listing: {error}")))?;
            new += register_new(&tx, &objects, now).await?;
        }
        if read != self.count {
            return Err(Error::ListingLost { read, listed: self.count });
        }
        tx.commit("register objects").await?;
        Ok(new)
    }

    async fn rows(
        &self,
        tx: &Transaction,
        (order_key, sequence): (Vec<u8>, i64),
    ) -> Result<Vec<Row>, Error> {
        let sql = format!(
            "SELECT order_key, sequence, object FROM listed_objects
             WHERE listing_id = $1 AND (order_key, sequence) > ($2, $3)
             ORDER BY order_key, sequence LIMIT {BATCH}"
        );
        let values = [self.listing_id.as_str().into(), order_key.into(), sequence.into()];
        query(tx, "read listed objects", &sql, values).await
    }

    /// Moves those in memory to the table. After a failure they are no longer in memory, and any of them may be in the table.
    async fn store(&mut self) -> Result<(), Error> {
        self.uses_table = true;
        let now = (self.ledger.now)();
        for batch in std::mem::take(&mut self.in_memory).chunks(BATCH) {
            let mut values: Vec<Value> = Vec::with_capacity(batch.len() * COLUMNS);
            for Listed { order_key, sequence, object } in batch {
                let object = serde_json::to_string(object)
                    .map_err(|error| Error::Corrupt(format!("an object of a listing: {error}")))?;
                values.extend([
                    self.listing_id.as_str().into(),
                    order_key.clone().into(),
                    (*sequence).into(),
                    object.into(),
                    now.into(),
                ]);
            }
            let rows = (0..batch.len()).map(|row| placeholders(row * COLUMNS + 1, COLUMNS));
            let rows: Vec<String> = rows.map(|row| format!("({row})")).collect();
            let sql = format!(
                "INSERT INTO listed_objects (listing_id, order_key, sequence, object, listed_at) VALUES {}",
                rows.join(", ")
            );
            execute(&self.ledger.db, "store listed objects", &sql, values).await?;
        }
        Ok(())
    }
}

fn to_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
