//! The lines that superseded lines of a chunk, as they are stored with it.

use jetline_core::ObjectId;

use crate::Error;

/// Lines of an object that superseded others, as a range that may include more lines than those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupersededBy {
    /// The object of the superseding lines.
    pub object: ObjectId,
    /// Number of the first line.
    pub first_line: u32,
    /// Number of the last line.
    pub last_line: u32,
}

impl SupersededBy {
    /// The value of the column `outdone_by`: `[[object, first line, last line], …]`.
    pub(crate) fn to_json(all: &[Self]) -> Option<String> {
        if all.is_empty() {
            return None;
        }
        let each = all.iter().map(|by| {
            let Self { object, first_line, last_line } = by;
            format!("[{object},{first_line},{last_line}]")
        });
        Some(format!("[{}]", each.collect::<Vec<_>>().join(",")))
    }

    /// Parses the value of the column.
    pub(crate) fn from_json(text: &str) -> Result<Vec<Self>, Error> {
        let corrupt = || Error::Corrupt(format!("outdone_by of a chunk: {text:?}"));
        let ranges: Vec<(i64, u32, u32)> = serde_json::from_str(text).map_err(|_| corrupt())?;
        let each = ranges.into_iter().map(|(object, first_line, last_line)| {
            Some(Self { object: ObjectId::new(object)?, first_line, last_line })
        });
        each.collect::<Option<Vec<_>>>().ok_or_else(corrupt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(object: i64, first_line: u32, last_line: u32) -> SupersededBy {
        SupersededBy { object: ObjectId::new(object).unwrap(), first_line, last_line }
    }

    #[test]
    fn column_value_is_read_as_it_was_written() {
        assert_eq!(SupersededBy::to_json(&[]), None);
        let lines = [by(7, 1, 9), by(i64::from(i32::MAX), u32::MAX, u32::MAX)];
        assert_eq!(
            SupersededBy::from_json(&SupersededBy::to_json(&lines).unwrap()).unwrap(),
            lines
        );
        assert!(SupersededBy::from_json("[[7,1]]").is_err());
        assert!(SupersededBy::from_json("[[-1,1,1]]").is_err());
    }
}
