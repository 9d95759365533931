//! Memory for bodies that are being posted. Short ones do not wait for long ones, which may take their time.

use std::{sync::Arc, time::Duration};

use jetline_datasets::Dataset;
use poem::{Request, http::header};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::write_error::WriteError;

/// Lines of more bytes are an object of their own; shorter ones share one with others.
pub(super) const SMALL_BYTES: usize = 1 << 20;

/// Memory of a long body: two parts of an upload, lines, and buffers.
pub(super) const LONG_BYTES: usize = 20 << 20;

/// Memory of a short body besides its text and its lines.
const SHORT_BYTES: usize = 64 << 10;

/// The longest body that is short.
const MAX_SHORT_BYTES: usize = SMALL_BYTES / 2;

/// The bytes of one permit for short bodies.
const UNIT_BYTES: usize = 1 << 10;

/// A record has at least so many bytes: in CSV, a digit and a newline.
const MIN_RECORD_BYTES: usize = 2;

/// The memory, of which about two thirds are for long bodies.
#[derive(Clone)]
pub(super) struct Memory {
    short: Arc<Semaphore>,
    long: Arc<Semaphore>,
    timeout: Duration,
}

/// Memory of one body, until it is dropped.
pub(super) struct Reserved {
    memory: Memory,
    permit: OwnedSemaphorePermit,
    is_long: bool,
}

impl Memory {
    /// Memory of so many bytes; `timeout` limits the wait for a part of it.
    pub(super) fn new(bytes: usize, timeout: Duration) -> Self {
        let long = (bytes / 3 * 2 / LONG_BYTES).max(1);
        let short = bytes.saturating_sub(long * LONG_BYTES).max(2 * SMALL_BYTES) / UNIT_BYTES;
        let semaphore =
            |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self { short: semaphore(short), long: semaphore(long), timeout }
    }

    /// For a body, by its length; that of a long one if it is not known.
    pub(super) async fn for_body(
        &self,
        request: &Request,
        dataset: &Dataset,
    ) -> Result<Reserved, WriteError> {
        let is_encoded = request.headers().contains_key(header::CONTENT_ENCODING);
        let length = request.header(header::CONTENT_LENGTH).filter(|_| !is_encoded);
        let length: Option<usize> = length.and_then(|length| length.parse().ok());
        match length.filter(|length| *length <= MAX_SHORT_BYTES) {
            Some(length) => {
                // Every record is written with all its fields.
                let names = dataset.columns.iter().map(|column| column.pointer().len() + 8);
                let grown = length / MIN_RECORD_BYTES * names.sum::<usize>();
                self.short(SHORT_BYTES + 2 * length + grown.min(SMALL_BYTES)).await
            }
            None => self.long().await,
        }
    }

    async fn short(&self, bytes: usize) -> Result<Reserved, WriteError> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let permit = self.short.clone().acquire_many_owned(units);
        match timeout(self.timeout, permit).await {
            Ok(Ok(permit)) => Ok(Reserved { memory: self.clone(), permit, is_long: false }),
            _ => Err(WriteError::Busy),
        }
    }

    async fn long(&self) -> Result<Reserved, WriteError> {
        match timeout(self.timeout, self.long.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Reserved { memory: self.clone(), permit, is_long: true }),
            _ => Err(WriteError::Busy),
        }
    }
}

impl Reserved {
    /// Memory in which the body can be as long as it likes.
    pub(super) async fn into_long(self) -> Result<Self, WriteError> {
        if self.is_long { Ok(self) } else { self.memory.long().await }
    }

    /// Memory for lines that wait to be written.
    pub(super) async fn into_lines(self, bytes: usize) -> Result<Self, WriteError> {
        if self.is_long {
            return self.memory.short(bytes).await;
        }
        let Self { memory, mut permit, .. } = self;
        let spare = permit.num_permits().saturating_sub(bytes.div_ceil(UNIT_BYTES).max(1));
        drop(permit.split(spare));
        Ok(Self { memory, permit, is_long: false })
    }
}
