//! Streaming decompression.
//!
//! The key's extension names the format, and the first bytes must match it; without a known extension the first bytes
//! decide. Memory is bounded by the format's window, not by the object's size. What is decoded before corrupt data is
//! returned before the error, and ends at the same offset in every read.

mod blocks;
mod members;
mod sniff;

use std::{collections::VecDeque, fmt, io, pin::Pin};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use jetline_source::ByteStream;

use self::members::Trailing;

/// The most bytes that are decoded at once.
pub const BLOCK: usize = 256 << 10;

/// How an object is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Not compressed.
    Plain,
    /// gzip, of any number of members.
    Gzip,
    /// Zstandard, of any number of frames.
    Zstd,
    /// bzip2, of any number of streams.
    Bzip2,
}

impl Format {
    const COMPRESSED: [Self; 3] = [Self::Gzip, Self::Zstd, Self::Bzip2];
    /// How many first bytes of an object [`Format::detect`] needs.
    pub const HEAD: usize = 10;

    /// Detects the format from a key and the object's first bytes: [`Format::HEAD`] of them, or all.
    ///
    /// Only for [`Format::Plain`] are stored and decoded offsets the same, so that a range can be read.
    pub fn detect(key: &str, head: &[u8]) -> Result<Self, DecodeError> {
        let named = Self::COMPRESSED.into_iter().find(|format| key.ends_with(format.extension()));
        match named {
            // An empty object is valid in every format.
            _ if head.is_empty() => Ok(Self::Plain),
            Some(format) if format.matches(head) => Ok(format),
            Some(format) => Err(DecodeError::Mismatch { format }),
            None => Ok(Self::COMPRESSED
                .into_iter()
                .find(|format| format.is_unambiguous(head))
                .unwrap_or(Self::Plain)),
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
            Self::Bzip2 => ".bz2",
        }
    }

    /// Whether the first bytes match the magic number, as far as there are any.
    fn matches(self, head: &[u8]) -> bool {
        let magic: &[u8] = match self {
            Self::Plain => &[],
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
            Self::Plain => true,
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

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
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

/// Decompresses an object's stored bytes. The stream ends after an error. `window_log` bounds the memory that Zstandard
/// data may take.
pub fn decode(
    key: &str,
    stored: ByteStream,
    window_log: u32,
) -> impl Stream<Item = Result<Bytes, DecodeError>> + Send + use<> {
    let key = key.to_owned();
    stream::once(async move {
        let (head, stored) = peek(stored).await?;
        let format = Format::detect(&key, &head)?;
        Ok::<_, DecodeError>(content(format, stored, window_log))
    })
    .try_flatten()
}

/// The content unchanged, or an error if its first bytes show that it is not JSON Lines. The result depends on the bytes
/// alone, so that every read gives the same.
pub fn ensure_json_lines<C>(mut content: C) -> impl Stream<Item = C::Item> + Send + use<C>
where
    C: Stream<Item = Result<Bytes, DecodeError>> + Send + Unpin,
{
    stream::once(async move {
        let mut head = Vec::with_capacity(sniff::HEAD);
        let mut blocks = VecDeque::new();
        while head.len() < sniff::HEAD
            && let Some(block) = content.next().await
        {
            let is_last = block.is_err();
            if let Ok(block) = &block {
                let missing = sniff::HEAD - head.len();
                head.extend_from_slice(&block[..missing.min(block.len())]);
            }
            blocks.push_back(block);
            if is_last {
                break;
            }
        }
        match sniff::detect(&head) {
            Some(detected) => Err(DecodeError::NotJsonLines { detected }),
            None => Ok(stream::iter(blocks).chain(content)),
        }
    })
    .try_flatten()
}

/// The first bytes, and the stream that still includes them.
async fn peek(mut stored: ByteStream) -> Result<(Vec<u8>, ByteStream), DecodeError> {
    let mut head = Vec::with_capacity(Format::HEAD);
    let mut blocks = VecDeque::new();
    while head.len() < Format::HEAD
        && let Some(block) = stored.try_next().await?
    {
        let missing = Format::HEAD - head.len();
        head.extend_from_slice(&block[..missing.min(block.len())]);
        blocks.push_back(Ok(block));
    }
    Ok((head, stream::iter(blocks).chain(stored).boxed()))
}

fn content(
    format: Format,
    stored: ByteStream,
    window_log: u32,
) -> Pin<Box<dyn Stream<Item = Result<Bytes, DecodeError>> + Send>> {
    if format == Format::Plain {
        return stored.map_err(DecodeError::Source).boxed();
    }
    members::decode(format, blocks::equal_size(stored), window_log)
        .map_err(move |error| classify(format, error, window_log))
        .boxed()
}

/// Tells an error of the source from one of the decoder.
fn classify(format: Format, error: io::Error, window_log: u32) -> DecodeError {
    let error = match error.downcast::<jetline_source::Error>() {
        Ok(error) => return DecodeError::Source(error),
        Err(error) => error,
    };
    match error.downcast::<Trailing>() {
        Ok(Trailing(at)) => DecodeError::Trailing { format, at },
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format }
        }
        // The decoder has no error code for it, only this message.
        Err(error)
            if format == Format::Zstd
                && window_log < MAX_WINDOW_LOG
                && error.to_string().contains("too much memory") =>
        {
            DecodeError::Window { mib: (1_u64 << window_log) >> 20 }
        }
        Err(source) => DecodeError::Corrupt { format, source },
    }
}

/// Why an object cannot be decoded to its end.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It could not be read.
    #[error(transparent)]
    Source(#[from] jetline_source::Error),
    /// The first bytes do not match the extension.
    #[error("object is not {format} data although its name ends in {}", .format.extension())]
    Mismatch {
        /// The format of the extension.
        format: Format,
    },
    /// It is not JSON Lines.
    #[error("object is not JSON Lines: its content begins like {detected}")]
    NotJsonLines {
        /// What it seems to be.
        detected: String,
    },
    /// It is truncated.
    #[error("{format} data ends too early: the object is truncated")]
    Truncated {
        /// The format.
        format: Format,
    },
    /// Other bytes follow the compressed data.
    #[error(
        "the {format} data is followed by other bytes, from byte {at} of the object on, that are neither {format} \
         data nor zeros"
    )]
    Trailing {
        /// The format.
        format: Format,
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
    #[error("{format} data is corrupt")]
    Corrupt {
        /// The format.
        format: Format,
        /// The decoder's error.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests;
