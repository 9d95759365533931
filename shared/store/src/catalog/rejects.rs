//! Rejected lines.
//!
//! A line may be as long as the limit for lines, and a page may have a thousand: in a list, the database truncates each
//! line, and ends the list after the requested number of bytes.

use std::collections::HashMap;

use jetline_datasets::Reason;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Statement, Value};

use super::{Catalog, MESSAGE_BYTES, shorten};
use crate::{
    Error,
    database::query_failed,
    dialect::{self, Dialect},
    statement::{Conditions, named, placeholders},
};

/// The operation, in errors and statements.
const READ: &str = "read rejected lines";

/// Maximum number of characters of a message in a summary.
const SUMMARY_MESSAGE_CHARS: usize = 200;

/// Maximum number of bytes of a line in a list: as many as are stored of a line that was too long.
pub const SHOWN_BYTES: usize = 4 << 10;

/// The position of a rejected line in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The object's number.
    pub object_id: i64,
    /// The line's number, from 1.
    pub line: i64,
}

/// A rejected line, and why it was rejected.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Reject {
    /// The object's number.
    pub object_id: i64,
    /// The line's number, from 1.
    pub line: i64,
    /// Offset of its first byte, decompressed.
    pub byte_offset: i64,
    /// The reason, as a stable code.
    pub reason: String,
    /// A description of the error; [`MESSAGE_BYTES`] at most.
    pub message: String,
    /// The line, possibly truncated.
    pub raw: Vec<u8>,
    /// Number of bytes that are stored of the line.
    pub raw_bytes: i64,
}

impl Reject {
    /// Whether the line is truncated here: more of it is stored.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        usize::try_from(self.raw_bytes).is_ok_and(|bytes| bytes > self.raw.len())
    }

    /// Its position in the list.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { object_id: self.object_id, line: self.line }
    }
}

/// A line as text, in which bytes that are not UTF-8 are replaced; and its bytes, where there are such.
#[must_use]
pub fn text(raw: Vec<u8>) -> (String, Option<Vec<u8>>) {
    match String::from_utf8(raw) {
        Ok(text) => (text, None),
        Err(error) => {
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            (text, Some(error.into_bytes()))
        }
    }
}

/// Selects rejected lines.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those of these datasets.
    pub datasets: Option<Vec<String>>,
    /// Only those of this object.
    pub object: Option<i64>,
    /// Only those with this reason.
    pub reason: Option<Reason>,
}

/// A page of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectPage {
    /// The lines, each truncated to [`SHOWN_BYTES`].
    pub rejects: Vec<Reject>,
    /// Whether there are more.
    pub has_more: bool,
}

impl Catalog {
    /// The rejected lines in the order of object and line, those after `after`. Up to `limit` of them, and none that
    /// begins after `bytes` of lines and messages.
    pub async fn rejects(
        &self,
        filter: &Filter,
        after: Option<Cursor>,
        limit: u64,
        bytes: usize,
    ) -> Result<RejectPage, Error> {
        let db = &self.db;
        let start = after.unwrap_or(Cursor { object_id: i64::MIN, line: i64::MIN });
        // One more than the limit, to see whether the list continues.
        let rows = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut conditions = Conditions::after(vec![
            start.object_id.into(),
            start.line.into(),
            rows.into(),
            bytes.into(),
        ]);
        conditions.require("(object_id, line) > ($1, $2)".to_owned());
        conditions.only("object_id =", filter.object.map(Value::from));
        conditions.only("reason =", filter.reason.map(|reason| reason.code().into()));
        only_datasets(&mut conditions, filter.datasets.as_deref());
        let sql = pages(dialect::of(db), &conditions.sql());
        let values = conditions.into_values();
        let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
        let listed =
            Listed::find_by_statement(named(READ, statement)).all(db).await.map_err(failed)?;
        let found = listed.first().map_or(0, |first| first.found);
        let mut rejects: Vec<Reject> =
            listed.into_iter().map(|row| truncate_message(row.reject)).collect();
        rejects.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let has_more = usize::try_from(found).is_ok_and(|found| found > rejects.len());
        Ok(RejectPage { rejects, has_more })
    }

    /// One rejected line, truncated as in a list, if it is of one of these datasets.
    pub async fn reject(
        &self,
        at: Cursor,
        datasets: Option<&[String]>,
    ) -> Result<Option<Reject>, Error> {
        let db = &self.db;
        let mut conditions = Conditions::default();
        conditions.only("object_id =", Some(at.object_id.into()));
        conditions.only("line =", Some(at.line.into()));
        only_datasets(&mut conditions, datasets);
        let (columns, condition) = (columns(dialect::of(db)), conditions.sql());
        let sql = format!("SELECT {columns} FROM rejected_lines WHERE {condition}");
        let values = conditions.into_values();
        let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
        let found =
            Reject::find_by_statement(named(READ, statement)).one(db).await.map_err(failed)?;
        Ok(found.map(truncate_message))
    }

    /// All stored bytes of a rejected line.
    pub async fn rejected_bytes(&self, at: Cursor) -> Result<Option<Vec<u8>>, Error> {
        let db = &self.db;
        let sql = "SELECT raw FROM rejected_lines WHERE object_id = $1 AND line = $2";
        let values = [at.object_id.into(), at.line.into()];
        let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
        let row = db.query_one_raw(named(READ, statement)).await.map_err(failed)?;
        row.map(|row| row.try_get("", "raw")).transpose().map_err(failed)
    }
}

#[derive(FromQueryResult)]
struct Listed {
    #[sea_orm(nested)]
    reject: Reject,
    /// Number of rows for this page before the limit of bytes: at most one more than its limit of lines.
    found: i64,
}

fn only_datasets(conditions: &mut Conditions, datasets: Option<&[String]>) {
    if let Some(datasets) = datasets {
        let of = conditions.parameters(datasets);
        let objects = format!("SELECT id FROM objects WHERE dataset IN ({of})");
        conditions.require(format!("object_id IN ({objects})"));
    }
}

/// The statement of a page: those of the rows of the innermost query that begin within the limit of bytes.
fn pages(dialect: &dyn Dialect, condition: &str) -> String {
    let shown = format!("{} + {}", dialect.octets("raw"), dialect.octets("message"));
    format!(
        "SELECT * FROM (SELECT page.*, COUNT(*) OVER () AS found, \
         SUM({shown}) OVER (ORDER BY object_id, line) - ({shown}) AS starts_at \
         FROM (SELECT {} FROM rejected_lines WHERE {condition} ORDER BY object_id, line LIMIT $3) AS page) AS page \
         WHERE starts_at < $4 ORDER BY object_id, line",
        columns(dialect)
    )
}

/// The columns of a reject, with truncated texts. `substr` counts characters of at least one byte, so the message is
/// truncated by bytes afterwards.
fn columns(dialect: &dyn Dialect) -> String {
    format!(
        "object_id, line, byte_offset, reason, substr(message, 1, {MESSAGE_BYTES}) AS message, \
         substr(raw, 1, {SHOWN_BYTES}) AS raw, CAST({} AS bigint) AS raw_bytes",
        dialect.octets("raw")
    )
}

fn truncate_message(mut reject: Reject) -> Reject {
    shorten(&mut reject.message);
    reject
}

/// A summary of the rejected lines of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RejectSummary {
    /// Reasons with their numbers of lines; the most frequent one first.
    pub reasons: Vec<(String, i64)>,
    /// Number of the first rejected line, from 1.
    pub line: i64,
    /// Its reason.
    pub reason: String,
    /// Its message, truncated where it is long.
    pub message: String,
}

#[derive(FromQueryResult)]
struct Count {
    object_id: i64,
    reason: String,
    lines: i64,
}

#[derive(FromQueryResult)]
struct First {
    object_id: i64,
    line: i64,
    reason: String,
    message: String,
}

impl Catalog {
    /// The summaries of these objects, of which there may be some hundreds: each is a parameter.
    pub async fn reject_summaries(
        &self,
        objects: &[i64],
    ) -> Result<HashMap<i64, RejectSummary>, Error> {
        let db = &self.db;
        let mut all: HashMap<i64, RejectSummary> = HashMap::new();
        if objects.is_empty() {
            return Ok(all);
        }
        let of = placeholders(1, objects.len());
        let counts = format!(
            "SELECT object_id, reason, COUNT(*) AS lines FROM rejected_lines WHERE object_id IN ({of})
             GROUP BY object_id, reason ORDER BY object_id, lines DESC, reason"
        );
        for count in query::<Count>(db, counts, objects).await? {
            let reasons = &mut all.entry(count.object_id).or_default().reasons;
            reasons.push((count.reason, count.lines));
        }
        let first = format!(
            "SELECT object_id, line, reason, substr(message, 1, {SUMMARY_MESSAGE_CHARS}) AS message FROM rejected_lines
             WHERE (object_id, line) IN (SELECT object_id, MIN(line) FROM rejected_lines
                 WHERE object_id IN ({of}) GROUP BY object_id)"
        );
        for first in query::<First>(db, first, objects).await? {
            let rejects = all.entry(first.object_id).or_default();
            rejects.line = first.line;
            rejects.reason = first.reason;
            rejects.message = first.message;
        }
        Ok(all)
    }
}

async fn query<T: FromQueryResult>(
    db: &impl ConnectionTrait,
    sql: String,
    objects: &[i64],
) -> Result<Vec<T>, Error> {
    let values = objects.iter().map(|object| Value::from(*object));
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    T::find_by_statement(named(READ, statement)).all(db).await.map_err(failed)
}

fn failed(error: DbErr) -> Error {
    query_failed(READ, error)
}
