//! Which rows the database refuses, and why: they are written as a commit would, in parts that are halved until each holds
//! one row or none is refused, and nothing stays.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use jetline_records::{ObjectId, Position, Reason, Rejection, Table};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, FromQueryResult, TransactionTrait, Value,
};

use super::{
    Judged,
    upsert::{self, Upserted},
};
use crate::{
    Error, Ledger,
    backend::{execute, has_row_security, placeholders, query},
    database,
    ledger::commit,
};

/// Rows of the parts that are tried first. With one row in a hundred refused, nearly all larger ones would fail.
const PART: usize = 256;

/// A row that the database refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Where its line stands.
    pub position: Position,
    /// What the database says.
    pub rejection: Rejection,
}

impl Ledger {
    /// The rows that the database refuses, each id at most once in `rows`; what is not refused is written before what
    /// comes after it, and nothing stays.
    ///
    /// An error says that no row is at fault: the database is not available, or the table or the rights on it do not let
    /// any row be written.
    pub async fn refused(
        &self,
        table: &Table,
        mut rows: Vec<Judged>,
    ) -> Result<Vec<Refused>, Error> {
        // All parts together lock rows in the order of their ids, as commits do.
        rows.sort_unstable_by(|a, b| a.row.key.cmp(&b.row.key));
        let Some(first) = rows.first().cloned() else {
            return Ok(Vec::new());
        };
        let tx = database::begin(&self.db).await?;
        if tx.get_database_backend() == DbBackend::Postgres {
            // What would be checked at the commit is checked with each row.
            execute(
                &tx,
                "check constraints",
                "SET CONSTRAINTS ALL IMMEDIATE",
                [],
            )
            .await?;
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
            doubtful: None,
        };
        search.run(&rows).await?;
        search.judge(rows).await
    }
}

/// Whether one of the rows' objects is replayed so that every row of it is written.
async fn rewrites(tx: &DatabaseTransaction, rows: &[Judged]) -> Result<bool, Error> {
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
    #[expect(dead_code, reason = "that there is a row says all")]
    one: i32,
}

struct Search<'a> {
    ledger: &'a Ledger,
    tx: DatabaseTransaction,
    table: &'a Table,
    now: DateTime<Utc>,
    /// Whether the commit writes what a row seems to say already: that may be refused as well.
    rewrite: bool,
    refused: Vec<Refused>,
    /// Whether a row was written.
    any_written: bool,
    /// A refusal that could be the table's fault, or that of the rights on it: of all rows alike.
    doubtful: Option<Error>,
}

impl Search<'_> {
    async fn run(&mut self, rows: &[Judged]) -> Result<(), Error> {
        let mut parts: Vec<&[Judged]> = rows.chunks(PART).rev().collect();
        while let Some(part) = parts.pop() {
            match self.attempt(part).await? {
                Ok(upserted) => self.note(&upserted),
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

    /// Writes rows, and takes back what an error left of them.
    async fn attempt(&mut self, rows: &[Judged]) -> Result<Result<Upserted, Error>, Error> {
        let part = self.tx.begin().await;
        let part = part.map_err(|error| Error::of("set a savepoint", error))?;
        let (rows, rewrite) = (vec![rows.to_vec()], self.rewrite);
        match upsert::upsert(&part, self.table, rows, self.now, rewrite).await {
            Ok(upserted) => {
                commit(part, "release a savepoint").await?;
                Ok(Ok(upserted))
            }
            Err(error) if error.may_be_of_a_row() => {
                let back = part.rollback().await;
                let back = back.map_err(|error| Error::of("roll back to a savepoint", error));
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

    fn note(&mut self, upserted: &Upserted) {
        self.any_written |= upserted.any_written;
        for position in &upserted.suppressed {
            let message = "a trigger of the table left the row out";
            self.refused.push(Refused {
                position: *position,
                rejection: Rejection::new(Reason::SuppressedByDatabase, message),
            });
        }
    }

    fn refuse(&mut self, row: &Judged, error: Error) {
        self.refused.push(Refused {
            position: row.position,
            rejection: Rejection::new(Reason::RefusedByDatabase, error.database_message()),
        });
        if error.may_be_of_the_table() {
            self.doubtful = Some(error);
        }
    }

    /// A rejection is for a row's own fault only. A missing table or right, in a trigger for example, refuses all rows:
    /// that is the fault of none, unless a row was written, or policies tell rows apart.
    async fn judge(mut self, rows: Vec<Judged>) -> Result<Vec<Refused>, Error> {
        let Some(doubtful) = self.doubtful.take() else {
            return Ok(self.refused);
        };
        let is_of_a_row = self.any_written
            || (doubtful.is_missing_right() && has_row_security(&self.tx, self.table).await?)
            || self.any_can_be_written(rows).await?;
        if is_of_a_row {
            Ok(self.refused)
        } else {
            Err(doubtful)
        }
    }

    /// Tries the rows that were left alone, as the table says the same or something later: as if nothing were later.
    async fn any_can_be_written(&mut self, mut rows: Vec<Judged>) -> Result<bool, Error> {
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
