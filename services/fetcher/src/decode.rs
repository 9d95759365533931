//! Streaming decompression.
//!
//! The key's extension names the compression, and the first bytes must match it; without a known extension the first bytes
//! decide. Memory is bounded by its window, not by the object's size. What is decoded before corrupt data is returned before
//! the error, and ends at the same offset in every read.

mod blocks;
mod members;
mod sniff;

use std::{fmt, io};

use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use jetline_source::ByteStream;

use self::members::Trailing;

/// The most bytes that are decoded at once.
pub const DECODED_BLOCK: usize = 256 << 10;

/// Decoded bytes. The stream ends after an error.
pub type Content = BoxStream<'static, Result<Bytes, DecodeError>>;

/// How an object is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip, of any number of members.
    Gzip,
    /// Zstandard, of any number of frames.
    Zstd,
    /// bzip2, of any number of streams.
    Bzip2,
}

impl Compression {
    const ALL: [Self; 3] = [Self::Gzip, Self::Zstd, Self::Bzip2];
    /// How many first bytes of an object [`Compression::detect`] needs.
    pub const MAGIC_BYTES: usize = 10;

    /// Detects the compression from a key and the object's first bytes: [`Compression::MAGIC_BYTES`] of them, or all.
    ///
    /// Only without compression are stored and decoded offsets the same, so that a range can be read.
    pub fn detect(key: &str, head: &[u8]) -> Result<Option<Self>, DecodeError> {
        let named = Self::ALL.into_iter().find(|one| key.ends_with(one.extension()));
        match named {
            // An empty object is valid with every extension.
            _ if head.is_empty() => Ok(None),
            Some(named) if named.matches(head) => Ok(Some(named)),
            Some(compression) => Err(DecodeError::Mismatch { compression }),
            None => Ok(Self::ALL.into_iter().find(|one| one.is_unambiguous(head))),
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
            Self::Bzip2 => ".bz2",
        }
    }

    /// Whether the first bytes match the magic number, as far as there are any.
    fn matches(self, head: &[u8]) -> bool {
        let magic: &[u8] = match self {
            Self::Gzip => &[0x1f, 0x8b],
            // Skippable frames have 16 magic numbers; parallel compressors begin with one.
            Self::Zstd if head.first().is_some_and(|byte| byte >> 4 == 0x5) => {
                return head.len() < 4 || head[1..4] == [0x2a, 0x4d, 0x18];
            }
            Self::Zstd => &[0x28, 0xb5, 0x2f, 0xfd],
            Self::Bzip2 => b"BZh",
        };
        head.iter().zip(magic).all(|(byte, magic)| byte == magic)
    }

    /// Whether no text can begin with these bytes.
    fn is_unambiguous(self, head: &[u8]) -> bool {
        match self {
            Self::Gzip => head.starts_with(&[0x1f, 0x8b, 0x08]),
            Self::Zstd => head.len() >= 4 && self.matches(head),
            // The block header is π; of an empty stream, the square root of π.
            Self::Bzip2 => {
                let block = head.get(4..10);
                self.matches(head)
                    && (block == Some(&[0x31, 0x41, 0x59, 0x26, 0x53, 0x59])
                        || block == Some(&[0x17, 0x72, 0x45, 0x38, 0x50, 0x90]))
            }
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
        })
    }
}

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

/// The content unchanged, or an error if its first bytes show that it is not JSON Lines. The result depends on the bytes
/// alone, so that every read gives the same.
pub(crate) fn ensure_json_lines(content: Content) -> Content {
    let checked = async move {
        let (head, failure, content) = peek(content, sniff::SNIFF_BYTES).await;
        match sniff::detect(&head) {
            Some(detected) => Err(DecodeError::NotJsonLines { detected }),
            None => Ok(content.chain(stream::iter(failure.map(Err)))),
        }
    };
    stream::once(checked).try_flatten().boxed()
}

type Blocks<E> = BoxStream<'static, Result<Bytes, E>>;

/// The first `length` bytes, the error if one comes before, and the stream that still includes the bytes.
async fn peek<E: Send + 'static>(
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
    #[error(
        "object is not {compression} data although its name ends in {}",
        .compression.extension()
    )]
    Mismatch {
        /// The one of the extension.
        compression: Compression,
    },
    /// It is not JSON Lines.
    #[error("object is not JSON Lines: its content begins like {detected}")]
    NotJsonLines {
        /// What it seems to be.
        detected: String,
    },
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
