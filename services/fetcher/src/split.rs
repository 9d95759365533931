//! Splits content into chunks of whole lines.
//!
//! The offsets depend only on the bytes after a chunk's start and on the [`Limits`], never on the blocks in which the bytes
//! arrive. So a read that starts at any chunk's start finds the same chunks: this is what allows a lost chunk to be read
//! again, also by another fetcher. Memory is bounded by the limits and one block.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

/// How many bytes of an oversized line are kept.
pub const OVERSIZED_BODY: usize = 4 << 10;

/// What decides where content is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A chunk has as many whole lines as fit in this many bytes, newlines included; a longer line is a chunk of its own.
    pub chunk_bytes: usize,
    /// A chunk has at most this many lines, blank ones included, and at least one: every parsed line takes memory, however
    /// short it is.
    pub chunk_lines: u32,
    /// The maximum length of a line in bytes, without its newline; of a longer one only the beginning is kept.
    pub max_line_bytes: usize,
}

/// A run of whole lines, before it is addressed to the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawChunk {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset after the last byte, which is the newline unless the content ends without one.
    pub end: u64,
    /// Number of the first line, from 1.
    pub first_line: u32,
    /// How many lines, blank ones included.
    pub lines: u32,
    /// Whether this is one oversized line, of which the body holds the first [`OVERSIZED_BODY`] bytes.
    pub oversized: bool,
    /// The lines with their newlines.
    pub body: Bytes,
}

/// The object has more lines than a line number can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("object has more than {} lines: split it into several", u32::MAX)]
pub struct TooManyLines;

/// Splits content that arrives in blocks: [`push`](Self::push) a block, then call [`next_chunk`](Self::next_chunk) until it
/// returns none, and repeat; at the end call [`finish`](Self::finish), and take the rest.
///
/// Each byte is copied at most once, and not at all in a chunk that lies within one block.
#[derive(Debug)]
pub struct Splitter {
    limits: Limits,
    /// Where the next chunk starts, and the number of its first line.
    start: u64,
    first_line: u64,
    /// The chunk's bytes: blocks that were scanned, then `block`, which was scanned up to `seen`.
    scanned: VecDeque<Bytes>,
    scanned_bytes: usize,
    block: Bytes,
    seen: usize,
    /// Blocks after those.
    waiting: VecDeque<Bytes>,
    /// The whole lines of the chunk so far, and their bytes.
    lines: u32,
    line_bytes: usize,
    oversized: Option<Oversized>,
    end: End,
}

/// An oversized line whose end was not found yet.
#[derive(Debug, Default)]
struct Oversized {
    bytes: u64,
    body: BytesMut,
}

/// What follows the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    MoreBlocks,
    Complete,
    Truncated,
}

/// What to do with a line, once it is certain.
enum LineAction {
    Take,
    TakeAlone,
    LeaveForNext,
    Shorten,
}

impl Splitter {
    /// Starts at a chunk's start: at offset 0 with line 1, or after any chunk with the number of the next line.
    #[must_use]
    pub fn new(limits: Limits, start: u64, first_line: u64) -> Self {
        Self {
            limits,
            start,
            first_line,
            scanned: VecDeque::new(),
            scanned_bytes: 0,
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
        debug_assert_eq!(self.end, End::MoreBlocks, "no block follows the end");
        self.waiting.push_back(block);
    }

    /// Ends the content: the bytes after the last newline are a line.
    pub fn finish(&mut self) {
        self.end = End::Complete;
    }

    /// Ends the content because what follows cannot be read: the bytes after the last newline are not a line.
    pub fn truncate(&mut self) {
        self.end = End::Truncated;
    }

    /// The next chunk, once its end is certain.
    pub fn next_chunk(&mut self) -> Result<Option<RawChunk>, TooManyLines> {
        loop {
            if self.oversized.is_some() {
                return self.oversized_chunk();
            }
            match self.scan() {
                Some(LineAction::Take) => {
                    self.take_line();
                    if self.lines >= self.limits.chunk_lines {
                        return self.chunk_of_lines();
                    }
                }
                Some(LineAction::TakeAlone) => {
                    self.take_line();
                    return self.chunk_of_lines();
                }
                Some(LineAction::LeaveForNext) => return self.chunk_of_lines(),
                Some(LineAction::Shorten) => {
                    self.rewind();
                    self.oversized = Some(Oversized::default());
                }
                None if self.next_block() => {}
                None => return self.last_chunk(),
            }
        }
    }

    /// Scans for the end of the line after the whole ones.
    fn scan(&mut self) -> Option<LineAction> {
        let rest = &self.block[self.seen..];
        let newline = memchr(b'\n', rest);
        self.seen += newline.map_or(rest.len(), |at| at + 1);
        let bytes = self.scanned_bytes + self.seen - self.line_bytes;
        let has_newline = newline.is_some();
        let length = bytes - usize::from(has_newline);
        if length > self.limits.max_line_bytes {
            return Some(match self.lines {
                0 => LineAction::Shorten,
                _ => LineAction::LeaveForNext,
            });
        }
        if self.line_bytes + bytes > self.limits.chunk_bytes {
            return match self.lines {
                0 => has_newline.then_some(LineAction::TakeAlone),
                _ => Some(LineAction::LeaveForNext),
            };
        }
        has_newline.then_some(LineAction::Take)
    }

    fn take_line(&mut self) {
        self.lines += 1;
        self.line_bytes = self.scanned_bytes + self.seen;
    }

    fn next_block(&mut self) -> bool {
        let Some(next) = self.waiting.pop_front() else {
            return false;
        };
        let block = std::mem::replace(&mut self.block, next);
        self.scanned_bytes += block.len();
        self.scanned.push_back(block);
        self.seen = 0;
        true
    }

    /// Marks all bytes of the chunk as not scanned.
    fn rewind(&mut self) {
        self.waiting.push_front(std::mem::take(&mut self.block));
        while let Some(block) = self.scanned.pop_back() {
            self.waiting.push_front(block);
        }
        self.scanned_bytes = 0;
        self.seen = 0;
    }

    /// A chunk of the whole lines. The bytes scanned after them, at most a line, are scanned again.
    fn chunk_of_lines(&mut self) -> Result<Option<RawChunk>, TooManyLines> {
        let first_line = self.first_line(self.lines)?;
        self.rewind();
        let body = self.take(self.line_bytes);
        let lines = std::mem::take(&mut self.lines);
        self.line_bytes = 0;
        Ok(Some(self.chunk(body.len() as u64, first_line, lines, body)))
    }

    /// A chunk with the beginning of an oversized line, once its end is found.
    fn oversized_chunk(&mut self) -> Result<Option<RawChunk>, TooManyLines> {
        let first_line = self.first_line(1)?;
        let newline = self.consume_oversized();
        if newline == 0 && self.end != End::Complete {
            return Ok(None);
        }
        let Some(line) = self.oversized.take() else {
            return Ok(None);
        };
        let mut chunk = self.chunk(line.bytes + newline, first_line, 1, line.body.freeze());
        chunk.oversized = true;
        Ok(Some(chunk))
    }

    /// Consumes an oversized line up to its newline; returns the length of the newline.
    fn consume_oversized(&mut self) -> u64 {
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

    /// The chunk of what remains when no block is left.
    fn last_chunk(&mut self) -> Result<Option<RawChunk>, TooManyLines> {
        if self.end == End::MoreBlocks {
            return Ok(None);
        }
        let has_last_line = self.scanned_bytes + self.seen > self.line_bytes;
        if self.end == End::Complete && has_last_line {
            self.take_line();
        }
        match self.lines {
            0 => Ok(None),
            _ => self.chunk_of_lines(),
        }
    }

    /// The first `bytes` waiting bytes.
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

    fn chunk(&mut self, bytes: u64, first_line: u32, lines: u32, body: Bytes) -> RawChunk {
        let start = self.start;
        self.start += bytes;
        self.first_line += u64::from(lines);
        RawChunk { start, end: self.start, first_line, lines, oversized: false, body }
    }

    /// The number of the next line, if the numbers of all `lines` fit.
    fn first_line(&self, lines: u32) -> Result<u32, TooManyLines> {
        let next = self.first_line + u64::from(lines);
        match u32::try_from(self.first_line) {
            Ok(first) if next <= u64::from(u32::MAX) + 1 => Ok(first),
            _ => Err(TooManyLines),
        }
    }
}

#[cfg(test)]
mod tests;
