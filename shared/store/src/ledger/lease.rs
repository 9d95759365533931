//! Who reads which object: a lease that is renewed while working, so that a dead fetcher's objects are taken over.

use std::time::Duration;

use jetline_records::ObjectId;
use sea_orm::{DbBackend, FromQueryResult};

use super::Ledger;
use crate::{
    Error,
    backend::{execute, milliseconds, placeholders, query},
    entities::objects,
};

/// How the reading of an object ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Everything up to `bytes` was published: the end, or where the object is damaged.
    Complete {
        /// Bytes, decompressed, that were read.
        bytes: u64,
        /// Lines in them, blank ones included.
        lines: u64,
        /// What is wrong behind them.
        error: Option<String>,
    },
    /// What is missing cannot be read any more; the object ends failed.
    Unreadable {
        /// Why.
        error: String,
    },
}

impl Ledger {
    /// Takes the oldest object of these roots that nobody else reads, for `term` at first.
    ///
    /// What `owner` has leased already it gets again: its reading was broken off, or the answer was lost.
    pub async fn lease(
        &self,
        owner: &str,
        roots: &[String],
        term: Duration,
    ) -> Result<Option<objects::Model>, Error> {
        if roots.is_empty() {
            return Ok(None);
        }
        let now = milliseconds(&self.db);
        let roots_list = placeholders(3, roots.len());
        let skip = match self.db.get_database_backend() {
            DbBackend::Postgres => "FOR UPDATE SKIP LOCKED",
            _ => "",
        };
        let sql = format!(
            "UPDATE objects
             SET state = 'reading', lease_owner = $1, lease_until = {now} + $2, readings = readings + 1
             WHERE id = (
                 SELECT id FROM objects
                 WHERE (state = 'registered'
                     OR (state = 'reading' AND (lease_until < {now} OR lease_owner = $1)))
                     AND root IN ({roots_list})
                 ORDER BY id LIMIT 1 {skip})
             RETURNING *"
        );
        let mut values = vec![owner.into(), term_ms(term).into()];
        values.extend(roots.iter().map(Into::into));
        let rows: Vec<Leased> = query(&self.db, "lease an object", &sql, values).await?;
        Ok(rows.into_iter().next().map(|row| row.0))
    }

    /// Keeps a lease for another `term`; `false` when somebody else has it.
    pub async fn renew(
        &self,
        object: ObjectId,
        owner: &str,
        term: Duration,
    ) -> Result<bool, Error> {
        let sql = format!(
            "UPDATE objects SET lease_until = {} + $1
             WHERE id = $2 AND lease_owner = $3 AND state = 'reading'",
            milliseconds(&self.db)
        );
        let values = [term_ms(term).into(), object.get().into(), owner.into()];
        Ok(execute(&self.db, "renew a lease", &sql, values).await? == 1)
    }

    /// Gives up an object that was not read to the end: anybody may read it at once.
    pub async fn release(&self, object: ObjectId, owner: &str) -> Result<(), Error> {
        let sql = "UPDATE objects SET state = 'registered', lease_owner = NULL, lease_until = NULL
             WHERE id = $1 AND lease_owner = $2 AND state = 'reading'";
        let values = [object.get().into(), owner.into()];
        execute(&self.db, "release a lease", sql, values)
            .await
            .map(drop)
    }

    /// Notes how a reading ended, and ends its lease; `false` when somebody else has it.
    pub async fn finish(
        &self,
        object: ObjectId,
        owner: &str,
        reading: &Reading,
    ) -> Result<bool, Error> {
        let (bytes, lines, error, unreadable) = match reading {
            Reading::Complete {
                bytes,
                lines,
                error,
            } => (
                Some(bytes.cast_signed()),
                Some(lines.cast_signed()),
                error.clone(),
                false,
            ),
            Reading::Unreadable { error } => (None, None, Some(error.clone()), true),
        };
        let sql = "UPDATE objects SET state = 'loading', lease_owner = NULL, lease_until = NULL,
                 total_bytes = COALESCE(total_bytes, $1), total_lines = COALESCE(total_lines, $2),
                 error = COALESCE(error, $3), unreadable = $4
             WHERE id = $5 AND lease_owner = $6 AND state = 'reading'";
        let values = [
            bytes.into(),
            lines.into(),
            error.into(),
            unreadable.into(),
            object.get().into(),
            owner.into(),
        ];
        Ok(execute(&self.db, "finish a reading", sql, values).await? == 1)
    }

    /// Has what is missing of an object read again.
    pub async fn reread(&self, object: ObjectId) -> Result<bool, Error> {
        let sql = "UPDATE objects SET state = 'registered' WHERE id = $1 AND state = 'loading'";
        Ok(execute(
            &self.db,
            "have an object read again",
            sql,
            [object.get().into()],
        )
        .await?
            == 1)
    }
}

fn term_ms(term: Duration) -> i64 {
    i64::try_from(term.as_millis()).unwrap_or(i64::MAX / 2)
}

struct Leased(objects::Model);

impl FromQueryResult for Leased {
    fn from_query_result(row: &sea_orm::QueryResult, prefix: &str) -> Result<Self, sea_orm::DbErr> {
        objects::Model::from_query_result(row, prefix).map(Self)
    }
}
