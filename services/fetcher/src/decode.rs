//! Streaming decompression.
//!
//! The key's extension names the compression, and the first bytes must match it; without a known extension the first bytes
//! decide. Memory is bounded by its window, not by the object's size. What is decoded before corrupt data is returned before
//! the error, and ends at the same offset in every read.

mod blocks;
mod members;

use std::io;

use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use jetline_formats::{Compression, Mismatch};
use jetline_source::ByteStream;

use self::members::Trailing;

/// The most bytes that are decoded at once.
pub const DECODED_BLOCK: usize = 256 << 10;

/// Decoded bytes. The stream ends after an error.
pub type Content = BoxStream<'static, Result<Bytes, DecodeError>>;

/// Binary logarithm of the default maximum window of Zstandard data: 128 MiB, the default of `zstd -d`.
pub const DEFAULT_WINDOW_LOG: u32 = 27;

/// Binary logarithm of the largest window that zstd can write: a larger one is corrupt data.
const MAX_WINDOW_LOG: u32 = 31;

/// Decompresses an object's stored bytes. `window_log` bounds the memory that Zstandard data may take.
#[must_use]
pub fn decode(key: &str, stored: ByteStream, window_log: u32) -> Content {
    let key = key.to_owned();
    let content = async move {
        let (head, failure, stored) = peek(stored, Compression::MAGIC_BYTES).await;
        if let Some(error) = failure {
            return Err(DecodeError::Source(error));
        }
        Ok(match Compression::detect(&key, &head)? {
            None => stored.map_err(DecodeError::Source).boxed(),
            Some(compression) => {
                members::decode(compression, blocks::equal_size(stored), window_log)
                    .map_err(move |error| classify(compression, error, window_log))
                    .boxed()
            }
        })
    };
    stream::once(content).try_flatten().boxed()
}

type Blocks<E> = BoxStream<'static, Result<Bytes, E>>;

/// The first `length` bytes, the error if one comes before, and the stream that still includes the bytes.
pub(crate) async fn peek<E: Send + 'static>(
    mut stream: Blocks<E>,
    length: usize,
) -> (Vec<u8>, Option<E>, Blocks<E>) {
    let (mut head, mut blocks, mut failure) = (Vec::with_capacity(length), Vec::new(), None);
    while head.len() < length && failure.is_none() {
        match stream.try_next().await {
            Ok(Some(block)) => {
                let missing = length - head.len();
                head.extend_from_slice(&block[..missing.min(block.len())]);
                blocks.push(Ok(block));
            }
            Ok(None) => break,
            Err(error) => failure = Some(error),
        }
    }
    (head, failure, stream::iter(blocks).chain(stream).boxed())
}

/// Tells an error of the source from one of the decoder.
fn classify(compression: Compression, error: io::Error, window_log: u32) -> DecodeError {
    let error = match error.downcast::<jetline_source::Error>() {
        Ok(error) => return DecodeError::Source(error),
        Err(error) => error,
    };
    match error.downcast::<Trailing>() {
        Ok(Trailing(at)) => DecodeError::Trailing { compression, at },
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { compression }
        }
        // The decoder has no error code for it, only this message.
        Err(error)
            if compression == Compression::Zstd
                && window_log < MAX_WINDOW_LOG
                && error.to_string().contains("too much memory") =>
        {
            DecodeError::Window { mib: (1_u64 << window_log) >> 20 }
        }
        Err(source) => DecodeError::Corrupt { compression, source },
    }
}

/// Why an object cannot be decoded to its end.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It could not be read.
    #[error(transparent)]
    Source(#[from] jetline_source::Error),
    /// The first bytes do not match the extension.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// It is truncated.
    #[error("{compression} data ends too early: the object is truncated")]
    Truncated {
        /// The compression.
        compression: Compression,
    },
    /// Other bytes follow the compressed data.
    #[error(
        "the {compression} data is followed by other bytes, from byte {at} of the object on, that are neither \
         {compression} data nor zeros"
    )]
    Trailing {
        /// The compression.
        compression: Compression,
        /// The offset of the other bytes in the stored object.
        at: u64,
    },
    /// Its window is larger than allowed; it is not known to be corrupt.
    #[error(
        "zstd data has a window of more than {mib} MiB, as zstd --long makes it: allow more memory with ZSTD_WINDOW, \
         up to 2GiB"
    )]
    Window {
        /// The allowed window, in MiB.
        mib: u64,
    },
    /// It is corrupt from some offset on.
    #[error("{compression} data is corrupt")]
    Corrupt {
        /// The compression.
        compression: Compression,
        /// The decoder's error.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests;
