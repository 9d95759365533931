//! The valid records of a body: in memory while they are few, in an object of their own when they are many.

use std::sync::Arc;

use bytes::Bytes;
use jetline_source::{Error, ObjectStore, ObjectVersion, Upload};

/// Lines of more bytes are an object of their own; shorter ones share one with others.
pub(super) const SMALL_BYTES: usize = 1 << 20;

/// Lines that are collected.
pub(super) struct Spool {
    store: Arc<dyn ObjectStore>,
    key: String,
    lines: Vec<u8>,
    upload: Option<Upload>,
}

/// The lines of a body.
pub(super) enum Spooled {
    /// They are few.
    Lines(Vec<u8>),
    /// They are in an object that is durable.
    Object(ObjectVersion),
}

impl Spool {
    /// None yet. If they are many, they are in an object with this key.
    pub(super) fn new(store: Arc<dyn ObjectStore>, key: String) -> Self {
        Self { store, key, lines: Vec::new(), upload: None }
    }

    /// Where lines are appended, each with its newline.
    pub(super) fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.lines
    }

    /// Writes the lines where they have become many.
    pub(super) async fn flush_if_long(&mut self) -> Result<(), Error> {
        if self.lines.len() > SMALL_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(self.store.create(&self.key).await?),
        };
        upload.write(Bytes::from(std::mem::take(&mut self.lines))).await
    }

    /// Ends the object, if there is one.
    pub(super) async fn finish(mut self) -> Result<Spooled, Error> {
        if self.upload.is_some() && !self.lines.is_empty() {
            self.flush().await?;
        }
        match self.upload {
            Some(upload) => Ok(Spooled::Object(upload.finish().await?)),
            None => Ok(Spooled::Lines(self.lines)),
        }
    }

    /// Leaves no object behind.
    pub(super) async fn abort(self) {
        if let Some(upload) = self.upload {
            upload.abort().await;
        }
    }
}
