//! The upsert in SQLite, whose transaction is the only one that writes: what it reads first stays true.

use std::{collections::HashMap, iter};

use chrono::{DateTime, Utc};
use jetline_records::{Key, Position, Table};
use sea_orm::{ConnectionTrait, Value};

use super::{
    Judged, Upserted,
    change::{Change, Old, OldRow},
    columns, on_conflict,
};
use crate::{
    Error,
    backend::{execute, query},
};

/// Parameters of one statement at most; SQLite's limit is 32,766.
const PARAMETERS: usize = 4000;

pub(super) async fn upsert(
    tx: &impl ConnectionTrait,
    table: &Table,
    rows: Vec<(usize, Judged)>,
    now: DateTime<Utc>,
    rewrite: bool,
    upserted: &mut Upserted,
) -> Result<(), Error> {
    let keys: Vec<Key> = rows.iter().map(|(_, one)| one.row.key.clone()).collect();
    let old = read(tx, table, &keys).await?;
    let mut write = Vec::with_capacity(rows.len());
    for (chunk, judged) in rows {
        let counts = &mut upserted.written[chunk];
        match Change::of(old.get(&judged.row.key), &judged, rewrite) {
            Change::Superseded => {
                counts.superseded += 1;
                continue;
            }
            Change::Nothing => {
                counts.unchanged += 1;
                continue;
            }
            Change::Insert => counts.inserted += 1,
            Change::Update => counts.updated += 1,
            Change::Raise => counts.unchanged += 1,
        }
        write.push(judged);
    }
    insert(tx, table, write, now, rewrite, upserted).await
}

async fn read(
    tx: &impl ConnectionTrait,
    table: &Table,
    keys: &[Key],
) -> Result<HashMap<Key, Old>, Error> {
    let mut old = HashMap::with_capacity(keys.len());
    let mut rest = keys;
    for size in batches(keys.len(), PARAMETERS) {
        let (batch, behind) = rest.split_at(size);
        rest = behind;
        let sql = format!(
            "SELECT \"{id}\" AS id, \"position\", \"fingerprint\", {version} AS version
             FROM \"{name}\" WHERE \"{id}\" IN ({keys})",
            id = table.id,
            name = table.name,
            version = table
                .version
                .map_or("0".to_owned(), |column| format!("\"{column}\"")),
            keys = parameters(batch.len()),
        );
        let keys = batch.iter().map(|key| key.clone().into());
        let found: Vec<OldRow> = query(tx, "read rows", &sql, keys).await?;
        for row in found {
            let (key, row) = row
                .with_key(table.id_type)
                .map_err(|error| Error::of("read rows", error))?;
            old.insert(key, row);
        }
    }
    Ok(old)
}

/// The sizes of batches of up to `most` rows: powers of two, so that of few different statements each is prepared once.
fn batches(rows: usize, most: usize) -> impl Iterator<Item = usize> {
    let mut rest = rows;
    iter::from_fn(move || {
        let size = 1 << rest.min(most).checked_ilog2()?;
        rest -= size;
        Some(size)
    })
}

/// So many parameters without names: SQLite looks a name up among all that came before it.
fn parameters(count: usize) -> String {
    vec!["?"; count].join(", ")
}

async fn insert(
    tx: &impl ConnectionTrait,
    table: &Table,
    rows: Vec<Judged>,
    now: DateTime<Utc>,
    rewrite: bool,
    upserted: &mut Upserted,
) -> Result<(), Error> {
    let mut rows = rows.into_iter();
    for size in batches(rows.len(), PARAMETERS / columns(table).len()) {
        let tuple = format!("({})", parameters(columns(table).len()));
        let tuples = vec![tuple; size].join(", ");
        let sql = statement(table, &format!("VALUES {tuples}"), rewrite);
        let mut sent = Vec::with_capacity(size);
        let mut values = Vec::with_capacity(size * columns(table).len());
        for judged in rows.by_ref().take(size) {
            sent.push((judged.row.key.clone(), judged.position));
            values.extend(self::values(judged, now));
        }
        let written = execute(tx, "upsert records", &sql, values).await?;
        upserted.any_written |= written > 0;
        if written != size as u64 {
            not_written(tx, table, &sent, upserted).await?;
        }
    }
    Ok(())
}

/// Runs the statement of [`insert`] so that it takes no row.
pub(super) async fn insert_nothing(
    tx: &impl ConnectionTrait,
    table: &Table,
    row: Judged,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let of_row = parameters(columns(table).len());
    let sql = statement(table, &format!("SELECT {of_row} WHERE false"), false);
    execute(tx, "upsert records", &sql, values(row, now))
        .await
        .map(drop)
}

/// Writes what `rows` gives; the values of each row are those of [`values`].
fn statement(table: &Table, rows: &str, rewrite: bool) -> String {
    let names = columns(table)
        .into_iter()
        .map(|column| format!("\"{column}\""));
    format!(
        "INSERT INTO \"{}\" ({}) {rows} {}",
        table.name,
        names.collect::<Vec<_>>().join(", "),
        on_conflict(table, rewrite)
    )
}

fn values(judged: Judged, now: DateTime<Utc>) -> impl Iterator<Item = Value> {
    let ours: [Value; 3] = [
        judged.row.fingerprint.as_bytes().to_vec().into(),
        judged.position.get().into(),
        now.into(),
    ];
    judged.row.values.into_iter().chain(ours)
}

/// Nobody else writes: a row that does not say so now was left out by a trigger.
async fn not_written(
    tx: &impl ConnectionTrait,
    table: &Table,
    sent: &[(Key, Position)],
    upserted: &mut Upserted,
) -> Result<(), Error> {
    let keys: Vec<Key> = sent.iter().map(|(key, _)| key.clone()).collect();
    let rows = read(tx, table, &keys).await?;
    let missing = sent
        .iter()
        .filter(|(key, position)| rows.get(key).is_none_or(|row| row.rank.1 != position.get()));
    let missing = missing.map(|(_, position)| *position);
    upserted.suppressed.extend(missing);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_hold_every_row_once_and_have_few_sizes() {
        let sizes = |rows, most| batches(rows, most).collect::<Vec<_>>();
        assert!(sizes(0, 300).is_empty());
        assert_eq!(sizes(1, 300), [1]);
        assert_eq!(sizes(700, 300), [256, 256, 128, 32, 16, 8, 4]);
        assert_eq!(sizes(3, 1), [1, 1, 1]);
    }
}
