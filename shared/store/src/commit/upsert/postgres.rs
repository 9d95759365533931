//! The upsert in PostgreSQL: two statements of a fixed text, with one array per column; the second for so many rows at
//! once.
//!
//! The first looks at the rows there are, by their ids alone: a record that needs no writing never travels to the
//! server, and its row is spared its lock and its WAL. The second writes the others. What it is told may be out of date by
//! then: its own guard decides where somebody else wrote in between, and its answer is what counts.

use std::{collections::HashMap, fmt::Write as _};

use chrono::{DateTime, Utc};
use jetline_records::Table;
use sea_orm::{ConnectionTrait, FromQueryResult, Value, sea_query::ArrayType};

use super::{
    Judged, Written,
    change::{Change, Old, OldRow},
    on_conflict,
};
use crate::{Error, backend::query};

/// Rows of one statement at most. A statement holds its rows several times over, here and in the server, which beyond a
/// few thousand costs memory and saves no time any more.
const ROWS: usize = 2000;

pub(super) async fn upsert(
    tx: &impl ConnectionTrait,
    table: &Table,
    rows: Vec<(usize, Judged)>,
    now: DateTime<Utc>,
    written: &mut [Written],
) -> Result<(), Error> {
    let old = look_up(tx, table, &rows).await?;
    let mut write = Vec::with_capacity(rows.len());
    for ((chunk, judged), old) in rows.into_iter().zip(&old) {
        match Change::of(old.as_ref(), &judged) {
            Change::Superseded => written[chunk].superseded += 1,
            Change::Nothing => written[chunk].unchanged += 1,
            Change::Insert | Change::Update | Change::Raise => write.push((chunk, judged)),
        }
    }
    if write.is_empty() {
        return Ok(());
    }
    let mut chunks: HashMap<i64, usize> = write
        .iter()
        .map(|(chunk, judged)| (judged.position.get(), *chunk))
        .collect();
    let mut done = Vec::new();
    while !write.is_empty() {
        let behind = write.split_off(ROWS.min(write.len()));
        done.extend(insert(tx, table, write, now).await?);
        write = behind;
    }
    for done in done {
        let mut note = |positions: Option<Vec<i64>>, count: fn(&mut Written) -> &mut u64| {
            for position in positions.into_iter().flatten() {
                if let Some(chunk) = chunks.remove(&position) {
                    *count(&mut written[chunk]) += 1;
                }
            }
        };
        note(done.inserted, |written| &mut written.inserted);
        note(done.updated, |written| &mut written.updated);
        note(done.raised, |written| &mut written.unchanged);
    }
    for chunk in chunks.into_values() {
        written[chunk].superseded += 1;
    }
    Ok(())
}

/// The rows that there are, in the order of the records, which is that of their ids.
///
/// That the plan goes through the primary key, whatever it thinks of the table's size, rests on our connections
/// (`enable_seqscan` in `database.rs`).
async fn look_up(
    tx: &impl ConnectionTrait,
    table: &Table,
    rows: &[(usize, Judged)],
) -> Result<Vec<Option<Old>>, Error> {
    let version = table
        .version
        .map_or("0::bigint".to_owned(), |version| format!("\"{version}\""));
    let sql = format!(
        "SELECT \"{id}\" AS id, \"fingerprint\", \"position\", {version} AS version
         FROM \"{name}\" WHERE \"{id}\" = ANY($1)",
        name = table.name,
        id = table.id,
    );
    let ids = array(rows.iter().map(|(_, judged)| judged.row.key.clone().into()));
    let found: Vec<OldRow> = query(tx, "read rows", &sql, [ids]).await?;
    let mut old: Vec<Option<Old>> = rows.iter().map(|_| None).collect();
    for row in found {
        let (key, row) = row
            .with_key(table.id_type)
            .map_err(|error| Error::of("read rows", error))?;
        if let Ok(place) = rows.binary_search_by(|(_, judged)| judged.row.key.cmp(&key)) {
            old[place] = Some(row);
        }
    }
    Ok(old)
}

/// What was done, by the positions of the lines; those that are missing met a row of a higher rank.
#[derive(FromQueryResult)]
struct Done {
    inserted: Option<Vec<i64>>,
    updated: Option<Vec<i64>>,
    raised: Option<Vec<i64>>,
}

async fn insert(
    tx: &impl ConnectionTrait,
    table: &Table,
    rows: Vec<(usize, Judged)>,
    now: DateTime<Utc>,
) -> Result<Vec<Done>, Error> {
    let values = arrays(table, rows, now);
    query(tx, "upsert records", &statement(table), values).await
}

/// The parameters of [`statement`]: the time, then the columns. An array cannot hold NULL, so that a column that may goes
/// with a second array that says where.
///
/// The values are moved, not copied: they are nearly all that a record takes.
fn arrays(table: &Table, rows: Vec<(usize, Judged)>, now: DateTime<Utc>) -> Vec<Value> {
    let column = || Vec::<Value>::with_capacity(rows.len());
    let (mut fingerprints, mut positions) = (column(), column());
    let mut columns: Vec<Vec<Value>> = table.columns.iter().map(|_| column()).collect();
    for (_, Judged { row, position, .. }) in rows {
        fingerprints.push(row.fingerprint.as_bytes().to_vec().into());
        positions.push(position.get().into());
        for (column, value) in columns.iter_mut().zip(row.values) {
            column.push(value);
        }
    }
    let mut values = vec![now.into(), array(fingerprints), array(positions)];
    for (column, mut of_rows) in table.columns.iter().zip(columns) {
        if column.nullable {
            let is_null: Vec<bool> = of_rows.iter().map(is_null).collect();
            for (value, is_null) in of_rows.iter_mut().zip(&is_null) {
                if *is_null {
                    *value = value.dummy_value();
                }
            }
            values.push(array(of_rows));
            values.push(array(is_null.into_iter().map(Value::from)));
        } else {
            values.push(array(of_rows));
        }
    }
    values
}

fn is_null(value: &Value) -> bool {
    *value == value.as_null()
}

fn array(values: impl IntoIterator<Item = Value>) -> Value {
    let values: Vec<Value> = values.into_iter().collect();
    let element = values.first().map_or(ArrayType::Bool, Value::array_type);
    Value::Array(element, Some(Box::new(values)))
}

/// Writes the rows in the order in which they come, which is that of their ids.
///
/// `unnest` stands in the list of what is selected, where PostgreSQL goes through all arrays at once; in a `FROM` it would
/// first copy each of them to a store of its own. Nothing in the plan sorts or joins, so that the order stays.
fn statement(table: &Table) -> String {
    let mut unnested = String::from("unnest($2) AS \"fingerprint\", unnest($3) AS \"position\"");
    let mut selected = String::from("n.\"fingerprint\", n.\"position\", $1");
    let mut into = String::from("\"fingerprint\", \"position\", \"updated_at\"");
    let mut next = 4;
    for column in &table.columns {
        let name = column.name;
        let _ = write!(unnested, ", unnest(${next}) AS \"{name}\"");
        let _ = write!(into, ", \"{name}\"");
        next += 1;
        if column.nullable {
            // A name that no record's column has.
            let _ = write!(unnested, ", unnest(${next}) AS \"#{name}_is_null\"");
            let _ = write!(
                selected,
                ", CASE WHEN NOT n.\"#{name}_is_null\" THEN n.\"{name}\" END"
            );
            next += 1;
        } else {
            let _ = write!(selected, ", n.\"{name}\"");
        }
    }
    format!(
        "WITH new AS (
             INSERT INTO \"{name}\" ({into}) SELECT {selected} FROM (SELECT {unnested}) n
             {on_conflict}
             RETURNING \"position\", xmax = 0 AS inserted, \"updated_at\" = $1 AS changed)
         SELECT array_agg(\"position\") FILTER (WHERE inserted) AS inserted,
             array_agg(\"position\") FILTER (WHERE NOT inserted AND changed) AS updated,
             array_agg(\"position\") FILTER (WHERE NOT inserted AND NOT changed) AS raised
         FROM new",
        name = table.name,
        on_conflict = on_conflict(table),
    )
}
