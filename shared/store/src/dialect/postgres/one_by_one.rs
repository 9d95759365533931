//! Writes rows in PostgreSQL except for those that it refuses, in one statement: a few rows at a time under a savepoint,
//! and where that fails, one by one.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use jetline_core::{Change, Position};
use jetline_datasets::Dataset;
use sea_orm::{ConnectionTrait, FromQueryResult, Value};

use super::{
    upsert::{self as bulk, Columns, MAX_ROWS, array, arrays, to_write},
    values::sql_type,
};
use crate::{
    error::{
        Error,
        class::{UNAVAILABLE_CLASSES, UNAVAILABLE_CODES},
    },
    statement::{execute, query},
    upsert::{KeyClaim, SentRow, UpsertRow, Upserted, columns, on_conflict, rank},
};

/// Number of rows that are written at a time. With one refused row in a hundred, six parts of seven have none. Rows that
/// are written one by one take three times as long.
const PART_ROWS: usize = 16;

/// Maximum length of a message that is returned: more than a rejected line stores.
const MESSAGE_CHARS: usize = 2 << 10;

/// Positions of rows by what became of them.
#[derive(FromQueryResult)]
struct Outcome {
    inserted: Vec<i64>,
    updated: Vec<i64>,
    raised: Vec<i64>,
    superseded: Vec<i64>,
    failed: Vec<i64>,
    /// Empty where a trigger suppressed the row.
    codes: Vec<String>,
    messages: Vec<String>,
}

/// Writes rows one by one in the server, and counts those that are written. Returns those that are not, with SQLSTATE and
/// message; none where a trigger suppressed the row. Fails with an error that is not caused by a row.
///
/// One statement per row would cost three round trips. The rows are passed in a setting, which needs no privilege; a
/// temporary table would.
pub(crate) async fn write(
    tx: &impl ConnectionTrait,
    dataset: &Dataset,
    rows: Vec<(usize, UpsertRow)>,
    now: DateTime<Utc>,
    rewrite: bool,
    upserted: &mut Upserted,
) -> Result<HashMap<Position, Option<(String, String)>>, Error> {
    let mut write = to_write(tx, dataset, rows, rewrite, &mut upserted.written).await?;
    // In the order of other commits: where ids are claimed, they write new rows before they lock stored ones.
    if write.iter().any(|(_, (_, row))| row.claim != KeyClaim::None) {
        write.sort_by_key(|(change, _)| *change != Change::Insert);
    }
    let mut write: Vec<_> = write.into_iter().map(|(_, row)| row).collect();
    // All rows are passed before the first of them is locked.
    let mut passed = Vec::new();
    while !write.is_empty() {
        let (parts, count) = parts(&write);
        let rest = write.split_off(count);
        let (sent, mut values) = arrays(dataset, write, now);
        let number = |part: usize| Value::from(i64::try_from(part).unwrap_or(i64::MAX));
        values.push(array(parts.into_iter().map(number)));
        let setting = format!("jetline.rows_{}", passed.len());
        let sql = rows_as_setting(dataset, &setting);
        execute(tx, "pass rows", &sql, values).await?;
        passed.push((sent, statement(dataset, &setting)));
        write = rest;
    }
    let mut failed = HashMap::new();
    for (sent, statement) in passed {
        execute(tx, "write rows one by one", &statement, []).await?;
        let outcome: Vec<Outcome> = query(tx, "read what was written", OUTCOME, []).await?;
        let sent = sent.into_iter().map(|(chunk, sent)| (sent.position.get(), (chunk, sent)));
        let mut sent: HashMap<i64, (usize, SentRow)> = sent.collect();
        for outcome in outcome {
            outcome.count(dataset, &mut sent, upserted);
            failed.extend(outcome.failed());
        }
    }
    Ok(failed)
}

impl Outcome {
    /// `sent` has the row of each position, and its chunk.
    fn count(
        &self,
        dataset: &Dataset,
        sent: &mut HashMap<i64, (usize, SentRow)>,
        upserted: &mut Upserted,
    ) {
        let written = [&self.inserted, &self.updated, &self.raised];
        upserted.any_written |= written.iter().any(|positions| !positions.is_empty());
        for (change, positions) in [
            (Change::Insert, &self.inserted),
            (Change::Update, &self.updated),
            (Change::Raise, &self.raised),
            (Change::Superseded, &self.superseded),
        ] {
            for position in positions {
                if let Some((chunk, row)) = sent.remove(position) {
                    upserted.count(dataset, chunk, change, row);
                }
            }
        }
    }

    /// The rows that were not written, and why.
    fn failed(self) -> impl Iterator<Item = (Position, Option<(String, String)>)> {
        let positions = self.failed.into_iter().filter_map(Position::from_number);
        let answers = self.codes.into_iter().zip(self.messages);
        positions.zip(answers.map(|answer| (!answer.0.is_empty()).then_some(answer)))
    }
}

/// The numbers of the parts of the first rows, and how many rows these are. The rows of one id are a part of their own:
/// together they are refused, and one by one the first that is not refused is written.
fn parts(rows: &[(usize, UpsertRow)]) -> (Vec<usize>, usize) {
    let mut parts = Vec::with_capacity(rows.len().min(MAX_ROWS));
    let (mut part, mut rows_in_part) = (0, 0);
    for of_one_id in rows.chunk_by(|(_, a), (_, b)| a.row.key == b.row.key) {
        if !parts.is_empty() && parts.len() + of_one_id.len() > MAX_ROWS {
            break;
        }
        if rows_in_part > 0 && (of_one_id.len() > 1 || rows_in_part == PART_ROWS) {
            (part, rows_in_part) = (part + 1, 0);
        }
        parts.extend(of_one_id.iter().map(|_| part));
        rows_in_part += 1;
        if of_one_id.len() > 1 {
            (part, rows_in_part) = (part + 1, 0);
        }
    }
    let count = parts.len();
    (parts, count)
}

/// Stores parts of the rows in a setting, as JSON, until the end of the transaction.
fn rows_as_setting(dataset: &Dataset, setting: &str) -> String {
    let Columns { unnested, selected, next, .. } = bulk::columns(dataset);
    format!(
        "SELECT set_config('{setting}', (SELECT json_agg(p.part ORDER BY p.number)
                 FROM (SELECT r.\"#part\" AS number, json_agg(r ORDER BY r.\"#row\") AS part
                     FROM (SELECT {selected}, n.\"#row\", n.\"#part\"
                         FROM (SELECT {unnested}, generate_subscripts($2, 1) AS \"#row\",
                             unnest(${next}) AS \"#part\") n) r
                     GROUP BY 1) p)::text, true) IS NOT NULL AS is_set"
    )
}

/// Writes the rows of [`rows_as_setting`]. Where a part is refused, or has fewer rows afterwards than it should, writing its
/// rows one by one says which and why.
fn statement(dataset: &Dataset, setting: &str) -> String {
    let own = dataset.stored();
    let own = own.map(|column| format!(", \"{}\" {}", column.name, sql_type(column.column_type)));
    let recordset = format!(
        "json_to_recordset(part)
             AS n(\"jetline_fingerprint\" bytea, \"jetline_position\" bigint, \"jetline_changed_at\" timestamptz{})",
        own.collect::<String>()
    );
    format!(
        "DO $jetline$
         #variable_conflict use_column
         {DECLARATIONS}
         BEGIN
             FOR part IN SELECT json_array_elements(current_setting('{setting}')::json) LOOP
                 IF jetline_part_time IS NULL THEN
                     jetline_part_time := (part->0->>'jetline_changed_at')::timestamptz;
                 END IF;
                 BEGIN
                     {together}
                 EXCEPTION WHEN OTHERS OR ASSERT_FAILURE THEN
                     {raise_unavailable}
                     FOR jetline_new_row IN SELECT * FROM {recordset} LOOP
                         BEGIN
                             {alone}
                         EXCEPTION WHEN OTHERS OR ASSERT_FAILURE THEN
                             {raise_unavailable}
                             failed := array_append(failed, jetline_new_row.\"jetline_position\");
                             codes := array_append(codes, code);
                             messages := array_append(messages, left(message, {MESSAGE_CHARS}));
                         END;
                     END LOOP;
                 END;
             END LOOP;
             PERFORM set_config('jetline.outcome', json_build_object('inserted', inserted,
                 'updated', updated, 'raised', raised, 'superseded', superseded, 'failed', failed,
                 'codes', codes, 'messages', messages)::text, true);
         END $jetline$",
        together = together(dataset, &recordset),
        alone = alone(dataset),
        raise_unavailable = format!(
            "GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
             IF left(code, 2) IN ({}) OR code IN ({}) THEN
                 RAISE;
             END IF;",
            quoted(&UNAVAILABLE_CLASSES),
            quoted(&UNAVAILABLE_CODES)
        ),
    )
}

const DECLARATIONS: &str = "DECLARE
             part json;
             jetline_part_time timestamptz;
             jetline_new_row record;
             part_inserted bigint[];
             part_updated bigint[];
             part_raised bigint[];
             part_superseded bigint[];
             written bigint;
             is_new boolean;
             is_changed boolean;
             inserted bigint[] := '{}';
             updated bigint[] := '{}';
             raised bigint[] := '{}';
             superseded bigint[] := '{}';
             failed bigint[] := '{}';
             codes text[] := '{}';
             messages text[] := '{}';
             code text;
             message text;";

/// Writes the rows of a part together.
fn together(dataset: &Dataset, recordset: &str) -> String {
    let names: Vec<String> = columns(dataset).iter().map(|name| format!("\"{name}\"")).collect();
    let selected: Vec<String> = names.iter().map(|name| format!("n.{name}")).collect();
    format!(
        "WITH new AS (
             INSERT INTO \"{name}\" ({into}) SELECT {selected} FROM {recordset} {on_conflict}
                 RETURNING \"jetline_position\", xmax = 0 AS is_new, \"jetline_changed_at\" = jetline_part_time AS is_changed)
         SELECT array_agg(new.\"jetline_position\") FILTER (WHERE new.is_new),
             array_agg(new.\"jetline_position\") FILTER (WHERE NOT new.is_new AND new.is_changed),
             array_agg(new.\"jetline_position\") FILTER (WHERE NOT new.is_new AND NOT new.is_changed), count(*)
         FROM new INTO part_inserted, part_updated, part_raised, written;
         part_superseded := NULL;
         IF written < json_array_length(part) THEN
             SELECT array_agg(n.\"jetline_position\") FROM {recordset} JOIN \"{name}\" t
                 ON t.\"{id}\" = n.\"{id}\" AND {rank_there} > {rank} INTO part_superseded;
             IF written + COALESCE(cardinality(part_superseded), 0) < json_array_length(part) THEN
                 RAISE EXCEPTION 'rows are missing';
             END IF;
         END IF;
         inserted := inserted || part_inserted;
         updated := updated || part_updated;
         raised := raised || part_raised;
         superseded := superseded || part_superseded;",
        name = dataset.name,
        into = names.join(", "),
        selected = selected.join(", "),
        on_conflict = on_conflict(dataset),
        id = dataset.key().name,
        rank_there = rank(dataset, "t"),
        rank = rank(dataset, "n"),
    )
}

/// Writes one row.
fn alone(dataset: &Dataset) -> String {
    let names: Vec<String> = columns(dataset).iter().map(|name| format!("\"{name}\"")).collect();
    let values: Vec<String> = names.iter().map(|name| format!("jetline_new_row.{name}")).collect();
    format!(
        "INSERT INTO \"{name}\" ({into}) VALUES ({values}) {on_conflict}
             RETURNING \"jetline_position\", xmax = 0, \"jetline_changed_at\" = jetline_new_row.\"jetline_changed_at\"
             INTO written, is_new, is_changed;
         IF FOUND AND is_new THEN
             inserted := array_append(inserted, jetline_new_row.\"jetline_position\");
         ELSIF FOUND AND is_changed THEN
             updated := array_append(updated, jetline_new_row.\"jetline_position\");
         ELSIF FOUND THEN
             raised := array_append(raised, jetline_new_row.\"jetline_position\");
         ELSIF EXISTS (SELECT FROM \"{name}\" t
                 WHERE t.\"{id}\" = jetline_new_row.\"{id}\" AND {rank_there} >= {rank}) THEN
             superseded := array_append(superseded, jetline_new_row.\"jetline_position\");
         ELSE
             failed := array_append(failed, jetline_new_row.\"jetline_position\");
             codes := array_append(codes, '');
             messages := array_append(messages, '');
         END IF;",
        name = dataset.name,
        into = names.join(", "),
        values = values.join(", "),
        on_conflict = on_conflict(dataset),
        id = dataset.key().name,
        rank_there = rank(dataset, "t"),
        rank = rank(dataset, "jetline_new_row"),
    )
}

const OUTCOME: &str = "SELECT o.* FROM json_to_record(current_setting('jetline.outcome')::json)
    AS o(inserted bigint[], updated bigint[], raised bigint[], superseded bigint[], failed bigint[], codes text[],
        messages text[])";

fn quoted(codes: &[&str]) -> String {
    let quoted: Vec<String> = codes.iter().map(|code| format!("'{code}'")).collect();
    quoted.join(", ")
}
