//! The content of an object, and its format.

use futures::{StreamExt, stream};
use jetline_datasets::DeclaredFormat;
use jetline_formats::{Detected, HEAD_BYTES, detect};
use jetline_source::ByteStream;

use crate::{
    decode::{Content, decode, peek},
    error::ReadError,
};

/// Decompresses an object's stored bytes, and detects their format. Every read detects the same one.
pub(crate) async fn open(
    key: &str,
    stored: ByteStream,
    window_log: u32,
    declared: DeclaredFormat,
) -> Result<(Detected, Content), ReadError> {
    let (head, failure, content) = peek(decode(key, stored, window_log), HEAD_BYTES).await;
    let failure = match failure.map(ReadError::from) {
        // More may follow the next time.
        Some(error) if error.is_transient() || error.is_refusal() => return Err(error),
        Some(ReadError::Content(error)) => Some(Err(error)),
        Some(error) => return Err(error),
        None => None,
    };
    Ok((detect(key, &head, declared)?, content.chain(stream::iter(failure)).boxed()))
}
