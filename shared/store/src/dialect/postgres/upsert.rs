//! The upsert in PostgreSQL: two statements with one array parameter per column, so that their texts do not depend on
//! the number of rows; the second one is run for a limited number of rows at a time.
//!
//! The first reads the stored rows by their ids: a record that needs no write is not sent, and its row is neither
//! locked nor written to the WAL. The second writes the others. A concurrent transaction may have written in between:
//! therefore the `WHERE` of its `ON CONFLICT` decides, and its result is what counts.
//!
//! Many records of ids that nobody has claimed before, and that are not in the table, are [copied](copy). A transaction with
//! a later line of such an id looks for the row again and again until it is there, and waits for no lock meanwhile.
//!
//! No two transactions wait for each other: each writes all of its new rows in the order of their ids, by one copy or by inserts that
//! leave existing rows alone, and then locks the existing ones in the order of their ids. Who waits for an existing row waits for
//! a transaction that wants no new ones any more. [Rows that are written one by one](super::one_by_one) are an exception where a new
//! row has come meanwhile: it is locked at once.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use jetline_core::{Change, Key, Rank};
use jetline_datasets::{self as datasets, Dataset};
use sea_orm::{ConnectionTrait, FromQueryResult, Value, sea_query::ArrayType};

use super::{copy, locks::EPOCH_LOCK, values};
use crate::{
    error::Error,
    statement::{execute, query, value},
    transaction::Transaction,
    upsert::{
        KeyClaim, SentRow, UpsertRow, Upserted, Written,
        change::{StoredRow, UntypedRow},
        on_conflict,
    },
};

/// Maximum number of rows of one statement. There are several copies of its rows in memory, here and in the server;
/// beyond a few thousand rows, that costs memory and saves no time.
pub(super) const MAX_ROWS: usize = 2000;

/// How long a transaction waits for rows that others have claimed when none before it is in progress. Not zero, because a claim is
/// made before its transaction begins.
const WAIT_AS_FIRST: Duration = Duration::from_millis(500);

/// How long it waits at most: one before it may hang.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How long it waits at most when another transaction wants the epoch's lock exclusively.
const LONGEST_WAIT_IF_WANTED: Duration = Duration::from_millis(500);

/// The pauses between two looks: an eighth of the time waited so far, within these bounds.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(20));
const LOOKS_PER_LOCK_CHECK: u32 = 4;

pub(super) async fn upsert(
    tx: &Transaction,
    dataset: &Dataset,
    rows: Vec<(usize, UpsertRow)>,
    now: DateTime<Utc>,
    rewrite: bool,
    upserted: &mut Upserted,
) -> Result<(), Error> {
    let (mut write, mut absent) = (Vec::new(), Vec::new());
    let (mut new, mut awaited) = (Vec::new(), Vec::new());
    for (change, row) in to_write(tx, dataset, rows, rewrite, &mut upserted.written).await? {
        match (change, row.1.claim) {
            (Change::Insert, KeyClaim::First) => new.push(row),
            (Change::Insert, KeyClaim::AfterAnother) => awaited.push(row),
            (Change::Insert, KeyClaim::Unknown) => absent.push(row),
            _ => write.push(row),
        }
    }
    let is_copied = new.len() >= copy::MIN_ROWS && copy::copy(tx, dataset, &new, now).await?;
    if !awaited.is_empty() {
        await_rows(tx, dataset, &awaited).await?;
        for (change, row) in to_write(tx, dataset, awaited, rewrite, &mut upserted.written).await? {
            if change == Change::Insert { &mut absent } else { &mut write }.push(row);
        }
    }
    if is_copied && absent.is_empty() {
        upserted.any_written = true;
        for (chunk, new) in new {
            upserted.count(dataset, chunk, Change::Insert, SentRow::of(dataset, &new));
        }
    } else {
        if is_copied {
            // All new rows of a transaction are written in the order of their ids.
            copy::take_back(tx).await?;
        }
        absent.extend(new);
    }
    write.extend(insert_absent(tx, dataset, absent, now, upserted).await?);
    insert_sorted(tx, dataset, write, now, upserted).await
}

/// Inserts rows that the table did not have, in the order of their ids. Returns those that it has by now, without a lock on them.
async fn insert_absent(
    tx: &Transaction,
    dataset: &Dataset,
    mut rows: Vec<(usize, UpsertRow)>,
    now: DateTime<Utc>,
    upserted: &mut Upserted,
) -> Result<Vec<(usize, UpsertRow)>, Error> {
    rows.sort_by(|(_, a), (_, b)| a.row.key.cmp(&b.row.key));
    let unless_there = format!("ON CONFLICT (\"{}\") DO NOTHING", dataset.key().name);
    let sql = statement(dataset, "", &unless_there);
    let mut left = Vec::new();
    while !rows.is_empty() {
        let rest = rows.split_off(MAX_ROWS.min(rows.len()));
        let (_, values) = arrays(dataset, rows.clone(), now);
        let done: Vec<Done> = query(tx, "upsert records", &sql, values).await?;
        let inserted: HashSet<i64> =
            done.into_iter().filter_map(|done| done.inserted).flatten().collect();
        upserted.any_written |= !inserted.is_empty();
        for (chunk, new) in rows {
            if inserted.contains(&new.position.get()) {
                upserted.count(dataset, chunk, Change::Insert, SentRow::of(dataset, &new));
            } else {
                left.push((chunk, new));
            }
        }
        rows = rest;
    }
    Ok(left)
}

/// Writes rows by the second statement, in the order of their ids.
async fn insert_sorted(
    tx: &Transaction,
    dataset: &Dataset,
    mut rows: Vec<(usize, UpsertRow)>,
    now: DateTime<Utc>,
    upserted: &mut Upserted,
) -> Result<(), Error> {
    // Rows of one id stay in the order of their ranks.
    rows.sort_by(|(_, a), (_, b)| a.row.key.cmp(&b.row.key));
    while !rows.is_empty() {
        let rest = rows.split_off(MAX_ROWS.min(rows.len()));
        insert(tx, dataset, rows, now, upserted).await?;
        rows = rest;
    }
    Ok(())
}

/// The rows that need a write, with the changes that they would make now; the others are counted. Rows of one id follow each
/// other, the one with the highest rank first: where that is in the table, the others are superseded.
pub(super) async fn to_write(
    tx: &impl ConnectionTrait,
    dataset: &Dataset,
    rows: Vec<(usize, UpsertRow)>,
    rewrite: bool,
    written: &mut [Written],
) -> Result<Vec<(Change, (usize, UpsertRow))>, Error> {
    let mut keys: Vec<&Key> = rows.iter().map(|(_, new)| &new.row.key).collect();
    keys.dedup();
    let stored = look_up(tx, dataset, &keys).await?;
    let ids: Vec<usize> = places(&rows);
    let mut write = Vec::with_capacity(rows.len());
    let mut stays = None;
    for ((chunk, new), id) in rows.into_iter().zip(ids) {
        match StoredRow::change(stored[id].as_ref(), &new, rewrite) {
            _ if stays == Some(id) => written[chunk].superseded += 1,
            Change::Superseded => written[chunk].superseded += 1,
            Change::Nothing => {
                written[chunk].unchanged += 1;
                stays = Some(id);
            }
            change => write.push((change, (chunk, new))),
        }
    }
    Ok(write)
}

/// Waits for the rows of ids that other transactions have claimed before, which have not committed: written now, they would
/// be in the way of those transactions. A row may never come, as that of a writer that crashed.
///
/// The wait goes on while commits to the table with lower transaction ids are in progress. So no two wait for each other longer than
/// [`WAIT_AS_FIRST`].
///
/// A transaction that wants the epoch's lock exclusively waits for this one, and later requests queue behind it, perhaps those of
/// the awaited transactions: those before this one are awaited for a short time then, others not at all.
async fn await_rows(
    tx: &impl ConnectionTrait,
    dataset: &Dataset,
    rows: &[(usize, UpsertRow)],
) -> Result<(), Error> {
    let mut missing: Vec<&Key> = rows.iter().map(|(_, new)| &new.row.key).collect();
    let begun = Instant::now();
    let mut wanted_since = None;
    for look in 1_u32.. {
        // One transaction commits many rows: until the first one is there, the others are not looked for.
        let found = look_up(tx, dataset, missing.get(..1).unwrap_or_default()).await?;
        if found.iter().any(Option::is_some) {
            let found = look_up(tx, dataset, &missing).await?;
            let mut found = found.iter();
            missing.retain(|_| found.next().is_some_and(Option::is_none));
        }
        let waited = begun.elapsed();
        if missing.is_empty() || waited > LONGEST_WAIT {
            break;
        }
        if look.is_multiple_of(LOOKS_PER_LOCK_CHECK) {
            let others = Others::of(tx, dataset).await?;
            if others.is_lock_wanted {
                let since = *wanted_since.get_or_insert_with(Instant::now);
                if !others.any_before || since.elapsed() > LONGEST_WAIT_IF_WANTED {
                    break;
                }
            } else if !others.any_before && waited > WAIT_AS_FIRST {
                break;
            }
        }
        tokio::time::sleep((waited / 8).clamp(PAUSES.0, PAUSES.1)).await;
    }
    Ok(())
}

/// What is known of the other transactions in progress.
#[derive(FromQueryResult)]
struct Others {
    /// Whether there is a commit to the same table that began to write before this one, and waits for no lock.
    any_before: bool,
    /// Whether one wants the epoch's lock, which this one has shared, exclusively.
    is_lock_wanted: bool,
}

impl Others {
    async fn of(tx: &impl ConnectionTrait, dataset: &Dataset) -> Result<Self, Error> {
        // `age` counts from this transaction's id, or from the next one if it has none yet. A lock to extend a file is held only
        // for a moment.
        let sql = format!(
            "WITH locks AS (
                SELECT pid, mode, granted OR locktype = 'extend' AS granted,
                    CASE WHEN mode = 'ExclusiveLock' THEN age(transactionid) END AS age,
                    is_here AND relation = '{table:?}'::regclass AS is_table,
                    is_here AND locktype = 'advisory' AND objsubid = 1
                        AND (classid::bigint << 32 | objid::bigint) = $1 AS is_epoch
                FROM pg_locks CROSS JOIN LATERAL (
                    SELECT database = (SELECT oid FROM pg_database WHERE datname = current_database()) AS is_here) here),
            backends AS (
                SELECT bool_or(is_epoch AND mode = 'ExclusiveLock' AND NOT granted) AS wants_lock,
                    bool_or(is_epoch AND mode = 'ShareLock') AND bool_or(is_table)
                        AND bool_and(granted) AND max(age) > 0 AS is_before
                FROM locks GROUP BY pid)
            SELECT COALESCE(bool_or(is_before), FALSE) AS any_before,
                COALESCE(bool_or(wants_lock), FALSE) AS is_lock_wanted
            FROM backends",
            table = dataset.name
        );
        let found = query(tx, "look for other transactions", &sql, [EPOCH_LOCK.into()]).await?;
        Ok(found.into_iter().next().unwrap_or(Self { any_before: false, is_lock_wanted: false }))
    }
}

/// The number of the id of each row.
fn places(rows: &[(usize, UpsertRow)]) -> Vec<usize> {
    let of_one_id = rows.chunk_by(|(_, a), (_, b)| a.row.key == b.row.key).enumerate();
    of_one_id.flat_map(|(id, rows)| rows.iter().map(move |_| id)).collect()
}

/// The stored rows, in the order of the keys.
///
/// The plan uses the primary key, whatever the statistics say of the table's size, because of `enable_seqscan` in
/// `database.rs`.
async fn look_up(
    tx: &impl ConnectionTrait,
    dataset: &Dataset,
    keys: &[&Key],
) -> Result<Vec<Option<StoredRow>>, Error> {
    let version = dataset.version().map_or("0::bigint".to_owned(), values::version);
    let sql = format!(
        "SELECT {key} AS id, \"jetline_fingerprint\", \"jetline_position\", {version} AS version
         FROM \"{name}\" WHERE \"{id}\" = ANY({keys})",
        key = values::select(dataset.key()),
        name = dataset.name,
        id = dataset.key().name,
        keys = values::keys(dataset),
    );
    let ids = array(keys.iter().map(|key| value(key)));
    let found: Vec<UntypedRow> = query(tx, "read rows", &sql, [ids]).await?;
    let mut stored: Vec<Option<StoredRow>> = keys.iter().map(|_| None).collect();
    for row in found {
        let (key, row) =
            row.with_key(dataset).map_err(|error| Error::classify("read rows", error))?;
        if let Ok(place) = keys.binary_search(&&key) {
            stored[place] = Some(row);
        }
    }
    Ok(stored)
}

/// The positions of the written rows; those that are missing met a stored row of a higher rank, or a trigger.
#[derive(FromQueryResult)]
struct Done {
    inserted: Option<Vec<i64>>,
    updated: Option<Vec<i64>>,
    raised: Option<Vec<i64>>,
}

async fn insert(
    tx: &impl ConnectionTrait,
    dataset: &Dataset,
    rows: Vec<(usize, UpsertRow)>,
    now: DateTime<Utc>,
    upserted: &mut Upserted,
) -> Result<(), Error> {
    let (sent, values) = arrays(dataset, rows, now);
    let sql = statement(dataset, "", &on_conflict(dataset));
    let done: Vec<Done> = query(tx, "upsert records", &sql, values).await?;
    let mut sent: HashMap<i64, (usize, SentRow)> =
        sent.into_iter().map(|(chunk, sent)| (sent.position.get(), (chunk, sent))).collect();
    for done in done {
        let changes = [
            (Change::Insert, done.inserted),
            (Change::Update, done.updated),
            (Change::Raise, done.raised),
        ];
        for (change, positions) in changes {
            for position in positions.into_iter().flatten() {
                if let Some((chunk, row)) = sent.remove(&position) {
                    upserted.any_written = true;
                    upserted.count(dataset, chunk, change, row);
                }
            }
        }
    }
    if sent.is_empty() {
        return Ok(());
    }
    not_written(tx, dataset, sent.into_values().collect(), upserted).await
}

/// Tells rows that met a stored row of a higher rank from those that a trigger suppressed.
async fn not_written(
    tx: &impl ConnectionTrait,
    dataset: &Dataset,
    mut sent: Vec<(usize, SentRow)>,
    upserted: &mut Upserted,
) -> Result<(), Error> {
    sent.sort_unstable_by(|(_, a), (_, b)| a.key.cmp(&b.key));
    let keys: Vec<&Key> = sent.iter().map(|(_, sent)| &sent.key).collect();
    let rows = look_up(tx, dataset, &keys).await?;
    for ((chunk, sent), row) in sent.iter().zip(rows) {
        let rank = Rank { version: sent.version, position: sent.position };
        if row.is_some_and(|row| row.rank >= rank) {
            upserted.written[*chunk].superseded += 1;
        } else {
            upserted.suppressed.push(sent.position);
        }
    }
    Ok(())
}

/// Runs the statement of [`insert`] so that it writes no row.
pub(super) async fn insert_nothing(
    tx: &impl ConnectionTrait,
    dataset: &Dataset,
    row: UpsertRow,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let (_, values) = arrays(dataset, vec![(0, row)], now);
    let sql = statement(dataset, "WHERE false", &on_conflict(dataset));
    query::<Done>(tx, "upsert records", &sql, values).await.map(drop)
}

pub(super) async fn insert_history(
    tx: &impl ConnectionTrait,
    dataset: &Dataset,
    mut rows: Vec<UpsertRow>,
    now: DateTime<Utc>,
    conflict: &str,
) -> Result<(), Error> {
    let Columns { unnested, selected, into, .. } = columns(dataset);
    let sql = format!(
        "INSERT INTO {:?} ({into}) SELECT {selected} FROM (SELECT {unnested}) n {conflict}",
        dataset.history_table()
    );
    while !rows.is_empty() {
        let rest = rows.split_off(MAX_ROWS.min(rows.len()));
        let of_chunk = rows.into_iter().map(|row| (0, row)).collect();
        let (_, values) = arrays(dataset, of_chunk, now);
        execute(tx, "write the history", &sql, values).await?;
        rows = rest;
    }
    Ok(())
}

/// The parameters of [`statement`]: the time, then the columns. A nullable column has a second array that marks its
/// NULLs.
///
/// The values are moved, not copied: they are nearly all of a record's memory. The keys and ranks are returned.
pub(super) fn arrays(
    dataset: &Dataset,
    rows: Vec<(usize, UpsertRow)>,
    now: DateTime<Utc>,
) -> (Vec<(usize, SentRow)>, Vec<Value>) {
    let column = || Vec::<Value>::with_capacity(rows.len());
    let mut sent = Vec::with_capacity(rows.len());
    let (mut fingerprints, mut positions) = (column(), column());
    let mut columns: Vec<Vec<datasets::Value>> =
        dataset.stored().map(|_| Vec::with_capacity(rows.len())).collect();
    for (chunk, new) in rows {
        sent.push((chunk, SentRow::of(dataset, &new)));
        let UpsertRow { row, position, .. } = new;
        fingerprints.push(row.fingerprint.as_bytes().to_vec().into());
        positions.push(position.get().into());
        for (column, value) in columns.iter_mut().zip(row.values) {
            column.push(value);
        }
    }
    let mut values = vec![now.into(), array(fingerprints), array(positions)];
    for (column, of_rows) in dataset.stored().zip(columns) {
        let (of_rows, is_null) = values::array(column.column_type, of_rows);
        values.push(of_rows);
        if dataset.is_nullable(column) {
            values.push(array(is_null.into_iter().map(Value::from)));
        }
    }
    (sent, values)
}

pub(super) fn array(values: impl IntoIterator<Item = Value>) -> Value {
    let values: Vec<Value> = values.into_iter().collect();
    let element = values.first().map_or(ArrayType::Bool, Value::array_type);
    Value::Array(element, Some(Box::new(values)))
}

/// The parts of a statement whose parameters are those of [`arrays`].
pub(super) struct Columns {
    /// The select list that unnests the parameters.
    pub(super) unnested: String,
    /// The select list of the values to write.
    pub(super) selected: String,
    /// The names of the columns, in the same order.
    into: String,
    /// The number of the next parameter.
    pub(super) next: usize,
}

pub(super) fn columns(dataset: &Dataset) -> Columns {
    let mut columns = Columns {
        unnested: "unnest($2) AS \"jetline_fingerprint\", unnest($3) AS \"jetline_position\""
            .to_owned(),
        selected: "n.\"jetline_fingerprint\", n.\"jetline_position\", $1 AS \"jetline_changed_at\""
            .to_owned(),
        into: "\"jetline_fingerprint\", \"jetline_position\", \"jetline_changed_at\"".to_owned(),
        next: 4,
    };
    for column in dataset.stored() {
        let (name, next) = (&column.name, columns.next);
        let values = values::unnest(next, column.column_type);
        let _ = write!(columns.unnested, ", {values} AS \"{name}\"");
        let _ = write!(columns.into, ", \"{name}\"");
        columns.next += 1;
        if dataset.is_nullable(column) {
            // A name that no column of a record can have.
            let _ = write!(columns.unnested, ", unnest(${}) AS \"#{next}_is_null\"", next + 1);
            let _ = write!(
                columns.selected,
                ", CASE WHEN NOT n.\"#{next}_is_null\" THEN n.\"{name}\" END AS \"{name}\""
            );
            columns.next += 1;
        } else {
            let _ = write!(columns.selected, ", n.\"{name}\"");
        }
    }
    columns
}

/// Writes the rows in the order of the arrays, which is that of their ids.
///
/// `unnest` is in the select list, where PostgreSQL iterates over all arrays in parallel; in a `FROM` it would first
/// copy each of them to a tuplestore. Nothing in the plan sorts or joins, so that the order is kept.
fn statement(dataset: &Dataset, condition: &str, on_conflict: &str) -> String {
    let Columns { unnested, selected, into, .. } = columns(dataset);
    format!(
        "WITH new AS (
             INSERT INTO \"{name}\" ({into}) SELECT {selected} FROM (SELECT {unnested}) n {condition}
             {on_conflict}
             RETURNING \"jetline_position\", xmax = 0 AS inserted, \"jetline_changed_at\" = $1 AS changed)
         SELECT array_agg(\"jetline_position\") FILTER (WHERE inserted) AS inserted,
             array_agg(\"jetline_position\") FILTER (WHERE NOT inserted AND changed) AS updated,
             array_agg(\"jetline_position\") FILTER (WHERE NOT inserted AND NOT changed) AS raised
         FROM new",
        name = dataset.name,
    )
}
