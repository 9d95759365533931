//! A batch in parts that fit into memory: what bounds a batch is not what its chunks are, but what becomes of them.
//!
//! A line of two bytes becomes a rejected line of several hundred, with its reason, and stands there several times on its
//! way into the database. So do the texts of a record, each of which is a piece of memory of its own.

use jetline_queue::Chunk;

/// How much memory the lines of one part take at most, about; a chunk that takes more is a part by itself.
const PART_BYTES: usize = 64 << 20;

/// What becomes of a line, however short it is: the row or the rejected line, its claim, and its place in statements.
const LINE_BYTES: usize = 1 << 10;

/// How often what a line says is in memory, about, while it is written to the database.
const COPIES: usize = 4;

/// How many chunks from the first one on are parsed and committed together: one at least, if there are any.
pub(crate) fn first_part<'a>(chunks: impl IntoIterator<Item = &'a Chunk>) -> usize {
    let mut chunks = chunks.into_iter().map(memory);
    let Some(first) = chunks.next() else {
        return 0;
    };
    let sums = chunks.scan(first, |sum, memory| {
        *sum = sum.saturating_add(memory);
        Some(*sum)
    });
    1 + sums.take_while(|sum| *sum <= PART_BYTES).count()
}

/// How much memory the lines of a chunk take once they are parsed, about, and at most.
fn memory(chunk: &Chunk) -> usize {
    // What the chunk says of itself may be wrong: a line has one byte at least.
    let lines = (chunk.lines as usize).min(chunk.body.len());
    (lines * LINE_BYTES).saturating_add(chunk.body.len() * COPIES)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jetline_records::ObjectId;

    use super::*;

    fn chunk(lines: u32, bytes: usize) -> Chunk {
        Chunk {
            object: ObjectId::default(),
            registration: String::new(),
            dataset: "products".into(),
            start: 0,
            end: bytes as u64,
            first_line: 1,
            lines,
            oversized: false,
            settled: ObjectId::default(),
            reading: String::new(),
            trace: None,
            body: Bytes::from(vec![b'\n'; bytes]),
        }
    }

    #[test]
    fn ordinary_chunks_are_one_part() {
        let chunks = vec![chunk(480, 256 << 10); 16];
        assert_eq!(first_part(&chunks), 16);
        assert_eq!(first_part(&[]), 0);
    }

    #[test]
    fn chunks_with_more_lines_than_fit_are_several_parts() {
        let chunks = vec![chunk(20_000, 40_000); 16];
        assert_eq!(first_part(&chunks), 3);
        let large = [chunk(200_000, 400_000), chunk(1, 2)];
        assert_eq!(first_part(&large), 1);
    }

    #[test]
    fn lines_that_are_not_there_take_no_memory() {
        let chunks = vec![chunk(u32::MAX, 10); 16];
        assert_eq!(first_part(&chunks), 16);
    }
}
