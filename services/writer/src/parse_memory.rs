//! Splits received chunks into parts whose parsed form fits into memory. The size of the chunks is no bound for that.
//!
//! A line of two bytes may become a rejected line of several hundred, with its reason, of which there are several
//! copies until it is in the database. The same holds for the texts of a record, each of which is an allocation of its
//! own.

use jetline_queue::Chunk;

/// Approximate limit of the memory for the lines of one part; a chunk that needs more is a part by itself.
const MAX_PART_BYTES: usize = 64 << 20;

/// Memory for a line, however short it is: its row or rejected line, its claim, and its share of the statements.
const BYTES_PER_LINE: usize = 1 << 10;

/// Approximate number of copies of a line's text in memory while it is written to the database; one of them is that for the
/// history.
const COPIES_PER_LINE: usize = 5;

/// How many chunks, from the first one on, are parsed and committed together; at least one, if there are any.
pub(crate) fn count_that_fits<'a>(chunks: impl IntoIterator<Item = &'a Chunk>) -> usize {
    let mut chunks = chunks.into_iter().map(memory);
    let Some(first) = chunks.next() else {
        return 0;
    };
    let sums = chunks.scan(first, |sum, memory| {
        *sum = sum.saturating_add(memory);
        Some(*sum)
    });
    1 + sums.take_while(|sum| *sum <= MAX_PART_BYTES).count()
}

/// Estimated upper bound of the memory for the lines of a chunk once they are parsed.
fn memory(chunk: &Chunk) -> usize {
    (chunk.max_lines() * BYTES_PER_LINE).saturating_add(chunk.body.len() * COPIES_PER_LINE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::tests;

    fn chunk(lines: u32, bytes: usize) -> Chunk {
        Chunk { lines, ..tests::chunk(0, &"\n".repeat(bytes)) }
    }

    #[test]
    fn ordinary_chunks_are_one_part() {
        let chunks = vec![chunk(480, 256 << 10); 16];
        assert_eq!(count_that_fits(&chunks), 16);
        assert_eq!(count_that_fits(&[]), 0);
    }

    #[test]
    fn chunks_with_more_lines_than_fit_are_several_parts() {
        let chunks = vec![chunk(20_000, 40_000); 16];
        assert_eq!(count_that_fits(&chunks), 3);
        let large = [chunk(200_000, 400_000), chunk(1, 2)];
        assert_eq!(count_that_fits(&large), 1);
    }

    #[test]
    fn line_count_that_is_too_high_takes_no_memory() {
        let chunks = vec![chunk(u32::MAX, 10); 16];
        assert_eq!(count_that_fits(&chunks), 16);
    }
}
