//! Decompression of compressed content, parts of it, and arbitrary bytes.

use std::pin::Pin;

use arbitrary::Unstructured;
use async_compression::{
    Level,
    tokio::bufread::{BzEncoder, GzipEncoder, ZstdEncoder},
};
use futures::{StreamExt, executor::block_on, stream};
use jetline_fetcher::decode::{DECODED_BLOCK, DEFAULT_WINDOW_LOG, DecodeError, decode};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::blocks::blocks;

const NAMES: [&str; 4] = ["a.jsonl", "a.gz", "a.zst", "a.bz2"];

/// How many bytes of a decompression bomb are read.
const ENOUGH: usize = 1 << 20;

/// The decoded bytes, and the end.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    content: Vec<u8>,
    end: End,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Complete,
    Mismatch,
    Truncated,
    Damaged,
    Trailing,
    Window,
    /// The limit was reached.
    Enough,
}

/// The result does not depend on the blocks; compressed content is decoded completely, and a part of it gives a part.
/// Memory is bounded.
pub fn holds(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let Ok([choice, cut_off, first, second]) = input.arbitrary::<[u8; 4]>() else {
        return;
    };
    let (name, made_by) = (NAMES[usize::from(choice % 4)], choice / 4 % 8);
    let content = input.take_rest();
    match made_by {
        0..=3 => any_bytes_come_out_alike(name, content, &[first, second]),
        4 => a_part_gives_a_part(name, content, usize::from(cut_off), first),
        members => what_was_compressed_comes_out(name, content, members - 4, &[first, second]),
    }
}

fn any_bytes_come_out_alike(name: &str, stored: &[u8], lengths: &[u8]) {
    let read = read(name, stored, lengths);
    for other in [&[0][..], &[255], &lengths[..1]] {
        assert_eq!(self::read(name, stored, other), read, "in other blocks");
    }
}

fn what_was_compressed_comes_out(name: &str, content: &[u8], members: u8, lengths: &[u8]) {
    let member = compressed(name, content);
    let stored = member.repeat(usize::from(members));
    let read = read(name, &stored, lengths);
    // Without an extension, plain text may be detected as something else.
    if name != NAMES[0] {
        assert_eq!(read.content, content.repeat(usize::from(members)));
        assert_eq!(read.end, End::Complete);
    }
    let unnamed = self::read(NAMES[0], &stored, lengths);
    assert_eq!(unnamed, read, "by its first bytes");
}

fn a_part_gives_a_part(name: &str, content: &[u8], cut_off: usize, length: u8) {
    let stored = compressed(name, content);
    let left = stored.len().saturating_sub(cut_off);
    let read = read(name, &stored[..left], &[length]);
    if name == NAMES[0] {
        return;
    }
    assert!(content.starts_with(&read.content));
    let is_whole = cut_off == 0 || left == 0;
    let end = if is_whole { End::Complete } else { End::Truncated };
    assert_eq!(read.end, end);
}

/// The content, compressed as the extension says.
fn compressed(name: &str, content: &[u8]) -> Vec<u8> {
    let level = Level::Fastest;
    let mut encoder: Pin<Box<dyn AsyncRead + '_>> = match name {
        "a.gz" => Box::pin(GzipEncoder::with_quality(content, level)),
        "a.zst" => Box::pin(ZstdEncoder::with_quality(content, level)),
        "a.bz2" => Box::pin(BzEncoder::with_quality(content, level)),
        _ => Box::pin(content),
    };
    let mut stored = Vec::new();
    block_on(encoder.read_to_end(&mut stored)).expect("writing to memory succeeds");
    stored
}

fn read(name: &str, stored: &[u8], lengths: &[u8]) -> Read {
    let blocks = blocks(stored, lengths).into_iter().map(Ok);
    let mut blocks = decode(name, stream::iter(blocks).boxed(), DEFAULT_WINDOW_LOG);
    let mut content = Vec::new();
    block_on(async {
        while let Some(block) = blocks.next().await {
            match block {
                Ok(block) => {
                    assert!((1..=DECODED_BLOCK).contains(&block.len()));
                    content.extend_from_slice(&block);
                }
                Err(error) => {
                    assert!(blocks.next().await.is_none(), "a block after {error}");
                    let end = end(&error);
                    return Read { content, end };
                }
            }
            if content.len() >= ENOUGH {
                content.truncate(ENOUGH);
                let end = End::Enough;
                return Read { content, end };
            }
        }
        let end = End::Complete;
        Read { content, end }
    })
}

fn end(error: &DecodeError) -> End {
    match error {
        DecodeError::Source(error) => panic!("the source cannot fail: {error}"),
        DecodeError::Mismatch(_) => End::Mismatch,
        DecodeError::Truncated { .. } => End::Truncated,
        DecodeError::Corrupt { .. } => End::Damaged,
        DecodeError::Trailing { .. } => End::Trailing,
        DecodeError::Window { .. } => End::Window,
    }
}
