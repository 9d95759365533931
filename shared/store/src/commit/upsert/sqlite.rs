//! The upsert in SQLite, whose transaction is the only one that writes: what it reads first stays true.

use std::{collections::HashMap, iter};

use chrono::{DateTime, Utc};
use jetline_records::{Key, Table};
use sea_orm::{ConnectionTrait, Value};

use super::{
    Judged, Written,
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
    written: &mut [Written],
) -> Result<(), Error> {
    let old = read(tx, table, &rows).await?;
    let mut write = Vec::with_capacity(rows.len());
    for (chunk, judged) in rows {
        let counts = &mut written[chunk];
        match Change::of(old.get(&judged.row.key), &judged) {
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
    insert(tx, table, write, now).await
}

async fn read(
    tx: &impl ConnectionTrait,
    table: &Table,
    rows: &[(usize, Judged)],
) -> Result<HashMap<Key, Old>, Error> {
    let mut old = HashMap::with_capacity(rows.len());
    let mut rest = rows;
    for size in batches(rows.len(), PARAMETERS) {
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
        let keys = batch
            .iter()
            .map(|(_, judged)| judged.row.key.clone().into());
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
) -> Result<(), Error> {
    let columns = columns(table);
    let names: Vec<String> = columns
        .iter()
        .map(|column| format!("\"{column}\""))
        .collect();
    let mut rows = rows.into_iter();
    for size in batches(rows.len(), PARAMETERS / columns.len()) {
        let tuple = format!("({})", parameters(columns.len()));
        let tuples = vec![tuple; size];
        let sql = format!(
            "INSERT INTO \"{}\" ({}) VALUES {} {}",
            table.name,
            names.join(", "),
            tuples.join(", "),
            on_conflict(table)
        );
        let values = rows.by_ref().take(size).flat_map(|judged| {
            let own = judged.row.values.into_iter();
            let ours: [Value; 3] = [
                judged.row.fingerprint.as_bytes().to_vec().into(),
                judged.position.get().into(),
                now.into(),
            ];
            own.chain(ours)
        });
        execute(tx, "upsert records", &sql, values).await?;
    }
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
