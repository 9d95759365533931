use std::pin::Pin;

use async_compression::tokio::bufread::{BzEncoder, GzipEncoder, ZstdEncoder};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::*;

const NAMES: [(Compression, &str); 3] =
    [(Compression::Gzip, "a.gz"), (Compression::Zstd, "a.zst"), (Compression::Bzip2, "a.bz2")];

async fn encoded(compression: Compression, content: &[u8]) -> Vec<u8> {
    let mut stored = Vec::new();
    let mut encoder: Pin<Box<dyn AsyncRead + '_>> = match compression {
        Compression::Gzip => Box::pin(GzipEncoder::new(content)),
        Compression::Zstd => Box::pin(ZstdEncoder::new(content)),
        Compression::Bzip2 => Box::pin(BzEncoder::new(content)),
    };
    encoder.read_to_end(&mut stored).await.unwrap();
    stored
}

fn lines() -> Vec<u8> {
    (0..200_000).flat_map(|line| format!("{{\"id\":{line}}}\n").into_bytes()).collect()
}

/// The decoded bytes, and the final error, if any.
async fn decoded(
    key: &str,
    stored: &[u8],
    block: usize,
    end: Option<jetline_source::Error>,
) -> (Vec<u8>, Option<DecodeError>) {
    let blocks: Vec<_> = stored.chunks(block).map(Bytes::copy_from_slice).map(Ok).collect();
    let stored = stream::iter(blocks.into_iter().chain(end.map(Err))).boxed();
    let mut content = decode(key, stored, DEFAULT_WINDOW_LOG);
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
async fn compression_is_detected_by_extension_or_by_first_bytes() {
    let lines = lines();
    for (compression, name) in NAMES {
        let stored = encoded(compression, &lines).await;
        for (key, block) in [(name, 1 << 16), ("a.jsonl", 1 << 16), ("a", 1_001)] {
            let (read, error) = decoded(key, &stored, block, None).await;
            assert!(read == lines && error.is_none(), "{compression} {key} {error:?}");
        }
    }
    assert_eq!(decoded("a.jsonl", &lines, 77, None).await.0, lines);
}

#[tokio::test]
async fn blocks_may_be_single_bytes() {
    for (compression, name) in NAMES {
        let stored = encoded(compression, b"one\ntwo\n").await;
        assert_eq!(decoded(name, &stored, 1, None).await.0, b"one\ntwo\n");
        assert_eq!(decoded("a", &stored, 1, None).await.0, b"one\ntwo\n");
    }
}

#[tokio::test]
async fn members_are_concatenated() {
    for (compression, name) in NAMES {
        let mut stored = encoded(compression, b"one\n").await;
        stored.extend(encoded(compression, b"").await);
        stored.extend(encoded(compression, b"two\n").await);
        for block in [1, 7, 1 << 16] {
            let (read, error) = decoded(name, &stored, block, None).await;
            assert!(error.is_none(), "{compression} {error:?}");
            assert_eq!(read, b"one\ntwo\n", "{compression} {block}");
        }
    }
}

#[tokio::test]
async fn leading_skippable_frame_is_zstd() {
    let mut stored = vec![0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9];
    stored.extend(encoded(Compression::Zstd, b"one\n").await);
    assert_eq!(decoded("a.zst", &stored, 3, None).await.0, b"one\n");
}

#[tokio::test]
async fn empty_object_is_valid_with_any_extension() {
    for name in ["a", "a.jsonl", "a.gz", "a.zst", "a.bz2"] {
        let (read, error) = decoded(name, b"", 1, None).await;
        assert!(read.is_empty() && error.is_none(), "{name} {error:?}");
    }
}

#[tokio::test]
async fn wrong_extension_is_an_error() {
    for (compression, name) in NAMES {
        let (read, error) = decoded(name, b"{\"id\":1}\n", 4, None).await;
        let message = error.unwrap().to_string();
        let extension = compression.extension();
        assert!(read.is_empty());
        assert_eq!(
            message,
            format!("object is not {compression} data although its name ends in {extension}")
        );
    }
}

#[tokio::test]
async fn text_that_begins_like_bzip2_is_text() {
    assert_eq!(decoded("a", b"BZh9 text\n", 4, None).await.0, b"BZh9 text\n");
}

#[tokio::test]
async fn truncated_object_returns_complete_data_and_then_the_error() {
    let lines = lines();
    for (compression, name) in NAMES {
        let stored = encoded(compression, &lines).await;
        let half = &stored[..stored.len() / 2];
        let (read, error) = decoded(name, half, 4_000, None).await;
        assert!(matches!(error, Some(DecodeError::Truncated { .. })), "{compression} {error:?}");
        assert!(lines.starts_with(&read) && read.len() > lines.len() / 4, "{compression}");
    }
}

#[tokio::test]
async fn object_of_a_few_bytes_is_truncated() {
    for (compression, name) in NAMES {
        let stored = encoded(compression, b"one\n").await;
        for length in 1..stored.len() {
            let (_, error) = decoded(name, &stored[..length], 1, None).await;
            assert!(
                matches!(error, Some(DecodeError::Truncated { .. })),
                "{compression} {length} {error:?}"
            );
        }
    }
}

/// Replaces the last bytes, not a single one: zstd without checksums does not detect every wrong byte.
fn replace_with_noise(stored: &mut Vec<u8>, bytes: usize) {
    let noise = (0..).map(|number: u32| number.wrapping_mul(0x9e37_79b1).to_be_bytes()[0]);
    stored.truncate(stored.len() - bytes);
    stored.extend(noise.take(bytes));
}

#[tokio::test]
async fn corrupt_object_returns_complete_data_and_then_the_error() {
    let lines = lines();
    for (compression, name) in NAMES {
        let mut stored = encoded(compression, &lines).await;
        let half = stored.len().div_ceil(2);
        replace_with_noise(&mut stored, half);
        let (read, error) = decoded(name, &stored, 4_000, None).await;
        assert!(matches!(error, Some(DecodeError::Corrupt { .. })), "{compression} {error:?}");
        assert!(read.len() > lines.len() / 4, "{compression}");
    }
}

#[tokio::test]
async fn offset_of_corrupt_data_does_not_depend_on_the_blocks() {
    let lines = lines();
    for (compression, name) in NAMES {
        let mut stored = encoded(compression, &lines).await;
        replace_with_noise(&mut stored, 20_000);
        let (expected, error) = decoded(name, &stored, 1 << 20, None).await;
        assert!(error.is_some() && !expected.is_empty(), "{compression}");
        for block in [999, 1 << 14, 70_001] {
            let (read, _) = decoded(name, &stored, block, None).await;
            assert!(read == expected, "{compression} {block}: {}", read.len());
        }
    }
}

#[tokio::test]
async fn error_of_the_source_is_passed_on() {
    let gone = || Some(jetline_source::Error::Deleted { uri: "s3://shop/a".into() });
    let mut objects = vec![("a", lines())];
    for (compression, name) in NAMES {
        objects.push((name, encoded(compression, &lines()).await));
    }
    for (name, stored) in objects {
        let (_, error) = decoded(name, &stored[..50_000.min(stored.len() / 2)], 999, gone()).await;
        assert!(
            matches!(error, Some(DecodeError::Source(jetline_source::Error::Deleted { .. }))),
            "{name} {error:?}"
        );
    }
}

#[tokio::test]
async fn zeros_after_the_last_member_are_padding() {
    for (compression, name) in NAMES {
        let member = encoded(compression, b"one\n").await;
        for zeros in [1, 3, 511, 40_000] {
            let mut stored = member.repeat(2);
            stored.resize(stored.len() + zeros, 0);
            for block in [1, 7, 1 << 16] {
                let (read, error) = decoded(name, &stored, block, None).await;
                assert!(error.is_none(), "{compression} {zeros} {error:?}");
                assert_eq!(read, b"one\none\n", "{compression} {zeros} {block}");
            }
        }
    }
}

#[tokio::test]
async fn other_bytes_after_the_last_member_are_an_error_of_their_own() {
    for (compression, name) in NAMES {
        let member = encoded(compression, b"one\n").await;
        for more in [&b"x"[..], b"\0\0x", b"{\"id\":1}\n", b"\0\x1f\x8b"] {
            let stored = [&member, more].concat();
            for block in [1, 7, 1 << 16] {
                let (read, error) = decoded(name, &stored, block, None).await;
                assert_eq!(read, b"one\n", "{compression}");
                let error = error.unwrap().to_string();
                let at = format!("from byte {} of the object on", member.len());
                assert!(error.contains("other bytes") && error.contains(&at), "{error}");
            }
        }
    }
}

/// A frame of unknown size with a window of the given logarithm, and one raw block with a line.
fn frame(window_log: u8) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, (window_log - 10) << 3];
    frame.extend([(4 << 3) | 1, 0, 0]);
    frame.extend(b"one\n");
    frame
}

#[tokio::test]
async fn window_above_the_limit_names_its_setting_and_is_not_corrupt() {
    let (read, error) = decoded("a.zst", &frame(31), 1 << 16, None).await;
    assert!(read.is_empty());
    let error = error.unwrap();
    assert!(matches!(error, DecodeError::Window { mib: 128 }), "{error:?}");
    assert!(error.to_string().contains("ZSTD_WINDOW"), "{error}");
    let stored = stream::iter([Ok(Bytes::from(frame(31)))]).boxed();
    let blocks: Vec<Bytes> = decode("a.zst", stored, 31).try_collect().await.unwrap();
    assert_eq!(blocks.concat(), b"one\n");
}

#[tokio::test]
async fn window_above_the_maximum_is_corrupt() {
    let stored = stream::iter([Ok(Bytes::from(frame(32)))]).boxed();
    let read: Result<Vec<Bytes>, _> = decode("a.zst", stored, 31).try_collect().await;
    assert!(matches!(read, Err(DecodeError::Corrupt { .. })), "{read:?}");
}
