//! Lines that were not taken.
//!
//! A line may be as long as a writer takes them, and a page may hold a thousand: in a list, each is cut by the database, and
//! the list ends when it has as many bytes as were asked for.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, DbBackend, DbErr, FromQueryResult, Statement, Value};

use super::{MESSAGE_BYTES, shorten};
use crate::backend::placeholders;

/// So much of a message is read for a summary, in characters.
const MESSAGE: usize = 200;

/// How many bytes of a line a list shows: as many as are kept of a line that was too long.
pub const SHOWN_BYTES: usize = 4 << 10;

/// Where a rejected line stands; pages are cut between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The object's number.
    pub object_id: i64,
    /// The line's number, from 1.
    pub line: i64,
}

/// A line that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct Reject {
    /// The object's number.
    pub object_id: i64,
    /// The line's number, from 1.
    pub line: i64,
    /// Offset of its first byte, decompressed.
    pub byte_offset: i64,
    /// The stable code.
    pub reason: String,
    /// What was wrong, in words; [`MESSAGE_BYTES`] at most.
    pub message: String,
    /// What is shown of the line.
    pub raw: Vec<u8>,
    /// How many bytes are kept of it.
    pub raw_bytes: i64,
}

impl Reject {
    /// Whether more is kept of the line than is shown.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        usize::try_from(self.raw_bytes).is_ok_and(|bytes| bytes > self.raw.len())
    }
}

/// A part of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The lines, each cut to [`SHOWN_BYTES`].
    pub rejects: Vec<Reject>,
    /// Whether there are more.
    pub goes_on: bool,
}

/// The rejected lines in the order of object and line, those behind `after`; of one object, or of all. Up to `limit` of
/// them, and none that begins behind `bytes` of lines and messages.
pub async fn list(
    db: &impl ConnectionTrait,
    object: Option<i64>,
    after: Option<Cursor>,
    limit: u64,
    bytes: usize,
) -> Result<Page, DbErr> {
    let start = after.unwrap_or(Cursor {
        object_id: i64::MIN,
        line: i64::MIN,
    });
    // With the one that shows whether the list goes on.
    let rows = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut values: Vec<Value> = vec![
        start.object_id.into(),
        start.line.into(),
        rows.into(),
        bytes.into(),
    ];
    let mut condition = "(object_id, line) > ($1, $2)".to_owned();
    if let Some(object) = object {
        condition += " AND object_id = $5";
        values.push(object.into());
    }
    let backend = db.get_database_backend();
    let statement = Statement::from_sql_and_values(backend, pages(backend, &condition), values);
    let listed = Listed::find_by_statement(statement).all(db).await?;
    let found = listed.first().map_or(0, |first| first.found);
    let mut rejects: Vec<Reject> = listed.into_iter().map(|row| short(row.reject)).collect();
    rejects.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let goes_on = usize::try_from(found).is_ok_and(|found| found > rejects.len());
    Ok(Page { rejects, goes_on })
}

/// One rejected line, as it is shown in a list.
pub async fn find(db: &impl ConnectionTrait, at: Cursor) -> Result<Option<Reject>, DbErr> {
    let backend = db.get_database_backend();
    let sql = format!(
        "SELECT {} FROM rejected_lines WHERE object_id = $1 AND line = $2",
        columns(backend)
    );
    let values = [at.object_id.into(), at.line.into()];
    let statement = Statement::from_sql_and_values(backend, sql, values);
    let found = Reject::find_by_statement(statement).one(db).await?;
    Ok(found.map(short))
}

/// All that is kept of a rejected line.
pub async fn raw(db: &impl ConnectionTrait, at: Cursor) -> Result<Option<Vec<u8>>, DbErr> {
    let sql = "SELECT raw FROM rejected_lines WHERE object_id = $1 AND line = $2";
    let values = [at.object_id.into(), at.line.into()];
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    let row = db.query_one_raw(statement).await?;
    row.map(|row| row.try_get("", "raw")).transpose()
}

#[derive(FromQueryResult)]
struct Listed {
    #[sea_orm(nested)]
    reject: Reject,
    /// How many rows there are for this page, one more than its limit at most.
    found: i64,
}

/// The statement of a page: of the rows that there are for it, in its innermost part, those that begin within the bytes.
fn pages(backend: DbBackend, condition: &str) -> String {
    let shown = format!(
        "{} + {}",
        length(backend, "raw"),
        length(backend, "message")
    );
    format!(
        "SELECT * FROM (SELECT page.*, COUNT(*) OVER () AS found, \
         SUM({shown}) OVER (ORDER BY object_id, line) - ({shown}) AS starts_at \
         FROM (SELECT {} FROM rejected_lines WHERE {condition} ORDER BY object_id, line LIMIT $3) AS page) AS page \
         WHERE starts_at < $4 ORDER BY object_id, line",
        columns(backend)
    )
}

/// A reject's columns, its texts cut. A character has one byte at least, so the message is cut once more by its bytes.
fn columns(backend: DbBackend) -> String {
    format!(
        "object_id, line, byte_offset, reason, substr(message, 1, {MESSAGE_BYTES}) AS message, \
         substr(raw, 1, {SHOWN_BYTES}) AS raw, CAST({} AS bigint) AS raw_bytes",
        length(backend, "raw")
    )
}

fn length(backend: DbBackend, column: &str) -> String {
    match backend {
        // Of a text it would count the characters.
        DbBackend::Sqlite => format!("length(CAST({column} AS BLOB))"),
        _ => format!("octet_length({column})"),
    }
}

fn short(mut reject: Reject) -> Reject {
    shorten(&mut reject.message);
    reject
}

/// The rejected lines of one object, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejects {
    /// How many lines were rejected for which reason: the most frequent one first.
    pub reasons: Vec<(String, i64)>,
    /// The number of the first one, from 1.
    pub line: i64,
    /// Its reason.
    pub reason: String,
    /// What was wrong with it; the beginning of that where it is long.
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

/// What of each of these objects was rejected; of some hundred objects at most.
pub async fn of_each(
    db: &impl ConnectionTrait,
    objects: &[i64],
) -> Result<HashMap<i64, Rejects>, DbErr> {
    let mut all: HashMap<i64, Rejects> = HashMap::new();
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
        "SELECT object_id, line, reason, substr(message, 1, {MESSAGE}) AS message FROM rejected_lines
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

async fn query<T: FromQueryResult>(
    db: &impl ConnectionTrait,
    sql: String,
    objects: &[i64],
) -> Result<Vec<T>, DbErr> {
    let values = objects.iter().map(|object| Value::from(*object));
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    T::find_by_statement(statement).all(db).await
}
