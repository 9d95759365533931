//! The upsert in SQLite, where only one transaction at a time writes: what it reads first cannot change.

use std::{
    collections::{HashMap, HashSet},
    iter,
};

use chrono::{DateTime, Utc};
use futures::future;
use jetline_core::{Change, Key, Position};
use jetline_datasets::Dataset;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Value};
use serde::Deserialize;

use super::values::{parameter, version};
use crate::{
    error::Error,
    statement::{execute, query, value},
    upsert::{
        SentRow, UpsertRow, Upserted,
        change::{StoredRow, UntypedRow},
        columns, on_conflict,
    },
};

/// Maximum number of parameters of one statement; SQLite's limit is 32,766.
const MAX_PARAMETERS: usize = 4000;

pub(super) async fn upsert(
    tx: &impl ConnectionTrait,
    dataset: &Dataset,
    rows: Vec<(usize, UpsertRow)>,
    now: DateTime<Utc>,
    rewrite: bool,
    upserted: &mut Upserted,
) -> Result<(), Error> {
    let keys: Vec<Key> = rows.iter().map(|(_, one)| one.row.key.clone()).collect();
    let stored = read(tx, dataset, &keys).await?;
    let mut write = Vec::with_capacity(rows.len());
    let mut changes = Vec::with_capacity(rows.len());
    for (chunk, new) in rows {
        let row = SentRow::of(dataset, &new);
        match StoredRow::change(stored.get(&new.row.key), &new, rewrite) {
            change @ (Change::Superseded | Change::Nothing) => {
                upserted.count(dataset, chunk, change, row);
            }
            change => {
                changes.push((chunk, change, row));
                write.push(new);
            }
        }
    }
    insert(tx, dataset, write, now, upserted).await?;
    let suppressed: HashSet<Position> = upserted.suppressed.iter().copied().collect();
    for (chunk, change, row) in changes {
        if !suppressed.contains(&row.position) {
            upserted.count(dataset, chunk, change, row);
        }
    }
    Ok(())
}

async fn read(
    tx: &impl ConnectionTrait,
    dataset: &Dataset,
    keys: &[Key],
) -> Result<HashMap<Key, StoredRow>, Error> {
    const ACTION: &str = "read rows";
    let mut stored = HashMap::with_capacity(keys.len());
    let mut rest = keys;
    for size in batch_sizes(keys.len(), MAX_PARAMETERS) {
        let batch;
        (batch, rest) = rest.split_at(size);
        let sql = format!(
            "SELECT json_group_array(json_array(\"{id}\", {version}, \"jetline_position\", hex(\"jetline_fingerprint\"))) AS rows
             FROM \"{name}\" WHERE \"{id}\" IN ({keys})",
            id = dataset.key().name,
            name = dataset.name,
            version = dataset.version().map_or("0".to_owned(), version),
            keys = parameters(batch.len()),
        );
        let keys = batch.iter().map(value);
        for found in query::<Found>(tx, ACTION, &sql, keys).await? {
            for row in found.rows().map_err(|error| Error::classify(ACTION, error))? {
                let (key, row) =
                    row.with_key(dataset).map_err(|error| Error::classify(ACTION, error))?;
                stored.insert(key, row);
            }
        }
    }
    Ok(stored)
}

/// Rows in one text: SQLite's thread would wake this task for each row of a result, which takes longer than to find it.
#[derive(FromQueryResult)]
struct Found {
    rows: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Int(i64),
    Text(String),
}

impl Found {
    fn rows(&self) -> Result<impl Iterator<Item = UntypedRow>, DbErr> {
        let rows: Result<Vec<(Id, i64, i64, String)>, _> = serde_json::from_str(&self.rows);
        let rows = rows.map_err(|error| DbErr::Type(error.to_string()))?;
        Ok(rows.into_iter().map(|(id, version, position, digits)| UntypedRow {
            id: match id {
                Id::Int(id) => Ok(id),
                Id::Text(id) => Err(id),
            },
            version,
            position,
            // Another length is refused later.
            fingerprint: match u128::from_str_radix(&digits, 16) {
                Ok(number) if digits.len() == 32 => number.to_be_bytes().into(),
                _ => Vec::new(),
            },
        }))
    }
}

/// The sizes of batches of up to `most` rows: powers of two, so that there are few different statements to prepare.
fn batch_sizes(rows: usize, most: usize) -> impl Iterator<Item = usize> {
    let mut rest = rows;
    iter::from_fn(move || {
        let size = 1 << rest.min(most).checked_ilog2()?;
        rest -= size;
        Some(size)
    })
}

/// Parameters without numbers: SQLite looks each numbered one up among all before it.
fn parameters(count: usize) -> String {
    vec!["?"; count].join(", ")
}

async fn insert(
    tx: &impl ConnectionTrait,
    dataset: &Dataset,
    rows: Vec<UpsertRow>,
    now: DateTime<Utc>,
    upserted: &mut Upserted,
) -> Result<(), Error> {
    let mut sizes = batch_sizes(rows.len(), MAX_PARAMETERS / columns(dataset).len());
    let mut rows = rows.into_iter();
    let mut next = || {
        let size = sizes.next()?;
        let mut sent = Vec::with_capacity(size);
        let mut values = Vec::with_capacity(size * columns(dataset).len());
        for new in rows.by_ref().take(size) {
            sent.push((new.row.key.clone(), new.position));
            values.extend(self::values(new, now));
        }
        Some((statement(dataset, &tuples(dataset, size)), sent, values))
    };
    let mut batch = next();
    while let Some((sql, sent, values)) = batch {
        // The next statement is built while SQLite's thread runs this one.
        let run = execute(tx, "upsert records", &sql, values);
        let (written, built) = future::join(run, async { next() }).await;
        let written = written?;
        upserted.any_written |= written > 0;
        if written != sent.len() as u64 {
            not_written(tx, dataset, &sent, upserted).await?;
        }
        batch = built;
    }
    Ok(())
}

pub(super) async fn insert_history(
    tx: &impl ConnectionTrait,
    dataset: &Dataset,
    rows: Vec<UpsertRow>,
    now: DateTime<Utc>,
    conflict: &str,
) -> Result<(), Error> {
    let mut rows = rows.into_iter();
    for size in batch_sizes(rows.len(), MAX_PARAMETERS / columns(dataset).len()) {
        let rows = rows.by_ref().take(size);
        let sql = into(dataset, &dataset.history_table(), &tuples(dataset, size));
        let values: Vec<Value> = rows.flat_map(|new| values(new, now)).collect();
        execute(tx, "write the history", &format!("{sql} {conflict}"), values).await?;
    }
    Ok(())
}

/// `VALUES` with placeholders for rows.
fn tuples(dataset: &Dataset, rows: usize) -> String {
    let tuple = format!("({})", parameters(columns(dataset).len()));
    format!("VALUES {}", vec![tuple; rows].join(", "))
}

/// Runs the statement of [`insert`] so that it writes no row.
pub(super) async fn insert_nothing(
    tx: &impl ConnectionTrait,
    dataset: &Dataset,
    row: UpsertRow,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let of_row = parameters(columns(dataset).len());
    let sql = statement(dataset, &format!("SELECT {of_row} WHERE false"));
    execute(tx, "upsert records", &sql, values(row, now)).await.map(drop)
}

/// Writes the rows of a `VALUES` or `SELECT`; the parameters of each row are those of [`values`].
fn statement(dataset: &Dataset, rows: &str) -> String {
    format!("{} {}", into(dataset, &dataset.name, rows), on_conflict(dataset))
}

fn into(dataset: &Dataset, table: &str, rows: &str) -> String {
    let names = columns(dataset).into_iter().map(|column| format!("{column:?}"));
    format!("INSERT INTO {table:?} ({}) {rows}", names.collect::<Vec<_>>().join(", "))
}

fn values(new: UpsertRow, now: DateTime<Utc>) -> impl Iterator<Item = Value> {
    let ours: [Value; 3] =
        [new.row.fingerprint.as_bytes().to_vec().into(), new.position.get().into(), now.into()];
    new.row.values.into_iter().map(parameter).chain(ours)
}

/// No other transaction writes: a row without the new position was suppressed by a trigger.
async fn not_written(
    tx: &impl ConnectionTrait,
    dataset: &Dataset,
    sent: &[(Key, Position)],
    upserted: &mut Upserted,
) -> Result<(), Error> {
    let keys: Vec<Key> = sent.iter().map(|(key, _)| key.clone()).collect();
    let rows = read(tx, dataset, &keys).await?;
    let missing = sent
        .iter()
        .filter(|(key, position)| rows.get(key).is_none_or(|row| row.rank.position != *position));
    let missing = missing.map(|(_, position)| *position);
    upserted.suppressed.extend(missing);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_have_every_row_once_and_few_sizes() {
        let sizes = |rows, most| batch_sizes(rows, most).collect::<Vec<_>>();
        assert!(sizes(0, 300).is_empty());
        assert_eq!(sizes(1, 300), [1]);
        assert_eq!(sizes(700, 300), [256, 256, 128, 32, 16, 8, 4]);
        assert_eq!(sizes(3, 1), [1, 1, 1]);
    }
}
