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
    /// A chunk takes this many lines at most, blank ones included, and one at least: what becomes of a line takes memory,
    /// however short it is.
    pub chunk_lines: u32,
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
                Some(Verdict::Take) => {
                    self.take_line();
                    if self.lines >= self.limits.chunk_lines {
                        return self.cut_lines();
                    }
                }
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
mod tests;
