//! Objects of which no line was accepted: they are not what they should be.

use sea_orm::{ConnectionTrait, FromQueryResult};

use crate::{Error, statement::query};

/// Maximum number of characters of a line's message in the error of an object.
const MAX_MESSAGE_CHARS: usize = 200;

/// A rejected line.
#[derive(FromQueryResult)]
struct Rejected {
    line: i64,
    byte_offset: i64,
    reason: String,
    message: String,
    raw: Vec<u8>,
}

/// Why an object fails whose lines are all accounted for, if it does.
pub(super) async fn no_accepted_lines(
    db: &impl ConnectionTrait,
    object: i64,
    accepted: i64,
    rejected: i64,
) -> Result<Option<String>, Error> {
    if rejected == 0 || accepted > 0 {
        return Ok(None);
    }
    Ok(first(db, object).await?.map(|first| explain(first, rejected)))
}

fn explain(first: Rejected, rejected: i64) -> String {
    let Rejected { line, byte_offset, reason, message, raw } = first;
    let form = if reason == "invalid_json" { form(&raw) } else { None };
    let form = form.map_or(String::new(), |form| format!("; it looks like {form}, not JSON Lines"));
    let message: String = message.chars().take(MAX_MESSAGE_CHARS).collect();
    format!(
        "none of its lines was accepted ({rejected} rejected){form}; first: line {line}, byte {byte_offset}: \
         {reason}: {message}"
    )
}

/// The first rejected line of an object.
async fn first(db: &impl ConnectionTrait, object: i64) -> Result<Option<Rejected>, Error> {
    let sql = "SELECT line, byte_offset, reason, message, raw FROM rejected_lines
         WHERE object_id = $1 ORDER BY line LIMIT 1";
    let found: Vec<Rejected> = query(db, "read a rejected line", sql, [object.into()]).await?;
    Ok(found.into_iter().next())
}

/// What content with this first line seems to be.
fn form(first: &[u8]) -> Option<&'static str> {
    let line = first.trim_ascii();
    match line.first() {
        Some(b'[') => Some("a JSON array"),
        Some(b'{') if line == b"{" => Some("pretty-printed JSON (.json)"),
        Some(b'<') => Some("XML or HTML"),
        Some(b'{') | None => None,
        _ if has_columns(line) => Some("CSV or a similar table"),
        _ => None,
    }
}

/// Whether a line has separated columns.
fn has_columns(line: &[u8]) -> bool {
    std::str::from_utf8(line).is_ok_and(|line| line.contains([',', ';', '\t', '|']))
}
