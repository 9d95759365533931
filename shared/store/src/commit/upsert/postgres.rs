//! The upsert in PostgreSQL: one statement of a fixed text, with one array per column.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use jetline_records::Table;
use sea_orm::{ConnectionTrait, FromQueryResult, Value};

use super::{Judged, Written, columns, on_conflict, rank};
use crate::{Error, backend::query};

#[derive(FromQueryResult)]
struct ChunkRow {
    chunk: i32,
    inserted: i64,
    updated: i64,
    unchanged: i64,
    superseded: i64,
}

pub(super) async fn upsert(
    tx: &impl ConnectionTrait,
    table: &Table,
    rows: &[(usize, &Judged)],
    now: DateTime<Utc>,
    written: &mut [Written],
) -> Result<(), Error> {
    let sql = statement(table);
    let counts: Vec<ChunkRow> = query(tx, "upsert records", &sql, arrays(table, rows, now)).await?;
    for row in counts {
        let chunk = usize::try_from(row.chunk)
            .ok()
            .and_then(|chunk| written.get_mut(chunk));
        if let Some(written) = chunk {
            *written = Written {
                inserted: row.inserted.cast_unsigned(),
                updated: row.updated.cast_unsigned(),
                unchanged: row.unchanged.cast_unsigned(),
                superseded: row.superseded.cast_unsigned(),
            };
        }
    }
    Ok(())
}

/// The parameters of [`statement`]: the time, the chunk and the verdict of each row, then its columns. An array cannot
/// hold NULL, so that a column that may goes with a second array that says where.
fn arrays(table: &Table, rows: &[(usize, &Judged)], now: DateTime<Utc>) -> Vec<Value> {
    let each = |value: &dyn Fn(usize, &Judged) -> Value| {
        array(
            rows.iter()
                .map(|(chunk, judged)| value(*chunk, judged))
                .collect(),
        )
    };
    let mut values = vec![
        now.into(),
        each(&|chunk, _| i32::try_from(chunk).unwrap_or(i32::MAX).into()),
        each(&|_, judged| judged.if_changed.into()),
        each(&|_, judged| judged.row.fingerprint.as_bytes().to_vec().into()),
        each(&|_, judged| judged.position.get().into()),
    ];
    for (index, column) in table.columns.iter().enumerate() {
        if column.nullable {
            values.push(each(&|_, judged| {
                let value = &judged.row.values[index];
                if is_null(value) {
                    value.dummy_value()
                } else {
                    value.clone()
                }
            }));
            values.push(each(&|_, judged| is_null(&judged.row.values[index]).into()));
        } else {
            values.push(each(&|_, judged| judged.row.values[index].clone()));
        }
    }
    values
}

fn is_null(value: &Value) -> bool {
    *value == value.as_null()
}

fn array(values: Vec<Value>) -> Value {
    let element = values
        .first()
        .map_or(sea_orm::sea_query::ArrayType::Bool, Value::array_type);
    Value::Array(element, Some(Box::new(values)))
}

/// One statement that looks at the rows there are, writes what is to be written, and counts per chunk.
///
/// - `old` is looked up row by row through the primary key: `LATERAL … LIMIT 1` leaves the planner no other way, whatever
///   it thinks of the table's size.
/// - Rows that need no writing are left out before the upsert: that spares them their lock and their WAL. The guard of
///   the upsert itself decides where somebody else wrote in between.
fn statement(table: &Table) -> String {
    let (name, id) = (table.name, table.id);
    let mut parameters = String::from("$2, $3, $4, $5");
    // Names that no record's column has.
    let mut names = String::from("\"#chunk\", \"#if_changed\", \"fingerprint\", \"position\"");
    let mut selected = Vec::new();
    let mut next = 6;
    for column in &table.columns {
        let column_name = column.name;
        let _ = write!(parameters, ", ${next}");
        let _ = write!(names, ", \"{column_name}\"");
        next += 1;
        if column.nullable {
            let _ = write!(parameters, ", ${next}");
            let _ = write!(names, ", \"#{column_name}_is_null\"");
            next += 1;
            selected.push(format!(
                "CASE WHEN NOT n.\"#{column_name}_is_null\" THEN n.\"{column_name}\" END"
            ));
        } else {
            selected.push(format!("n.\"{column_name}\""));
        }
    }
    selected.extend(["n.\"fingerprint\"", "n.\"position\"", "$1"].map(str::to_owned));
    let into: Vec<String> = columns(table)
        .iter()
        .map(|column| format!("\"{column}\""))
        .collect();
    let version = table
        .version
        .map(|version| format!(", t.\"{version}\""))
        .unwrap_or_default();
    format!(
        "WITH n AS MATERIALIZED (SELECT * FROM unnest({parameters}) AS n ({names})),
         old AS MATERIALIZED (
             SELECT n.\"{id}\", p.* FROM n CROSS JOIN LATERAL (
                 SELECT t.\"fingerprint\", t.\"position\"{version} FROM \"{name}\" t
                 WHERE t.\"{id}\" = n.\"{id}\" LIMIT 1) p),
         new AS (
             INSERT INTO \"{name}\" ({into})
             SELECT {selected} FROM n LEFT JOIN old ON old.\"{id}\" = n.\"{id}\"
             WHERE old.\"{id}\" IS NULL OR ({old_rank} < {new_rank}
                 AND NOT (n.\"#if_changed\" AND old.\"fingerprint\" = n.\"fingerprint\"))
             ORDER BY n.\"{id}\"
             {on_conflict}
             RETURNING \"{id}\", (xmax = 0) AS inserted, \"updated_at\" = $1 AS changed),
         outcome AS (
             SELECT n.\"#chunk\" AS chunk,
                 COALESCE(new.inserted, FALSE) AS inserted,
                 NOT new.inserted AND new.changed AS updated,
                 NOT new.inserted AND NOT new.changed OR (new.\"{id}\" IS NULL AND ({old_rank} = {new_rank}
                     OR ({old_rank} < {new_rank} AND n.\"#if_changed\" AND old.\"fingerprint\" = n.\"fingerprint\")))
                     AS unchanged
             FROM n LEFT JOIN old ON old.\"{id}\" = n.\"{id}\" LEFT JOIN new ON new.\"{id}\" = n.\"{id}\")
         SELECT chunk, COUNT(*) FILTER (WHERE inserted) AS inserted, COUNT(*) FILTER (WHERE updated) AS updated,
             COUNT(*) FILTER (WHERE unchanged) AS unchanged,
             COUNT(*) FILTER (WHERE (inserted OR updated OR unchanged) IS NOT TRUE) AS superseded
         FROM outcome GROUP BY chunk",
        into = into.join(", "),
        selected = selected.join(", "),
        old_rank = rank(table, "old"),
        new_rank = rank(table, "n"),
        on_conflict = on_conflict(table),
    )
}
