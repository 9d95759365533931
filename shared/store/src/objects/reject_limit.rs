//! Objects with more rejected lines than the limit.

use std::{fmt, str::FromStr};

use sea_orm::{ConnectionTrait, FromQueryResult};

use crate::{Error, statement::query};

/// How many lines of an object may be rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectLimit {
    /// So many lines: with more of them, the object is read no further.
    Lines(u64),
    /// So many of a million lines that are not blank, counted when the object is complete.
    Millionths(u32),
}

impl RejectLimit {
    /// Whether a complete object with so many lines, of which so many are rejected, is over the limit.
    #[must_use]
    pub fn is_exceeded(self, rejected: u64, lines: u64) -> bool {
        match self {
            Self::Lines(limit) => rejected > limit,
            Self::Millionths(share) => {
                u128::from(rejected) * 1_000_000 > u128::from(lines) * u128::from(share)
            }
        }
    }
}

impl fmt::Display for RejectLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lines(limit) => write!(f, "{limit} lines"),
            Self::Millionths(share) => write!(f, "{}% of the lines", f64::from(*share) / 10_000.0),
        }
    }
}

impl FromStr for RejectLimit {
    type Err = InvalidRejectLimit;

    fn from_str(text: &str) -> Result<Self, InvalidRejectLimit> {
        let Some(percent) = text.strip_suffix('%') else {
            return text.parse().map(Self::Lines).map_err(|_| InvalidRejectLimit);
        };
        let (whole, fraction) = percent.split_once('.').unwrap_or((percent, ""));
        if fraction.len() > 4 || (percent.contains('.') && fraction.is_empty()) {
            return Err(InvalidRejectLimit);
        }
        let share = format!("{whole}{fraction:0<4}").parse().map_err(|_| InvalidRejectLimit)?;
        if whole.is_empty() || share > 1_000_000 || percent.starts_with('+') {
            return Err(InvalidRejectLimit);
        }
        Ok(Self::Millionths(share))
    }
}

/// A text is not a reject limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a number of lines, or a share such as 1% or 0.25%, up to 100%, with at most four decimals"
)]
pub struct InvalidRejectLimit;

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

/// The open objects with more rejected lines than a limit in lines, in order; none without such a limit.
///
/// Objects with forgotten chunks, which are to be committed again in a new epoch, are not included: if they failed now,
/// the table could keep earlier lines instead of theirs. Objects that were never read have no chunks, so that few are
/// examined.
pub(super) async fn over_reject_limit(
    db: &impl ConnectionTrait,
    limit: Option<RejectLimit>,
) -> Result<Vec<i64>, Error> {
    let Some(RejectLimit::Lines(limit)) = limit else {
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
    limit: RejectLimit,
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
        "more than {limit} were rejected (MAX_REJECTS);{first} fix the cause, then replay it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_a_number_of_lines_or_a_share() {
        for (text, limit, shown) in [
            ("0", RejectLimit::Lines(0), "0 lines"),
            ("1000", RejectLimit::Lines(1000), "1000 lines"),
            ("1%", RejectLimit::Millionths(10_000), "1% of the lines"),
            ("0.25%", RejectLimit::Millionths(2_500), "0.25% of the lines"),
            ("100%", RejectLimit::Millionths(1_000_000), "100% of the lines"),
        ] {
            assert_eq!(text.parse(), Ok(limit));
            assert_eq!(limit.to_string(), shown);
        }
        for text in ["", "%", "-1", "1.5", "+1%", "1.%", ".5%", "0.00001%", "100.1%", "1e2%", "1 %"]
        {
            assert_eq!(text.parse::<RejectLimit>(), Err(InvalidRejectLimit), "{text}");
        }
    }

    #[test]
    fn share_is_exact() {
        let percent = RejectLimit::Millionths(10_000);
        assert!(!percent.is_exceeded(1, 100) && percent.is_exceeded(1, 99));
        let most = u64::MAX;
        assert!(!RejectLimit::Millionths(1_000_000).is_exceeded(most, most));
        assert!(RejectLimit::Millionths(999_999).is_exceeded(most, most));
        assert!(!percent.is_exceeded(0, 0));
    }
}
