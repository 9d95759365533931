//! Objects that are read without ledger and queue, by `check` and `infer`.

use futures::TryStreamExt;
use jetline_datasets::{DeclaredFormat, Reason, Rejection};
use jetline_formats::{
    Detected,
    split::{RawChunk, Splitter},
};
use jetline_source::{ObjectVersion, Source};

use crate::{FetcherSettings, content, decode::Content, error::ReadError};

/// The chunks of an object.
pub(crate) struct Chunks {
    /// Its format.
    pub(crate) detected: Detected,
    content: Content,
    splitter: Splitter,
    end: Option<Result<(), ReadError>>,
    is_damaged: bool,
}

impl Chunks {
    pub(crate) async fn open(
        source: &dyn Source,
        object: &ObjectVersion,
        settings: &FetcherSettings,
        declared: DeclaredFormat,
    ) -> Result<Self, ReadError> {
        let stored = source.read(object, 0..object.size);
        let (detected, content) =
            content::open(&object.key, stored, settings.window_log(), declared).await?;
        let splitter = Splitter::new(detected.format, settings.limits(), 0, 1);
        Ok(Self { detected, content, splitter, end: None, is_damaged: false })
    }

    /// The next chunk; none at the end, which may be an error.
    pub(crate) async fn next(&mut self) -> Result<Option<RawChunk>, ReadError> {
        loop {
            match (self.splitter.next_chunk(), self.end.take()) {
                (Ok(None), Some(end)) => return end.map(|()| None),
                (Ok(None), None) => self.push().await,
                (Ok(chunk), end) => {
                    self.end = end;
                    return Ok(chunk);
                }
                // The whole records before it are the last chunk.
                (Err(error), None | Some(Ok(()))) if !self.is_damaged => {
                    self.is_damaged = true;
                    self.splitter.truncate();
                    self.end = Some(Err(error.into()));
                }
                (Err(error), end) => return Err(end.and_then(Result::err).unwrap_or(error.into())),
            }
        }
    }

    async fn push(&mut self) {
        match self.content.try_next().await {
            Ok(Some(block)) => self.splitter.push(block),
            Ok(None) => {
                self.splitter.finish();
                self.end = Some(Ok(()));
            }
            Err(error) => {
                self.splitter.truncate();
                self.end = Some(Err(error.into()));
            }
        }
    }
}

/// The rejection of a record that is a chunk of its own because it is too long.
pub(crate) fn too_long(chunk: &RawChunk) -> Rejection {
    let bytes = chunk.end - chunk.start;
    let message = format!("the record has {bytes} bytes, more than the limit (MAX_LINE_BYTES)");
    Rejection::new(Reason::LineTooLong, message)
}
