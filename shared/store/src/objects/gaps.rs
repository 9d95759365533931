//! Gaps: the ranges of an object that are not committed.

use jetline_core::ObjectId;
use sea_orm::{FromQueryResult, Value};

use super::ObjectLedger;
use crate::{
    Error,
    statement::{placeholders, query},
};

/// A range of an object that no committed or dead chunk covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Offset of its first byte, decompressed.
    pub start: u64,
    /// Offset after its last byte; `None` where the object was never read to the end.
    pub end: Option<u64>,
    /// Number of its first line.
    pub first_line: u64,
}

#[derive(FromQueryResult)]
struct Covered {
    object_id: i64,
    start_offset: i64,
    end_offset: i64,
    behind_line: i64,
}

impl ObjectLedger {
    /// The gaps of objects with their total bytes, in order for each object; an error for each whose chunks are
    /// inconsistent.
    pub async fn gaps(
        &self,
        objects: &[(ObjectId, Option<u64>)],
    ) -> Result<Vec<Result<Vec<Gap>, Error>>, Error> {
        let ids: Vec<ObjectId> = objects.iter().map(|(object, _)| *object).collect();
        let covered = self.covered(&ids).await?;
        let each = objects.iter().map(|(object, total)| {
            let from = covered.partition_point(|chunk| chunk.object_id < object.get());
            let to = covered.partition_point(|chunk| chunk.object_id <= object.get());
            gaps(&covered[from..to], *total)
        });
        Ok(each.collect())
    }

    /// The chunks of objects that need not be read again, in order.
    async fn covered(&self, objects: &[ObjectId]) -> Result<Vec<Covered>, Error> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT start_offset, end_offset, object_id, first_line + line_count AS behind_line
             FROM chunks WHERE object_id IN ({}) AND state IN ('committed', 'dead')
             ORDER BY object_id, start_offset",
            placeholders(1, objects.len())
        );
        let ids = objects.iter().map(|object| Value::from(object.get()));
        query(&self.db, "read the chunks of objects", &sql, ids).await
    }
}

fn gaps(covered: &[Covered], total: Option<u64>) -> Result<Vec<Gap>, Error> {
    let mut gaps = Vec::new();
    let (mut at, mut line) = (0, 1);
    for chunk in covered {
        let start = chunk.start_offset.cast_unsigned();
        if start < at {
            let overlap = format!("two chunks overlap at byte {start}");
            return Err(Error::Corrupt(overlap));
        }
        if start > at {
            gaps.push(Gap { start: at, end: Some(start), first_line: line });
        }
        at = chunk.end_offset.cast_unsigned();
        line = chunk.behind_line.cast_unsigned();
    }
    if let Some(total) = total.filter(|total| *total < at) {
        let beyond = format!("a chunk ends at byte {at} of an object of {total} bytes");
        return Err(Error::Corrupt(beyond));
    }
    if total != Some(at) {
        gaps.push(Gap { start: at, end: total, first_line: line });
    }
    Ok(gaps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(ranges: &[(i64, i64, i64)]) -> Vec<Covered> {
        let covered = ranges.iter().map(|&(start_offset, end_offset, behind_line)| Covered {
            object_id: 1,
            start_offset,
            end_offset,
            behind_line,
        });
        covered.collect()
    }

    #[test]
    fn gaps_are_before_between_and_after_chunks() {
        let gap = |start, end, first_line| Gap { start, end, first_line };
        let chunks = covered(&[(10, 20, 5), (20, 30, 9), (50, 60, 20)]);
        let expected = [gap(0, Some(10), 1), gap(30, Some(50), 9), gap(60, Some(70), 20)];
        assert_eq!(gaps(&chunks, Some(70)).unwrap(), expected);
        assert_eq!(gaps(&chunks, None).unwrap()[2], gap(60, None, 20));
        assert_eq!(gaps(&chunks, Some(60)).unwrap(), expected[..2]);
    }

    #[test]
    fn object_that_was_never_read_is_one_gap_and_an_empty_one_has_none() {
        assert_eq!(gaps(&[], None).unwrap().len(), 1);
        assert_eq!(gaps(&[], Some(0)).unwrap(), []);
    }

    #[test]
    fn chunks_that_overlap_or_exceed_the_object_are_an_error() {
        assert!(gaps(&covered(&[(0, 20, 5), (10, 30, 9)]), None).is_err());
        assert!(gaps(&covered(&[(0, 20, 5)]), Some(19)).is_err());
    }
}
