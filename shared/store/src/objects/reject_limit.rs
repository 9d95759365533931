//! Objects with more rejected lines than the limit.

use sea_orm::{ConnectionTrait, FromQueryResult};

use crate::{Error, statement::query};

#[derive(FromQueryResult)]
struct Open {
    id: i64,
}

#[derive(FromQueryResult)]
struct First {
    line: i64,
    byte_offset: i64,
    reason: String,
    message: String,
}

/// The open objects with more than `limit` rejected lines, in order; none without a limit.
///
/// Objects with forgotten chunks, which are to be committed again in a new epoch, are not included: if they failed now,
/// the table could keep earlier lines instead of theirs. Objects that were never read have no chunks, so that few are
/// examined.
pub(super) async fn over_reject_limit(
    db: &impl ConnectionTrait,
    limit: Option<u64>,
) -> Result<Vec<i64>, Error> {
    let Some(limit) = limit else {
        return Ok(Vec::new());
    };
    let sql = "SELECT o.id FROM objects o JOIN chunks c ON c.object_id = o.id
         WHERE o.state NOT IN ('done', 'failed') GROUP BY o.id
         HAVING SUM(c.rejected) > $1 AND SUM(CASE WHEN c.state = 'forgotten' THEN 1 ELSE 0 END) = 0
         ORDER BY o.id";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let open: Vec<Open> = query(db, "count rejected lines", sql, [limit.into()]).await?;
    Ok(open.into_iter().map(|row| row.id).collect())
}

/// Why such an object fails.
pub(super) async fn too_many_rejects(
    db: &impl ConnectionTrait,
    object: i64,
    limit: u64,
) -> Result<String, Error> {
    let sql = "SELECT line, byte_offset, reason, message FROM rejected_lines
         WHERE object_id = $1 ORDER BY line LIMIT 1";
    let found: Vec<First> = query(db, "read a rejected line", sql, [object.into()]).await?;
    let first = found.first().map(|first| {
        let First { line, byte_offset, reason, message } = first;
        format!(" first: line {line}, byte {byte_offset}: {reason}: {message};")
    });
    let first = first.unwrap_or_default();
    Ok(format!(
        "more than {limit} lines were rejected (MAX_REJECTS);{first} fix the cause, then replay it"
    ))
}
