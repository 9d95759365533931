//! Objects that are not JSON Lines: none of their lines was accepted, or only one that happens to be a record.

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
///
/// An array that is printed with one record per line has one line without a trailing comma, which is accepted.
pub(super) async fn no_accepted_lines(
    db: &impl ConnectionTrait,
    object: i64,
    accepted: i64,
    rejected: i64,
) -> Result<Option<String>, Error> {
    if rejected == 0 || accepted > 1 || accepted >= rejected {
        return Ok(None);
    }
    let Some(first) = end(db, object, "ASC").await? else {
        return Ok(None);
    };
    let is_document = match end(db, object, "DESC").await? {
        Some(last) if last.line > first.line => opens(&first.raw) && closes(&last.raw),
        _ => false,
    };
    if accepted > 0 && !(is_document && first.line == 1) {
        return Ok(None);
    }
    Ok(Some(explain(first, is_document, accepted, rejected)))
}

fn explain(first: Rejected, is_document: bool, accepted: i64, rejected: i64) -> String {
    let form = form(&first.raw, is_document);
    let form = form.map_or(String::new(), |form| format!("; it looks like {form}, not JSON Lines"));
    let Rejected { line, byte_offset, reason, message, .. } = first;
    let message: String = message.chars().take(MAX_MESSAGE_CHARS).collect();
    let none = if accepted == 0 { "none" } else { "only one" };
    format!(
        "{none} of its lines was accepted ({rejected} rejected){form}; first: line {line}, byte {byte_offset}: \
         {reason}: {message}"
    )
}

/// The first rejected line of an object, or the last.
async fn end(
    db: &impl ConnectionTrait,
    object: i64,
    order: &str,
) -> Result<Option<Rejected>, Error> {
    let sql = format!(
        "SELECT line, byte_offset, reason, message, raw FROM rejected_lines
         WHERE object_id = $1 ORDER BY line {order} LIMIT 1"
    );
    let found: Vec<Rejected> = query(db, "read a rejected line", &sql, [object.into()]).await?;
    Ok(found.into_iter().next())
}

/// Whether a line opens a JSON document that continues on the next line.
fn opens(line: &[u8]) -> bool {
    let line = text(line);
    let opens_array = line.starts_with(b"[") && !line.ends_with(b"]");
    opens_array || line.ends_with(b"[") || line.ends_with(b"{")
}

/// Whether a line closes a JSON document that began on an earlier line.
fn closes(line: &[u8]) -> bool {
    let line = text(line);
    let closes_array = line.ends_with(b"]") && !line.starts_with(b"[");
    closes_array || (line.ends_with(b"}") && !line.starts_with(b"{"))
}

/// What format content with this first line seems to have.
fn form(first: &[u8], is_document: bool) -> Option<&'static str> {
    let line = text(first);
    match line.first() {
        Some(b'[') => Some("a JSON array"),
        Some(b'{') if is_document || line == b"{" => {
            Some("one JSON document over several lines (pretty-printed)")
        }
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

fn text(line: &[u8]) -> &[u8] {
    let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
    line.trim_ascii()
}
