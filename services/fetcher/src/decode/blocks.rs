//! The decoder's input: blocks of equal size, each decoded by itself.
//!
//! On corrupt data a decoder loses its output since the last call. How much that is would depend on the sizes of the
//! blocks that a source returns, and two reads of an object would end at different offsets. So the input is divided into
//! equal blocks, and the decoder is made to return its output before each: it does so when its input is not ready.

use std::io;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use jetline_source::ByteStream;
use tokio::task::yield_now;

/// How many stored bytes are decoded at once.
const INPUT_BLOCK: usize = 16 << 10;

/// The bytes of an object in blocks of equal size; the last may be shorter.
pub(super) fn equal_size(stored: ByteStream) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let blocks = Blocks { stored: stored.fuse().boxed(), rest: Bytes::new(), failure: None };
    stream::try_unfold(blocks, async |mut blocks| {
        // Pending once before each block: the decoder then returns what it has decoded so far.
        yield_now().await;
        let block = blocks.next().await?;
        Ok(block.map(|block| (block, blocks)))
    })
}

struct Blocks {
    stored: ByteStream,
    /// Bytes that were received and are in no block yet.
    rest: Bytes,
    /// The error that ends the stream after the current block.
    failure: Option<jetline_source::Error>,
}

impl Blocks {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.rest.len() >= INPUT_BLOCK {
            return Ok(Some(self.rest.split_to(INPUT_BLOCK)));
        }
        let mut block = BytesMut::with_capacity(INPUT_BLOCK);
        while block.len() < INPUT_BLOCK && self.failure.is_none() {
            let part = self.rest.len().min(INPUT_BLOCK - block.len());
            block.extend_from_slice(&self.rest.split_to(part));
            if !self.rest.is_empty() {
                break;
            }
            match self.stored.next().await {
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(error)) => self.failure = Some(error),
                None => break,
            }
        }
        if block.is_empty()
            && let Some(error) = self.failure.take()
        {
            return Err(io::Error::other(error));
        }
        Ok((!block.is_empty()).then(|| block.freeze()))
    }
}
