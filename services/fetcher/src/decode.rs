//! Compressed objects, decompressed as they come.
//!
//! The name says what an object is, and its first bytes must agree; a name that says nothing is not believed either:
//! the first bytes decide. Memory is bounded by the format's window, whatever the object's size. What can be decoded
//! before damage comes before the error.

use std::{collections::VecDeque, fmt, io, pin::Pin};

use async_compression::tokio::bufread::{BzDecoder, GzipDecoder, ZstdDecoder};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use jetline_source::ByteStream;
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

/// Bytes that are decoded at once.
const BLOCK: usize = 256 << 10;

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

/// The object's content, from its stored bytes. After an error nothing comes.
pub fn decode(
    key: &str,
    stored: ByteStream,
) -> impl Stream<Item = Result<Bytes, DecodeError>> + Send + use<> {
    let key = key.to_owned();
    stream::once(async move {
        let (head, stored) = peek(stored).await?;
        let format = Format::detect(&key, &head)?;
        Ok::<_, DecodeError>(content(format, stored))
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
) -> Pin<Box<dyn Stream<Item = Result<Bytes, DecodeError>> + Send>> {
    let reader = StreamReader::new(stored.map_err(io::Error::other));
    let decoder: Pin<Box<dyn AsyncRead + Send>> = match format {
        Format::Plain => {
            return reader
                .into_inner()
                .map_err(move |error| damage(format, error))
                .boxed();
        }
        Format::Gzip => {
            let mut decoder = GzipDecoder::new(reader);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
        Format::Zstd => {
            let mut decoder = ZstdDecoder::new(reader);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
        Format::Bzip2 => {
            let mut decoder = BzDecoder::new(reader);
            decoder.multiple_members(true);
            Box::pin(decoder)
        }
    };
    ReaderStream::with_capacity(decoder, BLOCK)
        .map_err(move |error| damage(format, error))
        .boxed()
}

/// Tells what the source says from what the decoder says.
fn damage(format: Format, error: io::Error) -> DecodeError {
    match error.downcast::<jetline_source::Error>() {
        Ok(error) => DecodeError::Source(error),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format }
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
    /// It ends in the middle.
    #[error("{format} data ends too early: the object is truncated")]
    Truncated {
        /// What it is.
        format: Format,
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
mod tests {
    use async_compression::tokio::bufread::{BzEncoder, GzipEncoder, ZstdEncoder};
    use tokio::io::AsyncReadExt;

    use super::*;

    const NAMES: [(Format, &str); 3] = [
        (Format::Gzip, "a.gz"),
        (Format::Zstd, "a.zst"),
        (Format::Bzip2, "a.bz2"),
    ];

    async fn encoded(format: Format, content: &[u8]) -> Vec<u8> {
        let mut stored = Vec::new();
        let mut encoder: Pin<Box<dyn AsyncRead + '_>> = match format {
            Format::Plain => Box::pin(content),
            Format::Gzip => Box::pin(GzipEncoder::new(content)),
            Format::Zstd => Box::pin(ZstdEncoder::new(content)),
            Format::Bzip2 => Box::pin(BzEncoder::new(content)),
        };
        encoder.read_to_end(&mut stored).await.unwrap();
        stored
    }

    fn lines() -> Vec<u8> {
        (0..200_000)
            .flat_map(|line| format!("{{\"id\":{line}}}\n").into_bytes())
            .collect()
    }

    /// What came, and the error at the end if there was one.
    async fn decoded(
        key: &str,
        stored: &[u8],
        block: usize,
        end: Option<jetline_source::Error>,
    ) -> (Vec<u8>, Option<DecodeError>) {
        let blocks: Vec<_> = stored
            .chunks(block)
            .map(Bytes::copy_from_slice)
            .map(Ok)
            .collect();
        let stored = stream::iter(blocks.into_iter().chain(end.map(Err))).boxed();
        let mut content = Box::pin(decode(key, stored));
        let mut read = Vec::new();
        while let Some(block) = content.next().await {
            match block {
                Ok(block) => read.extend_from_slice(&block),
                Err(error) => {
                    assert!(content.next().await.is_none());
                    return (read, Some(error));
                }
            }
        }
        (read, None)
    }

    #[tokio::test]
    async fn extension_and_first_bytes_both_tell_the_format() {
        let lines = lines();
        for (format, name) in NAMES {
            let stored = encoded(format, &lines).await;
            for (key, block) in [(name, 1 << 16), ("a.jsonl", 1 << 16), ("a", 1_001)] {
                let (read, error) = decoded(key, &stored, block, None).await;
                assert!(read == lines && error.is_none(), "{format} {key} {error:?}");
            }
        }
        assert_eq!(decoded("a.jsonl", &lines, 77, None).await.0, lines);
    }

    #[tokio::test]
    async fn blocks_may_be_single_bytes() {
        for (format, name) in NAMES {
            let stored = encoded(format, b"one\ntwo\n").await;
            assert_eq!(decoded(name, &stored, 1, None).await.0, b"one\ntwo\n");
            assert_eq!(decoded("a", &stored, 1, None).await.0, b"one\ntwo\n");
        }
    }

    #[tokio::test]
    async fn several_members_are_one_content() {
        for (format, name) in NAMES {
            let mut stored = encoded(format, b"one\n").await;
            stored.extend(encoded(format, b"").await);
            stored.extend(encoded(format, b"two\n").await);
            for block in [1, 7, 1 << 16] {
                let (read, error) = decoded(name, &stored, block, None).await;
                assert!(error.is_none(), "{format} {error:?}");
                assert_eq!(read, b"one\ntwo\n", "{format} {block}");
            }
        }
    }

    #[tokio::test]
    async fn skippable_frame_at_the_front_is_zstd() {
        let mut stored = vec![0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9];
        stored.extend(encoded(Format::Zstd, b"one\n").await);
        assert_eq!(decoded("a.zst", &stored, 3, None).await.0, b"one\n");
    }

    #[tokio::test]
    async fn empty_object_is_fine_whatever_its_extension() {
        for name in ["a", "a.jsonl", "a.gz", "a.zst", "a.bz2"] {
            let (read, error) = decoded(name, b"", 1, None).await;
            assert!(read.is_empty() && error.is_none(), "{name} {error:?}");
        }
    }

    #[tokio::test]
    async fn extension_that_lies_is_an_error() {
        for (format, name) in NAMES {
            let (read, error) = decoded(name, b"{\"id\":1}\n", 4, None).await;
            let message = error.unwrap().to_string();
            let extension = format.extension();
            assert!(read.is_empty());
            assert_eq!(
                message,
                format!("object is not {format} data although its name ends in {extension}")
            );
        }
    }

    #[tokio::test]
    async fn text_that_begins_like_bzip2_is_text() {
        assert_eq!(
            decoded("a", b"BZh9 text\n", 4, None).await.0,
            b"BZh9 text\n"
        );
    }

    #[tokio::test]
    async fn truncated_object_gives_what_is_complete_and_then_the_error() {
        let lines = lines();
        for (format, name) in NAMES {
            let stored = encoded(format, &lines).await;
            let half = &stored[..stored.len() / 2];
            let (read, error) = decoded(name, half, 4_000, None).await;
            assert!(
                matches!(error, Some(DecodeError::Truncated { .. })),
                "{format} {error:?}"
            );
            assert!(
                lines.starts_with(&read) && read.len() > lines.len() / 4,
                "{format}"
            );
        }
    }

    #[tokio::test]
    async fn object_of_a_few_bytes_is_truncated() {
        for (format, name) in NAMES {
            let stored = encoded(format, b"one\n").await;
            for length in 1..stored.len() {
                let (_, error) = decoded(name, &stored[..length], 1, None).await;
                assert!(
                    matches!(error, Some(DecodeError::Truncated { .. })),
                    "{format} {length} {error:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn damaged_object_gives_what_is_complete_and_then_the_error() {
        let lines = lines();
        for (format, name) in NAMES {
            let mut stored = encoded(format, &lines).await;
            let middle = stored.len() / 2;
            // All of the rest: zstd without checksums does not notice every wrong byte.
            let noise = (0..).map(|number: u32| number.wrapping_mul(0x9e37_79b1).to_be_bytes()[0]);
            stored.truncate(middle);
            stored.extend(noise.take(middle));
            let (read, error) = decoded(name, &stored, 4_000, None).await;
            assert!(
                matches!(error, Some(DecodeError::Damaged { .. })),
                "{format} {error:?}"
            );
            assert!(read.len() > lines.len() / 4, "{format}");
        }
    }

    #[tokio::test]
    async fn error_of_the_source_stays_what_it_is() {
        let gone = || {
            Some(jetline_source::Error::Gone {
                uri: "s3://shop/a".into(),
            })
        };
        for (format, name) in [(Format::Plain, "a"), NAMES[0], NAMES[1], NAMES[2]] {
            let stored = encoded(format, &lines()).await;
            let (_, error) =
                decoded(name, &stored[..50_000.min(stored.len() / 2)], 999, gone()).await;
            assert!(
                matches!(
                    error,
                    Some(DecodeError::Source(jetline_source::Error::Gone { .. }))
                ),
                "{format} {error:?}"
            );
        }
    }
}
