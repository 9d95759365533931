//! Objects that are read without ledger and queue, by `check` and `infer`.

use futures::TryStreamExt;
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
}

impl Chunks {
    pub(crate) async fn open(
        source: &dyn Source,
        object: &ObjectVersion,
        settings: &FetcherSettings,
    ) -> Result<Self, ReadError> {
        let stored = source.read(object, 0..object.size);
        let (detected, content) = content::open(&object.key, stored, settings.window_log()).await?;
        let splitter = Splitter::new(detected.format, settings.limits(), 0, 1);
        Ok(Self { detected, content, splitter, end: None })
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
                (Err(error), None) => {
                    self.splitter.truncate();
                    self.end = Some(Err(error.into()));
                }
                (Err(_), Some(end)) => return end.map(|()| None),
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
