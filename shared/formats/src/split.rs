//! Splits content into chunks of whole records.
//!
//! A chunk counts the lines of its records; for JSON in other forms than lines, a record counts as a line. The offsets depend only on the bytes after a chunk's start and on the [`Limits`], never on the blocks in which the bytes
//! arrive. So a read that starts at any chunk's start finds the same chunks: this is what allows a lost chunk to be read
//! again, also by another fetcher. Memory is bounded by the limits and one block.

use std::collections::VecDeque;

use crate::{
    Format,
    framing::{Damaged, Fault, Framing},
};
use bytes::{Buf, Bytes, BytesMut};

/// How many bytes of an oversized line are kept.
pub const OVERSIZED_BODY: usize = 4 << 10;

/// What decides where content is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A chunk has as many whole records as fit in this many bytes, newlines included; a longer one is a chunk of its own.
    pub chunk_bytes: usize,
    /// A chunk has at most this many lines, blank ones and the last record's own included, and at least one record: every
    /// parsed line takes memory, however short it is.
    pub chunk_lines: u32,
    /// The maximum length of a record in bytes, without its newline. Of a longer one only the beginning is kept; one of
    /// several lines ends with the first of them.
    pub max_line_bytes: usize,
}

/// A run of whole records, before it is addressed to the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawChunk {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset after the last byte.
    pub end: u64,
    /// Number of the first line, from 1.
    pub first_line: u32,
    /// How many lines, blank ones included.
    pub lines: u32,
    /// Whether this is one oversized record, of which the body holds the first [`OVERSIZED_BODY`] bytes.
    pub oversized: bool,
    /// The records with all that is between them.
    pub body: Bytes,
}

/// The object has more lines than a line number can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("object has more than {} lines: split it into several", u32::MAX)]
pub struct TooManyLines;

/// Why content cannot be split to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// It has too many lines.
    #[error(transparent)]
    TooManyLines(#[from] TooManyLines),
    /// It is not of its format.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// Splits content that arrives in blocks: [`push`](Self::push) a block, then call [`next_chunk`](Self::next_chunk) until it
/// returns none, and repeat; at the end call [`finish`](Self::finish), and take the rest. After an error, nothing follows the
/// whole records before it: [`truncate`](Self::truncate) makes them a chunk.
///
/// Each byte is copied at most once, and not at all in a chunk that lies within one block.
#[derive(Debug)]
pub struct Splitter {
    limits: Limits,
    format: Format,
    framing: Framing,
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
    /// The whole records of the chunk so far: their lines and their bytes.
    lines: u32,
    record_bytes: usize,
    oversized: Option<Oversized>,
    damaged: Option<Damaged>,
    end: End,
}

/// An oversized record whose end was not found yet.
#[derive(Debug, Default)]
struct Oversized {
    bytes: u64,
    body: BytesMut,
}

/// What follows the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    MoreBlocks,
    /// The content's own end.
    Complete,
    /// The end of a part of the content, which is the end of a record.
    OfPart,
    /// What follows cannot be read.
    Truncated,
}

/// What to do with a record, once it is certain.
enum RecordAction {
    Take,
    TakeAlone,
    /// Take so many bytes of it, which are its first line: it is none.
    TakeFirstLine(usize),
    LeaveForNext,
    Shorten,
}

impl Splitter {
    /// Starts at a chunk's start: at offset 0 with line 1, or after any chunk with the number of the next line. The end of an
    /// array is only known to who read it from offset 0.
    #[must_use]
    pub fn new(format: Format, limits: Limits, start: u64, first_line: u64) -> Self {
        Self {
            limits,
            format,
            framing: Framing::new(format, start == 0),
            start,
            first_line,
            scanned: VecDeque::new(),
            scanned_bytes: 0,
            block: Bytes::new(),
            seen: 0,
            waiting: VecDeque::new(),
            lines: 0,
            record_bytes: 0,
            oversized: None,
            damaged: None,
            end: End::MoreBlocks,
        }
    }

    /// Adds the next block.
    pub fn push(&mut self, block: Bytes) {
        debug_assert_eq!(self.end, End::MoreBlocks, "no block follows the end");
        self.waiting.push_back(block);
    }

    /// Ends the content: the bytes after the last record are one too.
    pub fn finish(&mut self) {
        self.end = End::Complete;
    }

    /// Ends a part of the content, whose last record ends here.
    pub fn finish_part(&mut self) {
        self.end = End::OfPart;
    }

    /// Ends the content because what follows cannot be read: the bytes after the last whole record are not one.
    pub fn truncate(&mut self) {
        self.end = End::Truncated;
    }

    /// The next chunk, once its end is certain.
    pub fn next_chunk(&mut self) -> Result<Option<RawChunk>, SplitError> {
        loop {
            match self.damaged {
                Some(_) if self.end == End::Truncated => return self.last_chunk(),
                Some(damaged) => return Err(damaged.into()),
                None => {}
            }
            if self.oversized.is_some() {
                return self.oversized_chunk();
            }
            match self.scan()? {
                Some(RecordAction::Take) => {
                    self.take_record();
                    if self.lines >= self.limits.chunk_lines {
                        return self.chunk_of_records();
                    }
                }
                Some(RecordAction::TakeAlone) => {
                    self.take_record();
                    return self.chunk_of_records();
                }
                Some(RecordAction::TakeFirstLine(bytes)) => return self.chunk_of_line(bytes),
                Some(RecordAction::LeaveForNext) => return self.chunk_of_records(),
                Some(RecordAction::Shorten) => {
                    self.rewind();
                    self.oversized = Some(Oversized::default());
                }
                None if self.next_block() => {}
                None => return self.last_chunk(),
            }
        }
    }

    /// Scans for the end of the record after the whole ones.
    fn scan(&mut self) -> Result<Option<RecordAction>, Damaged> {
        let rest = &self.block[self.seen..];
        let end = self.framing.scan(rest).map_err(|Fault { at, what }| {
            let scanned = self.scanned_bytes + self.seen + at;
            *self.damaged.insert(Damaged { at: self.start + scanned as u64, what })
        })?;
        self.seen += end.unwrap_or(rest.len());
        let bytes = self.scanned_bytes + self.seen - self.record_bytes;
        let has_newline = end.is_some() && self.block[..self.seen].ends_with(b"\n");
        let is_too_long = bytes - usize::from(has_newline) > self.limits.max_line_bytes;
        if is_too_long || self.framing.malformed_line().is_some() {
            return Ok(Some(match self.framing.first_line() {
                _ if self.lines > 0 => RecordAction::LeaveForNext,
                Some(bytes) if bytes - 1 <= self.limits.max_line_bytes => {
                    RecordAction::TakeFirstLine(bytes)
                }
                _ => RecordAction::Shorten,
            }));
        }
        if self.record_bytes + bytes > self.limits.chunk_bytes {
            return Ok(match self.lines {
                0 => end.map(|_| RecordAction::TakeAlone),
                _ => Some(RecordAction::LeaveForNext),
            });
        }
        Ok(end.map(|_| RecordAction::Take))
    }

    fn take_record(&mut self) {
        self.lines = self.lines.saturating_add(self.framing.lines());
        self.record_bytes = self.scanned_bytes + self.seen;
        self.framing = Framing::new(self.format, false);
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
        self.framing = Framing::new(self.format, self.start == 0);
    }

    /// A chunk of the whole records. The bytes scanned after them, at most a record, are scanned again.
    fn chunk_of_records(&mut self) -> Result<Option<RawChunk>, SplitError> {
        let first_line = self.first_line(self.lines)?;
        self.rewind();
        let body = self.take(self.record_bytes);
        let lines = std::mem::take(&mut self.lines);
        self.record_bytes = 0;
        let chunk = self.chunk(body.len() as u64, first_line, lines, body);
        self.framing = Framing::new(self.format, false);
        Ok(Some(chunk))
    }

    /// A chunk of the first line of a record that does not end with it: who parses the chunk finds the same end.
    fn chunk_of_line(&mut self, bytes: usize) -> Result<Option<RawChunk>, SplitError> {
        self.lines = 1;
        self.record_bytes = bytes;
        self.chunk_of_records()
    }

    /// A chunk with the beginning of an oversized record, once its end is found.
    fn oversized_chunk(&mut self) -> Result<Option<RawChunk>, SplitError> {
        let first_line = self.first_line(1)?;
        if !self.consume_oversized()? {
            match self.end {
                End::MoreBlocks | End::Truncated => return Ok(None),
                End::Complete => {
                    self.check_end(self.oversized.as_ref().map_or(0, |one| one.bytes))?;
                }
                End::OfPart => {}
            }
        }
        let Some(record) = self.oversized.take() else {
            return Ok(None);
        };
        let mut chunk = self.chunk(record.bytes, first_line, 1, record.body.freeze());
        chunk.oversized = true;
        self.framing = Framing::new(self.format, false);
        Ok(Some(chunk))
    }

    /// Consumes an oversized record up to its end; returns whether it was found.
    fn consume_oversized(&mut self) -> Result<bool, Damaged> {
        while let (Some(record), Some(mut block)) = (&mut self.oversized, self.waiting.pop_front())
        {
            let end = self.framing.scan_oversized(&block).map_err(|Fault { at, what }| {
                let at = self.start + record.bytes + at as u64;
                *self.damaged.insert(Damaged { at, what })
            })?;
            let length = end.unwrap_or(block.len());
            let text = &block[..length];
            let text = text.strip_suffix(b"\n").filter(|_| end.is_some()).unwrap_or(text);
            let room = OVERSIZED_BODY - record.body.len();
            record.body.extend_from_slice(&text[..text.len().min(room)]);
            record.bytes += length as u64;
            if end.is_some() {
                block.advance(length);
                self.waiting.push_front(block);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The chunk of what remains when no block is left.
    fn last_chunk(&mut self) -> Result<Option<RawChunk>, SplitError> {
        if self.end == End::MoreBlocks {
            return Ok(None);
        }
        let scanned = self.scanned_bytes + self.seen;
        if self.end == End::Complete {
            self.check_end(scanned as u64)?;
        }
        if self.end != End::Truncated && scanned > self.record_bytes {
            match self.framing.unclosed_line() {
                Some(_) if self.lines > 0 => {}
                Some(bytes) => return self.chunk_of_line(bytes),
                None => {
                    self.take_record();
                    // What the content may end with was checked.
                    self.end = End::OfPart;
                }
            }
        }
        match self.lines {
            0 => Ok(None),
            _ => self.chunk_of_records(),
        }
    }

    /// Checks that the content may end so many bytes after the chunk's start.
    fn check_end(&self, bytes: u64) -> Result<(), Damaged> {
        self.framing.finish().map_err(|what| Damaged { at: self.start + bytes, what })
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
mod conformance;
#[cfg(test)]
mod tests;
