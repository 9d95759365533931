//! The splitter, against the specification of a chunk.

use arbitrary::Unstructured;
use bytes::Bytes;
use jetline_formats::{
    Format,
    split::{Limits, OVERSIZED_BODY, RawChunk, Splitter},
};

use crate::blocks::blocks;

/// A byte and its expansion, so that a short input can have a line longer than `OVERSIZED_BODY`.
const LONG: (u8, &[u8]) = (1, &[b'x'; 600]);

/// How often it is expanded, so that no input is slow.
const MAX_LONG: usize = 8;

/// Content, and the start of the splitting.
struct Case<'a> {
    limits: Limits,
    start: u64,
    first_line: u32,
    content: &'a [u8],
}

/// Chunks are contiguous, have as many whole lines as fit the limits, and do not depend on the blocks or on the chunk at
/// which the splitting starts.
pub fn holds(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let Ok([chunk, line, start, first]) = input.arbitrary::<[u8; 4]>() else {
        return;
    };
    let Ok(lengths) = input.arbitrary::<[u8; 4]>() else {
        return;
    };
    let content = lengthened(input.take_rest());
    for chunk_lines in [u32::MAX, u32::from(lengths[0] % 8)] {
        let case = Case {
            limits: Limits {
                chunk_bytes: usize::from(chunk),
                chunk_lines,
                max_line_bytes: usize::from(line),
            },
            start: u64::from(start),
            first_line: first_line(first),
            content: &content,
        };
        case.holds(lengths);
    }
}

/// Near the first line number, and near the last.
fn first_line(number: u8) -> u32 {
    match number.checked_sub(128) {
        None => u32::from(number) + 1,
        Some(left) => u32::MAX - u32::from(left),
    }
}

fn lengthened(content: &[u8]) -> Vec<u8> {
    let (short, long) = LONG;
    let mut long_left = MAX_LONG;
    let mut lengthened = Vec::with_capacity(content.len());
    for byte in content {
        if *byte == short && long_left > 0 {
            lengthened.extend_from_slice(long);
            long_left -= 1;
        } else {
            lengthened.push(*byte);
        }
    }
    lengthened
}

/// All chunks, and whether they end because line numbers ran out.
type Cuts = (Vec<RawChunk>, bool);

impl Case<'_> {
    fn holds(&self, lengths: [u8; 4]) {
        let cuts = self.cuts(&lengths, Splitter::finish);
        self.follow_the_rule(&cuts);
        self.number_every_line(&cuts);
        // Many lines in single bytes are slow to split repeatedly.
        let shortest = if self.content.len() < 600 { 0 } else { 40 };
        for other in [&lengths[..1], &[shortest], &[255]] {
            assert_eq!(self.cuts(other, Splitter::finish), cuts, "in other blocks");
        }
        self.come_again_from_each_start(&cuts);
        self.lose_no_whole_line_when_damaged(&lengths);
    }

    fn cuts(&self, lengths: &[u8], end: fn(&mut Splitter)) -> Cuts {
        self.cuts_of(blocks(self.content, lengths), end)
    }

    fn cuts_of(&self, blocks: Vec<Bytes>, end: fn(&mut Splitter)) -> Cuts {
        let mut splitter =
            Splitter::new(Format::JsonLines, self.limits, self.start, self.first_line.into());
        let mut cuts = Vec::new();
        for block in blocks {
            splitter.push(block);
            if take(&mut splitter, &mut cuts) {
                return (cuts, true);
            }
        }
        end(&mut splitter);
        let numbers_ran_out = take(&mut splitter, &mut cuts);
        (cuts, numbers_ran_out)
    }

    fn follow_the_rule(&self, (cuts, numbers_ran_out): &Cuts) {
        let mut end = self.start;
        for cut in cuts {
            assert_eq!(cut.start, end, "{cut:?} does not follow");
            end = cut.end;
            self.is_within_limits(cut);
        }
        let missing = self.start + self.content.len() as u64 - end;
        assert!(missing == 0 || *numbers_ran_out, "{missing} bytes missing");
        for pair in cuts.windows(2) {
            let [cut, next] = pair else { continue };
            let room = self.limits.chunk_bytes.saturating_sub(cut.body.len());
            let alone = cut.oversized || next.oversized;
            let is_full = cut.lines >= self.limits.chunk_lines;
            let line = lines(&next.body).next().map_or(0, <[u8]>::len);
            assert!(alone || is_full || line > room, "{next:?} fits the chunk before it");
        }
    }

    fn is_within_limits(&self, cut: &RawChunk) {
        let Limits { chunk_bytes, chunk_lines, max_line_bytes } = self.limits;
        let content = self.between(cut.start, cut.end);
        let longest = lines(content).map(|line| bare(line).len()).max();
        let longest = longest.expect("a chunk has lines");
        assert_eq!(cut.lines as usize, lines(content).count());
        assert!(cut.lines <= chunk_lines.max(1));
        assert_eq!(cut.oversized, longest > max_line_bytes);
        if cut.oversized {
            let kept = longest.min(OVERSIZED_BODY);
            assert_eq!((cut.lines, &cut.body[..]), (1, &content[..kept]));
        } else {
            assert_eq!(&cut.body[..], content);
            assert!(cut.body.len() <= chunk_bytes || cut.lines == 1);
        }
        let is_last = cut.end == self.start + self.content.len() as u64;
        assert!(is_last || content.ends_with(b"\n"), "half a line");
    }

    fn number_every_line(&self, (cuts, numbers_ran_out): &Cuts) {
        let mut number = u64::from(self.first_line);
        for cut in cuts {
            assert_eq!(u64::from(cut.first_line), number);
            number += u64::from(cut.lines);
        }
        assert!(number <= u64::from(u32::MAX) + 1);
        let last = u64::from(self.first_line) + lines(self.content).count() as u64;
        assert_eq!(*numbers_ran_out, last > u64::from(u32::MAX) + 1);
    }

    fn come_again_from_each_start(&self, (cuts, numbers_ran_out): &Cuts) {
        for (at, cut) in cuts.iter().enumerate().step_by(1 + cuts.len() / 10) {
            let rest = Case {
                limits: self.limits,
                start: cut.start,
                first_line: cut.first_line,
                content: self.between(cut.start, self.start + self.content.len() as u64),
            };
            let (again, ran_out_again) = rest.cuts(&[96], Splitter::finish);
            assert_eq!(again, cuts[at..], "from {}", cut.start);
            assert_eq!(ran_out_again, *numbers_ran_out);
        }
    }

    fn lose_no_whole_line_when_damaged(&self, lengths: &[u8]) {
        let whole = self.content.iter().rposition(|byte| *byte == b'\n');
        let undamaged = Case { content: &self.content[..whole.map_or(0, |at| at + 1)], ..*self };
        let (kept, _) = self.cuts(lengths, Splitter::truncate);
        assert_eq!(kept, undamaged.cuts(lengths, Splitter::finish).0);
    }

    fn between(&self, start: u64, end: u64) -> &[u8] {
        let place = |offset: u64| usize::try_from(offset - self.start).expect("it is short");
        &self.content[place(start)..place(end)]
    }
}

/// Takes the certain chunks; true if line numbers ran out.
fn take(splitter: &mut Splitter, cuts: &mut Vec<RawChunk>) -> bool {
    loop {
        match splitter.next_chunk() {
            Ok(Some(cut)) => cuts.push(cut),
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content.split_inclusive(|byte| *byte == b'\n')
}

fn bare(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}
