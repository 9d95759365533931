//! The valid records of a body: in memory while they are few, in an object of their own when they are many.

use std::sync::Arc;

use bytes::Bytes;
use jetline_source::{ObjectStore, ObjectVersion, Upload};

use super::{
    memory::{Reserved, SMALL_BYTES},
    write_error::{WriteError, of_store},
};

/// Lines that are collected.
pub(super) struct Spool {
    store: Arc<dyn ObjectStore>,
    key: String,
    lines: Vec<u8>,
    upload: Option<Upload>,
    /// Bytes of the lines that are in the upload.
    uploaded: u64,
    /// None while it is exchanged.
    memory: Option<Reserved>,
}

/// The lines of a body.
pub(super) enum Spooled {
    /// They are few.
    Lines(Vec<u8>, Reserved),
    /// They are in an object that is durable.
    Object(ObjectVersion),
}

impl Spool {
    /// None yet. If they are many, they are in an object with this key.
    pub(super) fn new(store: Arc<dyn ObjectStore>, key: String, memory: Reserved) -> Self {
        let memory = Some(memory);
        Self { store, key, lines: Vec::new(), upload: None, uploaded: 0, memory }
    }

    /// Where lines are appended, each with its newline.
    pub(super) fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.lines
    }

    /// The bytes of all lines.
    pub(super) fn bytes(&self) -> u64 {
        self.uploaded + self.lines.len() as u64
    }

    /// Writes the lines where they have become many.
    pub(super) async fn flush_if_long(&mut self) -> Result<(), WriteError> {
        if self.lines.len() > SMALL_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), WriteError> {
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => {
                if let Some(memory) = self.memory.take() {
                    self.memory = Some(memory.into_long().await?);
                }
                let created = self.store.create(&self.key).await;
                none.insert(created.map_err(|error| of_store(&error))?)
            }
        };
        self.uploaded += self.lines.len() as u64;
        let lines = Bytes::from(std::mem::take(&mut self.lines));
        upload.write(lines).await.map_err(|error| of_store(&error))
    }

    /// Ends the object, if there is one.
    pub(super) async fn finish(mut self) -> Result<Spooled, WriteError> {
        if self.upload.is_some() && !self.lines.is_empty() {
            self.flush().await?;
        }
        if let Some(upload) = self.upload {
            let version = upload.finish().await;
            return version.map(Spooled::Object).map_err(|error| of_store(&error));
        }
        let memory = self.memory.ok_or(WriteError::Busy)?;
        let memory = memory.into_lines(self.lines.len()).await?;
        Ok(Spooled::Lines(self.lines, memory))
    }

    /// Leaves no object behind.
    pub(super) async fn abort(self) {
        if let Some(upload) = self.upload {
            upload.abort().await;
        }
    }
}
