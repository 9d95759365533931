use proptest::{collection::vec, prelude::*};

use super::*;

const SMALL: Limits = Limits { chunk_bytes: 10, chunk_lines: u32::MAX, max_line_bytes: 20 };

/// The reference implementation: the rule applied to the whole content at once.
fn reference(content: &[u8], limits: Limits) -> Vec<RawChunk> {
    let mut chunks: Vec<RawChunk> = Vec::new();
    let (mut start, mut number) = (0, 1);
    for line in content.split_inclusive(|&byte| byte == b'\n') {
        let bare = line.strip_suffix(b"\n").unwrap_or(line);
        let oversized = bare.len() > limits.max_line_bytes;
        let body = if oversized { &bare[..bare.len().min(OVERSIZED_BODY)] } else { line };
        let end = start + line.len() as u64;
        match chunks.last_mut() {
            Some(last)
                if !last.oversized
                    && !oversized
                    && last.body.len() + line.len() <= limits.chunk_bytes
                    && last.lines < limits.chunk_lines =>
            {
                last.body = [&last.body, line].concat().into();
                last.end = end;
                last.lines += 1;
            }
            _ => chunks.push(RawChunk {
                start,
                end,
                first_line: number,
                lines: 1,
                oversized,
                body: Bytes::copy_from_slice(body),
            }),
        }
        start = end;
        number += 1;
    }
    chunks
}

/// Pushes blocks of the given lengths in a cycle, and takes the chunks after each. What damages the content ends it.
pub(super) fn chunks(
    splitter: Splitter,
    content: &[u8],
    lengths: &[usize],
) -> (Vec<RawChunk>, Option<SplitError>) {
    let (mut splitter, mut chunks, mut content) = (splitter, Vec::new(), content);
    let mut lengths = lengths.iter().cycle();
    loop {
        if content.is_empty() {
            splitter.finish();
        } else {
            let (block, rest) = content.split_at(content.len().min(*lengths.next().unwrap()));
            splitter.push(Bytes::copy_from_slice(block));
            content = rest;
        }
        loop {
            match splitter.next_chunk() {
                Ok(Some(chunk)) => chunks.push(chunk),
                Ok(None) if splitter.end != End::MoreBlocks => return (chunks, None),
                Ok(None) => break,
                Err(error) => {
                    splitter.truncate();
                    chunks.extend(std::iter::from_fn(|| splitter.next_chunk().unwrap()));
                    return (chunks, Some(error));
                }
            }
        }
    }
}

fn split(content: &[u8], limits: Limits) -> Vec<RawChunk> {
    let (chunks, damage) = chunks(lines(limits, 0, 1), content, &[7]);
    assert_eq!((&chunks, damage), (&reference(content, limits), None));
    chunks
}

fn lines(limits: Limits, start: u64, first_line: u64) -> Splitter {
    Splitter::new(Format::JsonLines, limits, start, first_line)
}

fn bodies(chunks: &[RawChunk]) -> Vec<&str> {
    chunks.iter().map(|chunk| std::str::from_utf8(&chunk.body).unwrap()).collect()
}

#[test]
fn chunk_takes_as_many_whole_lines_as_fit() {
    let chunks = split(b"1234\n678\n1234\n6789\n1\n", SMALL);
    assert_eq!(bodies(&chunks), ["1234\n678\n", "1234\n6789\n", "1\n"]);
    assert_eq!((chunks[1].start, chunks[1].end), (9, 19));
    assert_eq!((chunks[1].first_line, chunks[1].lines), (3, 2));
}

#[test]
fn chunk_takes_no_more_lines_than_the_limit() {
    let limits = Limits { chunk_lines: 2, ..SMALL };
    let chunks = split(b"1\n\n3\n4\n1234567\n6\n7", limits);
    assert_eq!(bodies(&chunks), ["1\n\n", "3\n4\n", "1234567\n6\n", "7"]);
    assert_eq!((chunks[1].first_line, chunks[1].lines), (3, 2));
    let none = Limits { chunk_lines: 0, ..SMALL };
    assert_eq!(bodies(&split(b"1\n2\n", none)), ["1\n", "2\n"]);
}

#[test]
fn full_chunk_is_returned_before_the_next_line_arrives() {
    let limits = Limits { chunk_lines: 2, ..SMALL };
    let mut splitter = lines(limits, 0, 1);
    splitter.push("1\n2\n".into());
    assert_eq!(splitter.next_chunk().unwrap().unwrap().body, "1\n2\n");
    splitter.finish();
    assert_eq!(splitter.next_chunk(), Ok(None));
}

#[test]
fn line_longer_than_a_chunk_is_a_chunk_of_its_own() {
    let chunks = split(b"1\n2345678901234\n2\n", SMALL);
    assert_eq!(bodies(&chunks), ["1\n", "2345678901234\n", "2\n"]);
    assert!(chunks.iter().all(|chunk| !chunk.oversized));
}

#[test]
fn last_line_may_lack_its_newline() {
    assert_eq!(bodies(&split(b"1\n2", SMALL)), ["1\n2"]);
    assert_eq!(bodies(&split(b"1234\n67890", SMALL)), ["1234\n67890"]);
    assert_eq!(bodies(&split(b"1234\n678901", SMALL)), ["1234\n", "678901"]);
    assert_eq!(bodies(&split(b"12345678901234567890", SMALL)).len(), 1);
}

#[test]
fn empty_content_has_no_chunk_and_blank_lines_are_lines() {
    assert_eq!(split(b"", SMALL), []);
    let chunks = split(b"\n\n\n", SMALL);
    assert_eq!((chunks.len(), chunks[0].lines), (1, 3));
}

#[test]
fn carriage_returns_and_byte_order_marks_are_kept() {
    let chunks = split("\u{feff}1\r\n2\r\n".as_bytes(), SMALL);
    assert_eq!(bodies(&chunks), ["\u{feff}1\r\n2\r\n"]);
}

#[test]
fn oversized_line_is_shortened_alone() {
    let long = "x".repeat(10_000);
    let chunks = split(format!("1\n{long}\n2\n{long}").as_bytes(), SMALL);
    assert_eq!(bodies(&chunks), ["1\n", &long[..4_096], "2\n", &long[..4_096]]);
    assert_eq!((chunks[1].start, chunks[1].end), (2, 10_003));
    assert_eq!(chunks[2].first_line, 3);
    assert_eq!((chunks[3].start, chunks[3].end), (10_005, 20_005));
    assert!(chunks[1].oversized && chunks[3].oversized);
}

#[test]
fn limit_counts_the_line_without_its_newline() {
    let fits = "x".repeat(20) + "\n";
    assert!(!split(fits.as_bytes(), SMALL)[0].oversized);
    let chunks = split(format!("x{fits}").as_bytes(), SMALL);
    assert!(chunks[0].oversized);
    assert_eq!((chunks[0].body.len(), chunks[0].end), (21, 22));
}

#[test]
fn oversized_line_that_fits_a_chunk_is_a_chunk_of_its_own() {
    let limits = Limits { chunk_bytes: 100, max_line_bytes: 3, ..SMALL };
    let chunks = split(b"1\n2\n1234\n3\n", limits);
    assert_eq!(bodies(&chunks), ["1\n2\n", "1234", "3\n"]);
}

#[test]
fn truncated_content_keeps_only_whole_lines() {
    for (content, kept) in [("1\n2\n345", "1\n2\n"), ("123", ""), ("", "")] {
        let mut splitter = lines(SMALL, 0, 1);
        splitter.push(content.into());
        splitter.truncate();
        let chunk = splitter.next_chunk().unwrap();
        assert_eq!(chunk.map_or(Bytes::new(), |chunk| chunk.body), kept);
        assert_eq!(splitter.next_chunk(), Ok(None));
    }
    let mut splitter = lines(SMALL, 0, 1);
    splitter.push("x".repeat(100).into());
    splitter.truncate();
    assert_eq!(splitter.next_chunk(), Ok(None));
}

#[test]
fn line_of_any_length_takes_bounded_memory() {
    let mut splitter = lines(SMALL, 0, 1);
    for _ in 0..1_000 {
        splitter.push(Bytes::from_static(&[b'x'; 1_000]));
        assert_eq!(splitter.next_chunk(), Ok(None));
        assert!(splitter.waiting.is_empty() && splitter.scanned.is_empty());
    }
    splitter.finish();
    let chunk = splitter.next_chunk().unwrap().unwrap();
    assert_eq!((chunk.end, chunk.body.len()), (1_000_000, OVERSIZED_BODY));
}

#[test]
fn chunk_within_a_block_is_not_copied() {
    let block = Bytes::from_static(b"1234\n678\n1234\n6789\n");
    let mut splitter = lines(SMALL, 0, 1);
    splitter.push(block.clone());
    let chunk = splitter.next_chunk().unwrap().unwrap();
    assert_eq!(chunk.body.as_ptr(), block.as_ptr());
}

#[test]
fn more_lines_than_can_be_numbered_are_an_error() {
    let mut splitter = lines(SMALL, 0, u64::from(u32::MAX) - 1);
    splitter.push("123456789\n123456789\n123456789\n".into());
    splitter.finish();
    assert!(splitter.next_chunk().unwrap().is_some());
    assert_eq!(splitter.next_chunk().unwrap().unwrap().first_line, u32::MAX);
    assert_eq!(splitter.next_chunk(), Err(TooManyLines.into()));
    assert_eq!(splitter.next_chunk(), Err(TooManyLines.into()));
}

prop_compose! {
    fn limits()(
        chunk_bytes in 0_usize..60,
        chunk_lines in prop_oneof![0_u32..12, Just(u32::MAX)],
        max_line_bytes in 0_usize..60,
    ) -> Limits {
        Limits { chunk_bytes, chunk_lines, max_line_bytes }
    }
}

/// Lines of lengths near the limits, and sometimes one longer than [`OVERSIZED_BODY`].
fn content() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![1 => Just(b'\n'), 12 => any::<u8>()];
    let short = vec(byte, 0..300);
    let long = prop_oneof![6 => Just(0), 1 => 4_000_usize..9_000];
    (short.clone(), long, short)
        .prop_map(|(before, long, after)| [before, vec![b'x'; long], after].concat())
}

proptest! {
    #[test]
    fn chunks_do_not_depend_on_the_blocks(
        content in content(),
        limits in limits(),
        lengths in vec(1_usize..90, 1..9),
    ) {
        let chunks = chunks(lines(limits, 0, 1), &content, &lengths).0;
        prop_assert_eq!(&chunks, &reference(&content, limits));
        if chunks.iter().all(|chunk| !chunk.oversized) {
            let bodies: Vec<_> = chunks.iter().map(|chunk| chunk.body.clone()).collect();
            prop_assert_eq!(bodies.concat(), content);
        }
    }

    #[test]
    fn splitter_that_starts_at_a_chunk_finds_the_same_chunks(
        content in content(),
        limits in limits(),
        lengths in vec(1_usize..90, 1..9),
    ) {
        let all = chunks(lines(limits, 0, 1), &content, &lengths).0;
        for (index, chunk) in all.iter().enumerate().step_by(1 + all.len() / 20) {
            let splitter = lines(limits, chunk.start, chunk.first_line.into());
            let rest = &content[usize::try_from(chunk.start).unwrap()..];
            prop_assert_eq!(&chunks(splitter, rest, &[97]).0[..], &all[index..]);
        }
    }
}
