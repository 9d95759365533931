//! Finds the rows that the database refuses, and why: rows are written as in a commit, and everything is rolled back.
//!
//! PostgreSQL writes them one by one in one statement. In SQLite they are written in parts that are bisected until a part
//! has one row or is accepted.

use std::{
    collections::{BTreeSet, HashSet},
    slice,
};

use chrono::{DateTime, Utc};
use jetline_records::{ObjectId, Position, Reason, Rejection, Table};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, FromQueryResult, TransactionTrait, Value,
};

use super::{
    UpsertRow,
    upsert::{self, Upserted, one_by_one},
};
use crate::{
    Error, Ledger,
    backend::{execute, has_row_security, placeholders, query},
    database,
    error::{is_caused_by_table, with_sqlstate},
    ledger::commit,
};

/// Number of rows of the parts that are tried first. With one refused row in a hundred, nearly all larger parts would
/// fail.
const FIRST_PART_ROWS: usize = 256;

/// A row that the database refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRow {
    /// The position of its line.
    pub position: Position,
    /// The error of the database.
    pub rejection: Rejection,
}

impl Ledger {
    /// The rows that the database refuses. `rows` has each id at most once. Accepted rows are written before the rows
    /// after them are tried; everything is rolled back.
    ///
    /// An error means that no row is the cause: the database is unavailable, or because of the table or its privileges
    /// no row can be written.
    pub async fn refused(
        &self,
        table: &Table,
        mut rows: Vec<UpsertRow>,
    ) -> Result<Vec<RefusedRow>, Error> {
        // The parts, one after another, lock rows in the order of their ids, as commits do.
        rows.sort_unstable_by(|a, b| a.row.key.cmp(&b.row.key));
        let Some(first) = rows.first().cloned() else {
            return Ok(Vec::new());
        };
        let tx = database::begin(&self.db).await?;
        if tx.get_database_backend() == DbBackend::Postgres {
            // Deferred constraints are checked with each row instead of at the commit.
            execute(&tx, "check constraints", "SET CONSTRAINTS ALL IMMEDIATE", []).await?;
        }
        super::table::check(&tx, table).await?;
        let rewrite = rewrites(&tx, &rows).await?;
        let now = (self.now)();
        upsert::upsert_nothing(&tx, table, first, now).await?;
        let mut search = Search {
            ledger: self,
            tx,
            table,
            now,
            rewrite,
            refused: Vec::new(),
            any_written: false,
            ambiguous: None,
        };
        if search.tx.get_database_backend() == DbBackend::Postgres {
            search.run_one_by_one(&rows).await?;
        } else {
            search.run(&rows).await?;
        }
        search.finish(rows).await
    }
}

/// Whether one of the rows' objects is replayed with `rewrite`.
async fn rewrites(tx: &DatabaseTransaction, rows: &[UpsertRow]) -> Result<bool, Error> {
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

struct Search<'a> {
    ledger: &'a Ledger,
    tx: DatabaseTransaction,
    table: &'a Table,
    now: DateTime<Utc>,
    /// Whether the commit also writes rows whose stored content seems to be the same: those may be refused as well.
    rewrite: bool,
    refused: Vec<RefusedRow>,
    /// Whether a row was written.
    any_written: bool,
    /// A refusal that may be caused by the table or its privileges, and so concern all rows.
    ambiguous: Option<Error>,
}

impl Search<'_> {
    async fn run(&mut self, rows: &[UpsertRow]) -> Result<(), Error> {
        let mut parts: Vec<&[UpsertRow]> = rows.chunks(FIRST_PART_ROWS).rev().collect();
        while let Some(part) = parts.pop() {
            match self.attempt(part).await? {
                Ok(upserted) => self.record(&upserted),
                Err(error) => match part {
                    [row] => self.refuse(row, error),
                    rows => {
                        let (first, second) = rows.split_at(rows.len() / 2);
                        parts.extend([second, first]);
                    }
                },
            }
        }
        Ok(())
    }

    async fn run_one_by_one(&mut self, rows: &[UpsertRow]) -> Result<(), Error> {
        let (table, now, rewrite) = (self.table, self.now, self.rewrite);
        let attempt = one_by_one::attempt(&self.tx, table, rows.to_vec(), now, rewrite).await?;
        self.any_written = attempt.any_written;
        let mut ambiguous = None;
        for failed in attempt.failed {
            let Some((code, message)) = failed.answer else {
                self.suppressed(failed.position);
                continue;
            };
            if is_caused_by_table(&code) {
                ambiguous = Some(failed.position);
            }
            self.refused.push(RefusedRow {
                position: failed.position,
                rejection: Rejection::new(
                    Reason::RefusedByDatabase,
                    with_sqlstate(&code, &message),
                ),
            });
        }
        let ambiguous = rows.iter().find(|row| Some(row.position) == ambiguous);
        if let Some(row) = ambiguous {
            self.ambiguous = self.attempt(slice::from_ref(row)).await?.err();
        }
        Ok(())
    }

    /// Writes rows; on an error, rolls them back.
    async fn attempt(&mut self, rows: &[UpsertRow]) -> Result<Result<Upserted, Error>, Error> {
        let part = self.tx.begin().await;
        let part = part.map_err(|error| Error::classify("set a savepoint", error))?;
        let (rows, rewrite) = (vec![rows.to_vec()], self.rewrite);
        match upsert::upsert(&part, self.table, rows, self.now, rewrite).await {
            Ok(upserted) => {
                commit(part, "release a savepoint").await?;
                Ok(Ok(upserted))
            }
            Err(error) if error.may_be_caused_by_row() => {
                let back = part.rollback().await;
                let back = back.map_err(|error| Error::classify("roll back to a savepoint", error));
                if self.tx.get_database_backend() == DbBackend::Sqlite && back.is_err() {
                    // RAISE(ROLLBACK) in a trigger has ended the transaction.
                    self.tx = database::begin(&self.ledger.db).await?;
                } else {
                    back?;
                }
                Ok(Err(error))
            }
            Err(error) => Err(error),
        }
    }

    fn record(&mut self, upserted: &Upserted) {
        self.any_written |= upserted.any_written;
        for position in &upserted.suppressed {
            self.suppressed(*position);
        }
    }

    fn suppressed(&mut self, position: Position) {
        let message = "a trigger of the table suppressed the row";
        self.refused.push(RefusedRow {
            position,
            rejection: Rejection::new(Reason::SuppressedByDatabase, message),
        });
    }

    fn refuse(&mut self, row: &UpsertRow, error: Error) {
        self.refused.push(RefusedRow {
            position: row.position,
            rejection: Rejection::new(Reason::RefusedByDatabase, error.database_message()),
        });
        if error.may_be_caused_by_table() {
            self.ambiguous = Some(error);
        }
    }

    /// Only rows that are the cause themselves are rejected. A missing table or privilege, in a trigger for example,
    /// makes the database refuse all rows, and none is the cause; unless a row was written, or row security policies
    /// accept some rows.
    async fn finish(mut self, rows: Vec<UpsertRow>) -> Result<Vec<RefusedRow>, Error> {
        let Some(ambiguous) = self.ambiguous.take() else {
            return Ok(self.refused);
        };
        let is_caused_by_row = self.any_written
            || (ambiguous.is_insufficient_privilege()
                && has_row_security(&self.tx, self.table).await?)
            || self.any_can_be_written(rows).await?;
        if is_caused_by_row { Ok(self.refused) } else { Err(ambiguous) }
    }

    /// Tries the rows that were not written because the table has the same content or a higher rank, with the highest
    /// rank.
    async fn any_can_be_written(&mut self, mut rows: Vec<UpsertRow>) -> Result<bool, Error> {
        let refused: HashSet<Position> = self.refused.iter().map(|row| row.position).collect();
        rows.retain(|row| !refused.contains(&row.position));
        for (line, row) in (0..=u32::MAX).rev().zip(&mut rows) {
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
