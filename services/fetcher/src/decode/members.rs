//! Decodes one compressed member after another, until the object ends.
//!
//! Zeros between the last member and the object's end are padding, as tapes and block devices write it; any other bytes
//! that do not begin a member are an error.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use async_compression::{
    tokio::bufread::{BzDecoder, GzipDecoder, ZstdDecoder},
    zstd::DParameter,
};
use bytes::{Buf, Bytes, BytesMut};
use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, ReadBuf};

use super::{Compression, DECODED_BLOCK};

/// How many bytes are needed to recognise the start of a member.
const MAGIC: usize = 4;

/// Bytes that are neither a member nor padding, and their offset in the stored object.
#[derive(Debug, thiserror::Error)]
#[error("unexpected bytes follow the data, from byte {0} on")]
pub(super) struct Trailing(pub(super) u64);

/// The decompressed bytes. The stream ends after an error.
pub(super) fn decode(
    compression: Compression,
    stored: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    window_log: u32,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let stored = Stored { blocks: stored.boxed(), block: Bytes::new(), offset: 0 };
    let begin = (Member::new(compression, stored, window_log), BytesMut::new());
    stream::try_unfold(begin, move |(mut member, mut buffer)| async move {
        loop {
            if buffer.capacity() == 0 {
                buffer.reserve(DECODED_BLOCK);
            }
            if member.read_buf(&mut buffer).await? > 0 {
                return Ok(Some((buffer.split().freeze(), (member, buffer))));
            }
            let mut stored = member.into_inner();
            if !stored.has_next_member(compression).await? {
                return Ok(None);
            }
            member = Member::new(compression, stored, window_log);
        }
    })
}

/// The decoder of one member.
enum Member {
    Gzip(GzipDecoder<Stored>),
    Zstd(ZstdDecoder<Stored>),
    Bzip2(BzDecoder<Stored>),
}

impl Member {
    fn new(compression: Compression, stored: Stored, window_log: u32) -> Self {
        match compression {
            Compression::Gzip => Self::Gzip(GzipDecoder::new(stored)),
            Compression::Zstd => {
                let window = [DParameter::window_log_max(window_log)];
                Self::Zstd(ZstdDecoder::with_params(stored, &window))
            }
            Compression::Bzip2 => Self::Bzip2(BzDecoder::new(stored)),
        }
    }

    fn into_inner(self) -> Stored {
        match self {
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.into_inner(),
            Self::Bzip2(decoder) => decoder.into_inner(),
        }
    }
}

impl AsyncRead for Member {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Gzip(decoder) => Pin::new(decoder).poll_read(context, buffer),
            Self::Zstd(decoder) => Pin::new(decoder).poll_read(context, buffer),
            Self::Bzip2(decoder) => Pin::new(decoder).poll_read(context, buffer),
        }
    }
}

/// The stored bytes, with a few bytes of lookahead.
struct Stored {
    blocks: BoxStream<'static, io::Result<Bytes>>,
    block: Bytes,
    /// How many bytes were consumed.
    offset: u64,
}

impl Stored {
    /// Whether another member begins here. Otherwise the object ends here, perhaps after padding.
    async fn has_next_member(&mut self, compression: Compression) -> io::Result<bool> {
        let at = self.offset;
        while self.block.len() < MAGIC {
            let Some(block) = self.blocks.next().await else {
                break;
            };
            self.block = [std::mem::take(&mut self.block), block?].concat().into();
        }
        if self.block.is_empty() {
            return Ok(false);
        }
        if compression.matches(&self.block[..MAGIC.min(self.block.len())]) {
            return Ok(true);
        }
        loop {
            if self.block.iter().any(|byte| *byte != 0) {
                return Err(io::Error::other(Trailing(at)));
            }
            match self.blocks.next().await {
                Some(block) => self.block = block?,
                None => return Ok(false),
            }
        }
    }
}

impl AsyncRead for Stored {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let block = std::task::ready!(self.as_mut().poll_fill_buf(context))?;
        let taken = block.len().min(buffer.remaining());
        buffer.put_slice(&block[..taken]);
        self.consume(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for Stored {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.block.is_empty() {
            match std::task::ready!(this.blocks.poll_next_unpin(context)) {
                Some(block) => this.block = block?,
                None => break,
            }
        }
        Poll::Ready(Ok(&this.block))
    }

    fn consume(mut self: Pin<&mut Self>, taken: usize) {
        self.block.advance(taken);
        self.offset += taken as u64;
    }
}
