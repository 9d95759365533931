//! Writes rows one by one in PostgreSQL, each under its own savepoint, in one statement.

use chrono::{DateTime, Utc};
use jetline_records::{Position, Table};
use sea_orm::{ConnectionTrait, FromQueryResult};

use super::{
    UpsertRow, Written, columns, on_conflict,
    postgres::{self, Columns, MAX_ROWS, arrays, to_write},
    rank,
};
use crate::{
    Error,
    backend::{execute, query},
    error::{UNAVAILABLE_CLASSES, UNAVAILABLE_CODES},
};

/// Maximum length of a message that is returned: more than a rejected line stores.
const MESSAGE_CHARS: usize = 2 << 10;

/// The result of writing rows one by one.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    /// Whether a row was written.
    pub(crate) any_written: bool,
    /// The rows that were not.
    pub(crate) failed: Vec<Failed>,
}

/// A row that was not written.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) position: Position,
    /// SQLSTATE and message; none where a trigger suppressed the row.
    pub(crate) answer: Option<(String, String)>,
}

#[derive(FromQueryResult)]
struct Types {
    types: Vec<String>,
}

#[derive(FromQueryResult)]
struct AttemptRow {
    written: bool,
    position: Option<i64>,
    code: Option<String>,
    message: Option<String>,
}

/// Writes rows one by one in the server. Fails with an error that is not caused by a row.
///
/// One statement per row would cost three round trips. The rows are passed in a setting, which needs no privilege; a
/// temporary table would.
pub(crate) async fn attempt(
    tx: &impl ConnectionTrait,
    table: &Table,
    rows: Vec<UpsertRow>,
    now: DateTime<Utc>,
    rewrite: bool,
) -> Result<Attempt, Error> {
    let rows = rows.into_iter().map(|row| (0, row)).collect();
    let mut counts = [Written::default()];
    let mut write = to_write(tx, table, rows, rewrite, &mut counts).await?;
    let mut done = Attempt::default();
    while !write.is_empty() {
        let rest = write.split_off(MAX_ROWS.min(write.len()));
        let (_, values) = arrays(table, write, now);
        let types: Vec<Types> = query(tx, "pass rows", &rows_as_setting(table), values).await?;
        let types = types.into_iter().next().map_or(Vec::new(), |row| row.types);
        execute(tx, "write rows one by one", &statement(table, &types, rewrite), []).await?;
        let found: Vec<AttemptRow> =
            query(tx, "read what was not written", NOT_WRITTEN, []).await?;
        for row in found {
            done.any_written |= row.written;
            let Some(position) = row.position.and_then(Position::from_number) else {
                continue;
            };
            let answer = row.code.zip(row.message);
            done.failed.push(Failed { position, answer });
        }
        write = rest;
    }
    Ok(done)
}

/// Stores rows in a setting, as JSON, until the end of the transaction; returns the types of the record's columns.
fn rows_as_setting(table: &Table) -> String {
    let Columns { unnested, selected, arrays, .. } = postgres::columns(table);
    format!(
        "SELECT set_config('jetline.rows',
                 (SELECT json_agg(r) FROM (SELECT {selected} FROM (SELECT {unnested}) n) r)::text, true)
                 IS NOT NULL AS is_set,
             ARRAY[{}] AS types",
        arrays
            .iter()
            .map(|array| format!("rtrim(pg_typeof({array})::text, '[]')"))
            .collect::<Vec<_>>()
            .join(", ")
    )
}

/// Writes the rows of [`rows_as_setting`] as a commit does, but one by one.
fn statement(table: &Table, types: &[String], rewrite: bool) -> String {
    let own = table.columns.iter().zip(types);
    let own = own.map(|(column, of_column)| format!(", \"{}\" {of_column}", column.name));
    let names = columns(table);
    let into: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let values: Vec<String> = into.iter().map(|name| format!("new_row.{name}")).collect();
    format!(
        "DO $jetline$
         #variable_conflict use_column
         DECLARE
             new_row record;
             written bigint;
             any_written boolean := false;
             positions bigint[] := '{{}}';
             codes text[] := '{{}}';
             messages text[] := '{{}}';
             code text;
             message text;
         BEGIN
             FOR new_row IN SELECT * FROM json_to_recordset(current_setting('jetline.rows')::json)
                 AS n(\"fingerprint\" bytea, \"position\" bigint, \"updated_at\" timestamptz{own})
             LOOP
                 BEGIN
                     INSERT INTO \"{name}\" ({into}) VALUES ({values}) {on_conflict}
                         RETURNING \"position\" INTO written;
                     IF FOUND THEN
                         any_written := true;
                     ELSIF NOT EXISTS (SELECT FROM \"{name}\" t
                             WHERE t.\"{id}\" = new_row.\"{id}\" AND {rank_there} >= {rank}) THEN
                         positions := array_append(positions, new_row.\"position\");
                         codes := array_append(codes, NULL);
                         messages := array_append(messages, NULL);
                     END IF;
                 EXCEPTION WHEN OTHERS OR ASSERT_FAILURE THEN
                     GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
                     IF left(code, 2) IN ({classes}) OR code IN ({codes}) THEN
                         RAISE;
                     END IF;
                     positions := array_append(positions, new_row.\"position\");
                     codes := array_append(codes, code);
                     messages := array_append(messages, left(message, {MESSAGE_CHARS}));
                 END;
             END LOOP;
             PERFORM set_config('jetline.not_written', jsonb_build_object('any_written', any_written,
                 'positions', positions, 'codes', codes, 'messages', messages)::text, true);
         END $jetline$",
        own = own.collect::<String>(),
        name = table.name,
        into = into.join(", "),
        values = values.join(", "),
        on_conflict = on_conflict(table, rewrite),
        id = table.id,
        rank_there = rank(table, "t"),
        rank = rank(table, "new_row"),
        classes = quoted(&UNAVAILABLE_CLASSES),
        codes = quoted(&UNAVAILABLE_CODES),
    )
}

const NOT_WRITTEN: &str = "SELECT (a.answer->>'any_written')::boolean AS written, f.position::bigint AS position, f.code, f.message
    FROM (SELECT current_setting('jetline.not_written')::jsonb AS answer) a
    LEFT JOIN LATERAL ROWS FROM (jsonb_array_elements_text(a.answer->'positions'),
        jsonb_array_elements_text(a.answer->'codes'), jsonb_array_elements_text(a.answer->'messages'))
        AS f(position, code, message) ON true";

fn quoted(codes: &[&str]) -> String {
    let quoted: Vec<String> = codes.iter().map(|code| format!("'{code}'")).collect();
    quoted.join(", ")
}
