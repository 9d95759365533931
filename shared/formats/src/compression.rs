//! Compressions, and how they are recognised.

use std::fmt;

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
    /// All compressions.
    pub const ALL: [Self; 3] = [Self::Gzip, Self::Zstd, Self::Bzip2];
    /// How many first bytes of an object [`Compression::detect`] needs.
    pub const MAGIC_BYTES: usize = 10;

    /// Detects the compression from a key and the object's first bytes: [`Compression::MAGIC_BYTES`] of them, or all.
    ///
    /// Only without compression are stored and decoded offsets the same, so that a range can be read.
    pub fn detect(key: &str, head: &[u8]) -> Result<Option<Self>, Mismatch> {
        let named = Self::ALL.into_iter().find(|one| key.ends_with(one.extension()));
        match named {
            // An empty object is valid with every extension.
            _ if head.is_empty() => Ok(None),
            Some(named) if named.matches(head) => Ok(Some(named)),
            Some(compression) => Err(Mismatch { compression }),
            None => Ok(Self::ALL.into_iter().find(|one| one.is_unambiguous(head))),
        }
    }

    /// The end of the names of objects.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
            Self::Bzip2 => ".bz2",
        }
    }

    /// Whether the first bytes match the magic number, as far as there are any.
    #[must_use]
    pub fn matches(self, head: &[u8]) -> bool {
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
    pub(crate) fn is_unambiguous(self, head: &[u8]) -> bool {
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

/// The first bytes do not match the extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("object is not {compression} data although its name ends in {}", .compression.extension())]
pub struct Mismatch {
    /// The compression of the extension.
    pub compression: Compression,
}
