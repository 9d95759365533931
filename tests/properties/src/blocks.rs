//! Divides content into blocks, as a source may return it.

use bytes::Bytes;

/// Blocks of these lengths plus one in a cycle, until the content ends.
pub(crate) fn blocks(content: &[u8], lengths: &[u8]) -> Vec<Bytes> {
    let (mut rest, mut blocks) = (content, Vec::new());
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (block, behind) = rest.split_at(rest.len().min(usize::from(*length) + 1));
        blocks.push(Bytes::copy_from_slice(block));
        rest = behind;
    }
    blocks
}
