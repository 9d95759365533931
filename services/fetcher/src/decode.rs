//! Compressed objects, decompressed as they come.
//!
//! The name says what an object is, and its first bytes must agree; a name that says nothing is not believed either:
//! the first bytes decide. Memory is bounded by the format's window, whatever the object's size. What was decoded before
//! damage comes before the error, and ends at the same place however the object is read.

mod blocks;
mod foreign;
mod members;

use std::{collections::VecDeque, fmt, io, pin::Pin};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use jetline_source::ByteStream;

use self::members::Trailing;

/// The most bytes that are decoded at once: the longest block of what was compressed.
pub const BLOCK: usize = 256 << 10;

/// How an object is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As it is.
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
    /// How many of an object's first bytes tell its format.
    pub const HEAD: usize = 10;

    /// Decides by a key and the object's first bytes: [`Format::HEAD`] of them, or all.
    ///
    /// Who wants a range of an object asks first: only of [`Format::Plain`] are stored and decoded bytes the same.
    pub fn detect(key: &str, head: &[u8]) -> Result<Self, DecodeError> {
        let named = Self::COMPRESSED
            .into_iter()
            .find(|format| key.ends_with(format.extension()));
        match named {
            // Nothing is also what a compressed nothing may be.
            _ if head.is_empty() => Ok(Self::Plain),
            Some(format) if format.begins(head) => Ok(format),
            Some(format) => Err(DecodeError::Mismatch { format }),
            None => Ok(Self::COMPRESSED
                .into_iter()
                .find(|format| format.is_certain(head))
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

    /// Whether these may be the first bytes; a truncated object may have few.
    fn begins(self, head: &[u8]) -> bool {
        let magic: &[u8] = match self {
            Self::Plain => &[],
            Self::Gzip => &[0x1f, 0x8b],
            // A skippable frame has 16 magic numbers; parallel compressors begin with one.
            Self::Zstd if head.first().is_some_and(|byte| byte >> 4 == 0x5) => {
                return head.len() < 4 || head[1..4] == [0x2a, 0x4d, 0x18];
            }
            Self::Zstd => &[0x28, 0xb5, 0x2f, 0xfd],
            Self::Bzip2 => b"BZh",
        };
        head.iter().zip(magic).all(|(byte, magic)| byte == magic)
    }

    /// Whether text cannot begin so.
    fn is_certain(self, head: &[u8]) -> bool {
        match self {
            Self::Plain => true,
            Self::Gzip => head.starts_with(&[0x1f, 0x8b, 0x08]),
            Self::Zstd => head.len() >= 4 && self.begins(head),
            // π, or the square root of π when the stream is empty.
            Self::Bzip2 => {
                let block = head.get(4..10);
                self.begins(head)
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

/// The binary logarithm of the largest window of Zstandard data that is decoded unless more is allowed: 128 MiB, as
/// zstd itself takes.
pub const WINDOW_LOG: u32 = 27;

/// The same of the largest window that can be allowed: more than zstd makes is damage.
const LARGEST_WINDOW_LOG: u32 = 31;

/// The object's content, from its stored bytes. After an error nothing comes. `window_log` bounds the memory that
/// Zstandard data may ask for.
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

/// The content as it is, or an error where its first bytes are those of something that is no lines of JSON. It is the same
/// for whoever reads: it depends on the bytes alone.
pub fn lines<C>(mut content: C) -> impl Stream<Item = C::Item> + Send + use<C>
where
    C: Stream<Item = Result<Bytes, DecodeError>> + Send + Unpin,
{
    stream::once(async move {
        let mut head = Vec::with_capacity(foreign::HEAD);
        let mut blocks = VecDeque::new();
        while head.len() < foreign::HEAD
            && let Some(block) = content.next().await
        {
            let is_last = block.is_err();
            if let Ok(block) = &block {
                let missing = foreign::HEAD - head.len();
                head.extend_from_slice(&block[..missing.min(block.len())]);
            }
            blocks.push_back(block);
            if is_last {
                break;
            }
        }
        match foreign::form(&head) {
            Some(form) => Err(DecodeError::Foreign { form }),
            None => Ok(stream::iter(blocks).chain(content)),
        }
    })
    .try_flatten()
}

/// The first bytes, and the stream with them.
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
    members::decoded(format, blocks::equal(stored), window_log)
        .map_err(move |error| damage(format, error, window_log))
        .boxed()
}

/// Tells what the source says from what the decoder says.
fn damage(format: Format, error: io::Error, window_log: u32) -> DecodeError {
    let error = match error.downcast::<jetline_source::Error>() {
        Ok(error) => return DecodeError::Source(error),
        Err(error) => error,
    };
    match error.downcast::<Trailing>() {
        Ok(Trailing(at)) => DecodeError::Trailing { format, at },
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format }
        }
        // The decoder has no code for it, only these words.
        Err(error)
            if format == Format::Zstd
                && window_log < LARGEST_WINDOW_LOG
                && error.to_string().contains("too much memory") =>
        {
            DecodeError::Window {
                mib: (1_u64 << window_log) >> 20,
            }
        }
        Err(source) => DecodeError::Damaged { format, source },
    }
}

/// Why an object's content ends before its end.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It could not be read.
    #[error(transparent)]
    Source(#[from] jetline_source::Error),
    /// It is something else than its name says.
    #[error("object is not {format} data although its name ends in {}", .format.extension())]
    Mismatch {
        /// What the name says.
        format: Format,
    },
    /// It is no lines of JSON.
    #[error("object is not JSON Lines: its content begins like {form}")]
    Foreign {
        /// What it looks like.
        form: String,
    },
    /// It ends in the middle.
    #[error("{format} data ends too early: the object is truncated")]
    Truncated {
        /// What it is.
        format: Format,
    },
    /// It goes on behind its end with something else.
    #[error(
        "the {format} data is followed by other bytes, from byte {at} of the object on, that are neither {format} \
         data nor zeros"
    )]
    Trailing {
        /// What it is.
        format: Format,
        /// Where the other bytes begin, as stored.
        at: u64,
    },
    /// It takes more memory than is allowed; nothing says that it is damaged.
    #[error(
        "zstd data has a window of more than {mib} MiB, as zstd --long makes it: allow more memory with ZSTD_WINDOW, \
         up to 2GiB"
    )]
    Window {
        /// What is allowed.
        mib: u64,
    },
    /// It cannot be decoded from some point on.
    #[error("{format} data is damaged")]
    Damaged {
        /// What it is.
        format: Format,
        /// What the decoder says.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests;
