//! What a decoder is given: blocks of one size, each decoded by itself.
//!
//! A decoder that meets damage forgets what it made since it was called. How much that is would depend on the blocks that
//! a source happens to give, and two readings of an object would end at different places. So blocks are made anew, and
//! before each the decoder is made to hand out what it has: it does when there is nothing to read yet.

use std::io;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use jetline_source::ByteStream;
use tokio::task::yield_now;

/// Stored bytes that are decoded at once.
const BLOCK: usize = 16 << 10;

/// The bytes of an object in blocks of one size, of which the last may be shorter.
pub(super) fn equal(stored: ByteStream) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let blocks = Blocks {
        stored: stored.fuse().boxed(),
        rest: Bytes::new(),
        failure: None,
    };
    stream::try_unfold(blocks, async |mut blocks| {
        yield_now().await;
        let block = blocks.next().await?;
        Ok(block.map(|block| (block, blocks)))
    })
}

struct Blocks {
    stored: ByteStream,
    /// What came and is in no block yet.
    rest: Bytes,
    /// What came behind the block that was given last.
    failure: Option<jetline_source::Error>,
}

impl Blocks {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.rest.len() >= BLOCK {
            return Ok(Some(self.rest.split_to(BLOCK)));
        }
        let mut block = BytesMut::with_capacity(BLOCK);
        while block.len() < BLOCK && self.failure.is_none() {
            let part = self.rest.len().min(BLOCK - block.len());
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
