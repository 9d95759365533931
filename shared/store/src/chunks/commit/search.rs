//! Finds the rows that the database refuses, and why: rows are written as in a commit, without those that are refused.
//!
//! PostgreSQL writes them one by one in one statement. In SQLite they are written in parts that are bisected until a part
//! has one row or is accepted.

use std::{
    collections::{BTreeSet, HashSet},
    slice,
};

use chrono::{DateTime, Utc};
use jetline_core::{Key, ObjectId, Position};
use jetline_datasets::{Dataset, Reason, Rejection};
use sea_orm::{FromQueryResult, Value};

use super::table;
use crate::{
    ChunkLedger, Error,
    dialect::{self, postgres::one_by_one},
    error::class::{is_caused_by_table, with_sqlstate},
    statement::{execute, placeholders, query},
    transaction::Transaction,
    upsert::{UpsertRow, Upserted},
};

/// Number of rows of the parts that are tried first. With one refused row in a hundred, one such part in seven fails; the
/// rows of larger ones would be written again and again.
const FIRST_PART_ROWS: usize = 16;

/// A row that the database refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRow {
    /// The id of its record.
    pub key: Key,
    /// The position of its line.
    pub position: Position,
    /// The error of the database.
    pub rejection: Rejection,
}

impl ChunkLedger {
    /// The rows that the database refuses. `rows` has each id at most once. Accepted rows are written before the rows
    /// after them are tried; everything is rolled back.
    ///
    /// An error means that no row is the cause: the database is unavailable, or because of the table or its privileges
    /// no row can be written.
    pub async fn refused(
        &self,
        dataset: &Dataset,
        rows: Vec<UpsertRow>,
    ) -> Result<Vec<RefusedRow>, Error> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let tx = Transaction::begin(&self.db).await?;
        let rewrite = rewrites(&tx, &rows).await?;
        let rows: Vec<(usize, UpsertRow)> = rows.into_iter().map(|row| (0, row)).collect();
        let mut search = Search::new(self, tx, dataset, (self.now)(), rewrite, 1);
        search.write(rows.clone()).await?;
        search.finish(rows).await
    }
}

/// Whether one of the rows' objects is replayed with `rewrite`.
async fn rewrites(tx: &Transaction, rows: &[UpsertRow]) -> Result<bool, Error> {
    let objects: BTreeSet<i64> = rows.iter().map(|row| row.position.object().get()).collect();
    let sql = format!(
        "SELECT 1 AS one FROM objects WHERE rewrite AND id IN ({}) LIMIT 1",
        placeholders(1, objects.len())
    );
    let ids = objects.into_iter().map(Value::from);
    let found: Vec<One> = query(tx, "look for objects that are rewritten", &sql, ids).await?;
    Ok(!found.is_empty())
}

#[derive(FromQueryResult)]
struct One {
    #[expect(dead_code, reason = "only the existence of the row matters")]
    one: i32,
}

/// The result of writing rows in a transaction.
pub(super) struct Found {
    pub(super) tx: Transaction,
    /// The rows that were refused.
    pub(super) refused: Vec<RefusedRow>,
    pub(super) upserted: Upserted,
}

/// Writes rows in a transaction except for those that the database refuses.
pub(super) struct Search<'a> {
    ledger: &'a ChunkLedger,
    tx: Transaction,
    dataset: &'a Dataset,
    now: DateTime<Utc>,
    /// Whether rows are written whose stored content seems to be the same: those may be refused as well.
    rewrite: bool,
    refused: Vec<RefusedRow>,
    upserted: Upserted,
    /// A refusal that may be caused by the table or its privileges, and so concern all rows.
    ambiguous: Option<Error>,
    /// Whether the transaction does not have what the counts say: a trigger ended it, or a refused row was written after all.
    is_interrupted: bool,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        ledger: &'a ChunkLedger,
        tx: Transaction,
        dataset: &'a Dataset,
        now: DateTime<Utc>,
        rewrite: bool,
        chunks: usize,
    ) -> Self {
        Self {
            ledger,
            tx,
            dataset,
            now,
            rewrite,
            refused: Vec::new(),
            upserted: Upserted::of_chunks(chunks),
            ambiguous: None,
            is_interrupted: false,
        }
    }

    /// Writes rows, each with the index of its chunk. Of several rows of an id, those that are not refused and have a lower
    /// rank than another one are superseded. Fails with an error that is not caused by a row.
    pub(super) async fn write(&mut self, mut rows: Vec<(usize, UpsertRow)>) -> Result<(), Error> {
        // Rows are locked in the order of other commits, which is that of ids or, with claims, new rows before stored ones.
        // What takes the place of a refused row is written before the next id: a second round would lock ids out of order, and could deadlock.
        rows.sort_unstable_by(|(_, a), (_, b)| {
            a.row.key.cmp(&b.row.key).then_with(|| b.rank().cmp(&a.rank()))
        });
        let Some((_, first)) = rows.first().cloned() else {
            return Ok(());
        };
        let dialect = dialect::of(&self.tx);
        if dialect.catches_errors() {
            // Deferred constraints are checked with each row instead of at the commit.
            execute(&self.tx, "check constraints", "SET CONSTRAINTS ALL IMMEDIATE", []).await?;
        }
        table::check(&self.tx, self.dataset).await?;
        dialect.upsert_nothing(&self.tx, self.dataset, first, self.now).await?;
        if dialect.catches_errors() {
            self.write_one_by_one(rows).await
        } else {
            self.write_parts(&rows).await
        }
    }

    /// The result, if each refused row is certainly the cause of its refusal, and all others are written.
    pub(super) fn into_found(self) -> Option<Found> {
        let is_certain =
            !self.is_interrupted && (self.ambiguous.is_none() || self.upserted.any_written);
        let Self { tx, refused, upserted, .. } = self;
        is_certain.then_some(Found { tx, refused, upserted })
    }

    async fn write_parts(&mut self, rows: &[(usize, UpsertRow)]) -> Result<(), Error> {
        let of_one_id = rows.chunk_by(|(_, a), (_, b)| a.row.key == b.row.key);
        let (single, several): (Vec<_>, Vec<_>) = of_one_id.partition(|rows| rows.len() == 1);
        self.bisect(&single.concat()).await?;
        for rows in several {
            self.write_highest(rows).await?;
        }
        Ok(())
    }

    /// Writes the first of the rows of an id that is not refused.
    async fn write_highest(&mut self, rows: &[(usize, UpsertRow)]) -> Result<(), Error> {
        for (place, row) in rows.iter().enumerate() {
            let refused = self.refused.len();
            self.bisect(slice::from_ref(row)).await?;
            if self.refused.len() == refused {
                for (chunk, _) in &rows[place + 1..] {
                    self.upserted.written[*chunk].superseded += 1;
                }
                break;
            }
        }
        Ok(())
    }

    async fn bisect(&mut self, rows: &[(usize, UpsertRow)]) -> Result<(), Error> {
        let mut parts: Vec<&[(usize, UpsertRow)]> = rows.chunks(FIRST_PART_ROWS).rev().collect();
        while let Some(part) = parts.pop() {
            match self.attempt(part).await? {
                Ok(upserted) => self.record(part, upserted),
                Err(error) => match part {
                    [(_, row)] => self.reject_refused(row, error),
                    rows => {
                        let (first, second) = rows.split_at(rows.len() / 2);
                        parts.extend([second, first]);
                    }
                },
            }
        }
        Ok(())
    }

    async fn write_one_by_one(&mut self, rows: Vec<(usize, UpsertRow)>) -> Result<(), Error> {
        let (tx, dataset, upserted) = (&self.tx, self.dataset, &mut self.upserted);
        let mut failed =
            one_by_one::write(tx, dataset, rows.clone(), self.now, self.rewrite, upserted).await?;
        let mut ambiguous = None;
        for (_, row) in &rows {
            match failed.remove(&row.position) {
                Some(Some((code, message))) => {
                    if is_caused_by_table(&code) {
                        ambiguous = Some(row.position);
                    }
                    self.reject(row, Reason::RefusedByDatabase, with_sqlstate(&code, &message));
                }
                Some(None) => self.reject_suppressed(row),
                None => {}
            }
        }
        let ambiguous = rows.iter().find(|(_, row)| Some(row.position) == ambiguous);
        if let Some(row) = ambiguous
            && !self.upserted.any_written
        {
            match self.attempt(slice::from_ref(row)).await? {
                Err(error) => self.ambiguous = Some(error),
                // It is written now, and must not be committed as a rejected line too.
                Ok(_) => self.is_interrupted = true,
            }
        }
        Ok(())
    }

    /// Writes rows; on an error, rolls them back.
    async fn attempt(
        &mut self,
        rows: &[(usize, UpsertRow)],
    ) -> Result<Result<Upserted, Error>, Error> {
        self.tx.set_savepoint().await?;
        let chunks = self.upserted.written.len();
        match table::upsert(&self.tx, self.dataset, rows.to_vec(), chunks, self.now, self.rewrite)
            .await
        {
            Ok(upserted) => {
                self.tx.release_savepoint().await?;
                Ok(Ok(upserted))
            }
            Err(error) if error.may_be_caused_by_row() => {
                let back = self.tx.roll_back_to_savepoint().await;
                if dialect::of(&self.tx).trigger_ends_transaction() && back.is_err() {
                    // RAISE(ROLLBACK) in a trigger has ended the transaction.
                    self.tx = Transaction::begin(&self.ledger.db).await?;
                    self.is_interrupted = true;
                } else {
                    back?;
                }
                Ok(Err(error))
            }
            Err(error) => Err(error),
        }
    }

    fn record(&mut self, rows: &[(usize, UpsertRow)], upserted: Upserted) {
        self.upserted.any_written |= upserted.any_written;
        for (all, written) in self.upserted.written.iter_mut().zip(upserted.written) {
            *all += written;
        }
        self.upserted.changed.extend(upserted.changed);
        for (_, row) in rows.iter().filter(|(_, row)| upserted.suppressed.contains(&row.position)) {
            self.reject_suppressed(row);
        }
    }

    fn reject_suppressed(&mut self, row: &UpsertRow) {
        let message = "a trigger of the table suppressed the row";
        self.reject(row, Reason::SuppressedByDatabase, message);
    }

    fn reject_refused(&mut self, row: &UpsertRow, error: Error) {
        self.reject(row, Reason::RefusedByDatabase, error.database_message());
        if error.may_be_caused_by_table() {
            self.ambiguous = Some(error);
        }
    }

    fn reject(&mut self, row: &UpsertRow, reason: Reason, message: impl Into<String>) {
        self.refused.push(RefusedRow {
            key: row.row.key.clone(),
            position: row.position,
            rejection: Rejection::new(reason, message),
        });
    }

    /// Only rows that are the cause themselves are rejected. A missing table or privilege, in a trigger for example,
    /// makes the database refuse all rows, and none is the cause; unless a row was written, or row security policies
    /// accept some rows.
    async fn finish(mut self, rows: Vec<(usize, UpsertRow)>) -> Result<Vec<RefusedRow>, Error> {
        let Some(ambiguous) = self.ambiguous.take() else {
            return Ok(self.refused);
        };
        let is_caused_by_row = self.upserted.any_written
            || (ambiguous.is_insufficient_privilege()
                && dialect::of(&self.tx).has_row_security(&self.tx, self.dataset).await?)
            || self.any_can_be_written(rows).await?;
        if is_caused_by_row { Ok(self.refused) } else { Err(ambiguous) }
    }

    /// Tries the rows that were not written because the table has the same content or a higher rank, with the highest
    /// rank.
    async fn any_can_be_written(
        &mut self,
        mut rows: Vec<(usize, UpsertRow)>,
    ) -> Result<bool, Error> {
        let refused: HashSet<Position> = self.refused.iter().map(|row| row.position).collect();
        rows.retain(|(_, row)| !refused.contains(&row.position));
        for (line, (_, row)) in (0..=u32::MAX).rev().zip(&mut rows) {
            row.position = Position::new(ObjectId::MAX, line);
            row.if_changed = false;
        }
        let mut parts = vec![&rows[..]];
        while let Some(part) = parts.pop() {
            match self.attempt(part).await? {
                Ok(upserted) if upserted.any_written => return Ok(true),
                Err(_) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                _ => {}
            }
        }
        Ok(false)
    }
}
