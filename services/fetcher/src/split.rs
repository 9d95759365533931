//! Content cut into chunks of whole lines.
//!
//! Where it is cut depends on the bytes behind a chunk's start and on the [`Limits`] alone, never on the blocks that
//! they come in. So whoever starts at the start of any chunk cuts at the same places: this is what lets a lost chunk be
//! read again, by another fetcher too. Memory is bounded by the limits and a block.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

/// How much of a line beyond the limit is kept, in bytes.
pub const OVERSIZED_BODY: usize = 4 << 10;

/// What decides where content is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A chunk takes as many whole lines as fit in this many bytes, newlines included; a longer line stands alone.
    pub chunk_bytes: usize,
    /// The longest line, in bytes without its newline; of a longer one only the beginning is kept.
    pub max_line_bytes: usize,
}

/// A run of whole lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset behind the last byte, which is the newline unless the content ends without one.
    pub end: u64,
    /// Number of the first line, from 1.
    pub first_line: u32,
    /// How many lines, blank ones included.
    pub lines: u32,
    /// Whether this is one line beyond the limit, of which the body holds the first [`OVERSIZED_BODY`] bytes.
    pub oversized: bool,
    /// The lines with their newlines.
    pub body: Bytes,
}

/// More lines than a line number can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("object has more than {} lines: split it into several", u32::MAX)]
pub struct TooManyLines;

/// Cuts content that comes in blocks: [`push`](Self::push) one and take [`cut`](Self::cut)s until there is none, again
/// and again; at last [`finish`](Self::finish) and take the rest.
///
/// Of each byte at most one copy is made, and none of those in a chunk that lies within a block.
#[derive(Debug)]
pub struct Splitter {
    limits: Limits,
    /// Where the next chunk starts, and the number of its first line.
    start: u64,
    first_line: u64,
    /// The chunk's bytes: blocks that were looked at, then one that was as far as `seen`.
    held: VecDeque<Bytes>,
    held_bytes: usize,
    block: Bytes,
    seen: usize,
    /// Blocks behind those.
    waiting: VecDeque<Bytes>,
    /// Whole lines that the chunk has so far, and their bytes.
    lines: u32,
    line_bytes: usize,
    oversized: Option<Oversized>,
    end: End,
}

/// A line beyond the limit, whose end is looked for.
#[derive(Debug, Default)]
struct Oversized {
    bytes: u64,
    body: BytesMut,
}

/// What comes behind the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    MoreBlocks,
    Complete,
    Broken,
}

/// What is to be done with a line, as soon as it is certain.
enum Verdict {
    Take,
    TakeAlone,
    LeaveForNext,
    Shorten,
}

impl Splitter {
    /// Starts at a chunk's start: at 0 with line 1, or behind any cut with the number of the line that follows.
    #[must_use]
    pub fn new(limits: Limits, start: u64, first_line: u32) -> Self {
        Self {
            limits,
            start,
            first_line: first_line.into(),
            held: VecDeque::new(),
            held_bytes: 0,
            block: Bytes::new(),
            seen: 0,
            waiting: VecDeque::new(),
            lines: 0,
            line_bytes: 0,
            oversized: None,
            end: End::MoreBlocks,
        }
    }

    /// Adds the next block.
    pub fn push(&mut self, block: Bytes) {
        debug_assert_eq!(self.end, End::MoreBlocks, "nothing comes behind the end");
        self.waiting.push_back(block);
    }

    /// Says that the content is complete: what is behind the last newline is a line.
    pub fn finish(&mut self) {
        self.end = End::Complete;
    }

    /// Says that the content is damaged behind the last block: what is behind the last newline is no line.
    pub fn break_off(&mut self) {
        self.end = End::Broken;
    }

    /// The next chunk, as soon as it is certain where it ends.
    pub fn cut(&mut self) -> Result<Option<Cut>, TooManyLines> {
        loop {
            if self.oversized.is_some() {
                return self.cut_oversized();
            }
            match self.look() {
                Some(Verdict::Take) => self.take_line(),
                Some(Verdict::TakeAlone) => {
                    self.take_line();
                    return self.cut_lines();
                }
                Some(Verdict::LeaveForNext) => return self.cut_lines(),
                Some(Verdict::Shorten) => {
                    self.rewind();
                    self.oversized = Some(Oversized::default());
                }
                None if self.next_block() => {}
                None => return self.cut_rest(),
            }
        }
    }

    /// Looks for the end of the line that begins behind the whole ones.
    fn look(&mut self) -> Option<Verdict> {
        let rest = &self.block[self.seen..];
        let newline = memchr(b'\n', rest);
        self.seen += newline.map_or(rest.len(), |at| at + 1);
        let bytes = self.held_bytes + self.seen - self.line_bytes;
        let is_whole = newline.is_some();
        let length = bytes - usize::from(is_whole);
        if length > self.limits.max_line_bytes {
            return Some(match self.lines {
                0 => Verdict::Shorten,
                _ => Verdict::LeaveForNext,
            });
        }
        if self.line_bytes + bytes > self.limits.chunk_bytes {
            return match self.lines {
                0 => is_whole.then_some(Verdict::TakeAlone),
                _ => Some(Verdict::LeaveForNext),
            };
        }
        is_whole.then_some(Verdict::Take)
    }

    fn take_line(&mut self) {
        self.lines += 1;
        self.line_bytes = self.held_bytes + self.seen;
    }

    fn next_block(&mut self) -> bool {
        let Some(next) = self.waiting.pop_front() else {
            return false;
        };
        let block = std::mem::replace(&mut self.block, next);
        self.held_bytes += block.len();
        self.held.push_back(block);
        self.seen = 0;
        true
    }

    /// Lets all bytes of the chunk be looked at again.
    fn rewind(&mut self) {
        self.waiting.push_front(std::mem::take(&mut self.block));
        while let Some(block) = self.held.pop_back() {
            self.waiting.push_front(block);
        }
        self.held_bytes = 0;
        self.seen = 0;
    }

    /// A chunk of the whole lines. What was looked at behind them, at most a line, is looked at again.
    fn cut_lines(&mut self) -> Result<Option<Cut>, TooManyLines> {
        let (first_line, lines) = self.number(self.lines)?;
        self.rewind();
        let body = self.take(self.line_bytes);
        self.lines = 0;
        self.line_bytes = 0;
        Ok(Some(self.chunk(body.len() as u64, first_line, lines, body)))
    }

    /// A chunk of the beginning of a line whose end is found.
    fn cut_oversized(&mut self) -> Result<Option<Cut>, TooManyLines> {
        let (first_line, lines) = self.number(1)?;
        let newline = self.skip();
        if newline == 0 && self.end != End::Complete {
            return Ok(None);
        }
        let Some(line) = self.oversized.take() else {
            return Ok(None);
        };
        let mut cut = self.chunk(line.bytes + newline, first_line, lines, line.body.freeze());
        cut.oversized = true;
        Ok(Some(cut))
    }

    /// Drops a line up to its newline, and says how long the newline is.
    fn skip(&mut self) -> u64 {
        while let (Some(line), Some(mut block)) = (&mut self.oversized, self.waiting.pop_front()) {
            let newline = memchr(b'\n', &block);
            let length = newline.unwrap_or(block.len());
            let room = OVERSIZED_BODY - line.body.len();
            line.body.extend_from_slice(&block[..length.min(room)]);
            line.bytes += length as u64;
            if newline.is_some() {
                block.advance(length + 1);
                self.waiting.push_front(block);
                return 1;
            }
        }
        0
    }

    /// What there is when no block is left.
    fn cut_rest(&mut self) -> Result<Option<Cut>, TooManyLines> {
        if self.end == End::MoreBlocks {
            return Ok(None);
        }
        let has_last_line = self.held_bytes + self.seen > self.line_bytes;
        if self.end == End::Complete && has_last_line {
            self.take_line();
        }
        match self.lines {
            0 => Ok(None),
            _ => self.cut_lines(),
        }
    }

    /// The first so many waiting bytes.
    fn take(&mut self, bytes: usize) -> Bytes {
        while self.waiting.front().is_some_and(Bytes::is_empty) {
            self.waiting.pop_front();
        }
        match self.waiting.front_mut() {
            Some(block) if block.len() >= bytes => return block.split_to(bytes),
            _ => {}
        }
        let mut body = BytesMut::with_capacity(bytes);
        while let Some(block) = self.waiting.front_mut() {
            let part = block.split_to(block.len().min(bytes - body.len()));
            body.extend_from_slice(&part);
            if body.len() == bytes {
                break;
            }
            self.waiting.pop_front();
        }
        body.freeze()
    }

    fn chunk(&mut self, bytes: u64, first_line: u32, lines: u32, body: Bytes) -> Cut {
        let start = self.start;
        self.start += bytes;
        self.first_line += u64::from(lines);
        Cut {
            start,
            end: self.start,
            first_line,
            lines,
            oversized: false,
            body,
        }
    }

    /// The number of the next line, when that of the last one fits too.
    fn number(&self, lines: u32) -> Result<(u32, u32), TooManyLines> {
        let behind = self.first_line + u64::from(lines);
        match u32::try_from(self.first_line) {
            Ok(first) if behind <= u64::from(u32::MAX) + 1 => Ok((first, lines)),
            _ => Err(TooManyLines),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const SMALL: Limits = Limits {
        chunk_bytes: 10,
        max_line_bytes: 20,
    };

    /// The rule, in the shortest words: on all bytes at once.
    fn cuts_by_rule(content: &[u8], limits: Limits) -> Vec<Cut> {
        let mut cuts: Vec<Cut> = Vec::new();
        let (mut start, mut number) = (0, 1);
        for line in content.split_inclusive(|&byte| byte == b'\n') {
            let bare = line.strip_suffix(b"\n").unwrap_or(line);
            let oversized = bare.len() > limits.max_line_bytes;
            let body = if oversized {
                &bare[..bare.len().min(OVERSIZED_BODY)]
            } else {
                line
            };
            let end = start + line.len() as u64;
            match cuts.last_mut() {
                Some(last)
                    if !last.oversized
                        && !oversized
                        && last.body.len() + line.len() <= limits.chunk_bytes =>
                {
                    last.body = [&last.body, line].concat().into();
                    last.end = end;
                    last.lines += 1;
                }
                _ => cuts.push(Cut {
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
        cuts
    }

    /// Pushes blocks of these lengths, again and again, and takes cuts after each.
    fn cuts(splitter: Splitter, content: &[u8], lengths: &[usize]) -> Vec<Cut> {
        let (mut splitter, mut cuts, mut content) = (splitter, Vec::new(), content);
        let mut lengths = lengths.iter().cycle();
        while !content.is_empty() {
            let (block, rest) = content.split_at(content.len().min(*lengths.next().unwrap()));
            content = rest;
            splitter.push(Bytes::copy_from_slice(block));
            cuts.extend(std::iter::from_fn(|| splitter.cut().unwrap()));
        }
        splitter.finish();
        cuts.extend(std::iter::from_fn(|| splitter.cut().unwrap()));
        cuts
    }

    fn split(content: &[u8], limits: Limits) -> Vec<Cut> {
        let cuts = cuts(Splitter::new(limits, 0, 1), content, &[7]);
        assert_eq!(cuts, cuts_by_rule(content, limits));
        cuts
    }

    fn bodies(cuts: &[Cut]) -> Vec<&str> {
        cuts.iter()
            .map(|cut| std::str::from_utf8(&cut.body).unwrap())
            .collect()
    }

    #[test]
    fn chunk_takes_as_many_whole_lines_as_fit() {
        let cuts = split(b"1234\n678\n1234\n6789\n1\n", SMALL);
        assert_eq!(bodies(&cuts), ["1234\n678\n", "1234\n6789\n", "1\n"]);
        assert_eq!((cuts[1].start, cuts[1].end), (9, 19));
        assert_eq!((cuts[1].first_line, cuts[1].lines), (3, 2));
    }

    #[test]
    fn long_line_stands_alone() {
        let cuts = split(b"1\n2345678901234\n2\n", SMALL);
        assert_eq!(bodies(&cuts), ["1\n", "2345678901234\n", "2\n"]);
        assert!(cuts.iter().all(|cut| !cut.oversized));
    }

    #[test]
    fn last_line_may_lack_its_newline() {
        assert_eq!(bodies(&split(b"1\n2", SMALL)), ["1\n2"]);
        assert_eq!(bodies(&split(b"1234\n67890", SMALL)), ["1234\n67890"]);
        assert_eq!(bodies(&split(b"1234\n678901", SMALL)), ["1234\n", "678901"]);
        assert_eq!(bodies(&split(b"12345678901234567890", SMALL)).len(), 1);
    }

    #[test]
    fn nothing_is_no_chunk_and_newlines_are_lines() {
        assert_eq!(split(b"", SMALL), []);
        let cuts = split(b"\n\n\n", SMALL);
        assert_eq!((cuts.len(), cuts[0].lines), (1, 3));
    }

    #[test]
    fn carriage_returns_and_byte_order_marks_stay() {
        let cuts = split("\u{feff}1\r\n2\r\n".as_bytes(), SMALL);
        assert_eq!(bodies(&cuts), ["\u{feff}1\r\n2\r\n"]);
    }

    #[test]
    fn line_beyond_the_limit_is_shortened_and_its_neighbours_stay() {
        let long = "x".repeat(10_000);
        let cuts = split(format!("1\n{long}\n2\n{long}").as_bytes(), SMALL);
        assert_eq!(
            bodies(&cuts),
            ["1\n", &long[..4_096], "2\n", &long[..4_096]]
        );
        assert_eq!((cuts[1].start, cuts[1].end), (2, 10_003));
        assert_eq!(cuts[2].first_line, 3);
        assert_eq!((cuts[3].start, cuts[3].end), (10_005, 20_005));
        assert!(cuts[1].oversized && cuts[3].oversized);
    }

    #[test]
    fn limit_counts_the_line_without_its_newline() {
        let fits = "x".repeat(20) + "\n";
        assert!(!split(fits.as_bytes(), SMALL)[0].oversized);
        let cuts = split(format!("x{fits}").as_bytes(), SMALL);
        assert!(cuts[0].oversized);
        assert_eq!((cuts[0].body.len(), cuts[0].end), (21, 22));
    }

    #[test]
    fn line_within_a_chunk_but_beyond_the_limit_stands_alone() {
        let limits = Limits {
            chunk_bytes: 100,
            max_line_bytes: 3,
        };
        let cuts = split(b"1\n2\n1234\n3\n", limits);
        assert_eq!(bodies(&cuts), ["1\n2\n", "1234", "3\n"]);
    }

    #[test]
    fn damaged_content_keeps_its_whole_lines_only() {
        for (content, kept) in [("1\n2\n345", "1\n2\n"), ("123", ""), ("", "")] {
            let mut splitter = Splitter::new(SMALL, 0, 1);
            splitter.push(content.into());
            splitter.break_off();
            let cut = splitter.cut().unwrap();
            assert_eq!(cut.map_or(Bytes::new(), |cut| cut.body), kept);
            assert_eq!(splitter.cut(), Ok(None));
        }
        let mut splitter = Splitter::new(SMALL, 0, 1);
        splitter.push("x".repeat(100).into());
        splitter.break_off();
        assert_eq!(splitter.cut(), Ok(None));
    }

    #[test]
    fn line_of_any_length_takes_bounded_memory() {
        let mut splitter = Splitter::new(SMALL, 0, 1);
        for _ in 0..1_000 {
            splitter.push(Bytes::from_static(&[b'x'; 1_000]));
            assert_eq!(splitter.cut(), Ok(None));
            assert!(splitter.waiting.is_empty() && splitter.held.is_empty());
        }
        splitter.finish();
        let cut = splitter.cut().unwrap().unwrap();
        assert_eq!((cut.end, cut.body.len()), (1_000_000, OVERSIZED_BODY));
    }

    #[test]
    fn chunk_within_a_block_is_not_copied() {
        let block = Bytes::from_static(b"1234\n678\n1234\n6789\n");
        let mut splitter = Splitter::new(SMALL, 0, 1);
        splitter.push(block.clone());
        let cut = splitter.cut().unwrap().unwrap();
        assert_eq!(cut.body.as_ptr(), block.as_ptr());
    }

    #[test]
    fn more_lines_than_can_be_numbered_are_an_error() {
        let mut splitter = Splitter::new(SMALL, 0, u32::MAX - 1);
        splitter.push("123456789\n123456789\n123456789\n".into());
        splitter.finish();
        assert!(splitter.cut().unwrap().is_some());
        assert_eq!(splitter.cut().unwrap().unwrap().first_line, u32::MAX);
        assert_eq!(splitter.cut(), Err(TooManyLines));
        assert_eq!(splitter.cut(), Err(TooManyLines));
    }

    prop_compose! {
        fn limits()(chunk_bytes in 0_usize..60, max_line_bytes in 0_usize..60) -> Limits {
            Limits { chunk_bytes, max_line_bytes }
        }
    }

    /// Lines of lengths about the limits, and now and then of one beyond the kept beginning.
    fn content() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![1 => Just(b'\n'), 12 => any::<u8>()];
        let short = vec(byte, 0..300);
        let long = prop_oneof![6 => Just(0), 1 => 4_000_usize..9_000];
        (short.clone(), long, short)
            .prop_map(|(before, long, after)| [before, vec![b'x'; long], after].concat())
    }

    proptest! {
        #[test]
        fn cuts_follow_the_rule_whatever_the_blocks(
            content in content(),
            limits in limits(),
            lengths in vec(1_usize..90, 1..9),
        ) {
            let cuts = cuts(Splitter::new(limits, 0, 1), &content, &lengths);
            prop_assert_eq!(&cuts, &cuts_by_rule(&content, limits));
            if cuts.iter().all(|cut| !cut.oversized) {
                let bodies: Vec<_> = cuts.iter().map(|cut| cut.body.clone()).collect();
                prop_assert_eq!(bodies.concat(), content);
            }
        }

        #[test]
        fn whoever_starts_at_a_cut_cuts_at_the_same_places(
            content in content(),
            limits in limits(),
            lengths in vec(1_usize..90, 1..9),
        ) {
            let all = cuts(Splitter::new(limits, 0, 1), &content, &lengths);
            for (index, cut) in all.iter().enumerate().step_by(1 + all.len() / 20) {
                let splitter = Splitter::new(limits, cut.start, cut.first_line);
                let rest = &content[usize::try_from(cut.start).unwrap()..];
                prop_assert_eq!(&cuts(splitter, rest, &[97])[..], &all[index..]);
            }
        }
    }
}
