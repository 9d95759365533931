//! Why reading an object fails, and whether the object, the source or the configuration is the cause.

use std::fmt::Display;

use jetline_formats::{NotAFormat, split::SplitError};
use jetline_source::Error as SourceError;

use crate::decode::DecodeError;

/// What interrupts reading without a cause in the object. What was published stays published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] jetline_store::Error),
    /// The queue refused a chunk.
    #[error(transparent)]
    Queue(#[from] jetline_queue::Error),
}

/// The message of a command about an object that is not in the ledger.
pub(crate) fn unknown_object(number: impl Display) -> String {
    format!("there is no object {number}: `status` shows their numbers")
}

/// Why an object could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Content(#[from] DecodeError),
    #[error(transparent)]
    Format(#[from] NotAFormat),
    #[error(transparent)]
    Split(#[from] SplitError),
    #[error("content ends at byte {at}, but had at least {end} bytes in an earlier read")]
    Short { at: u64, end: u64 },
    #[error(
        "a chunk has {bytes} bytes, and the queue's messages hold {max}: raise max_payload of the NATS server, or lower CHUNK_BYTES and \
         MAX_LINE_BYTES and replay the object"
    )]
    TooLongForQueue { bytes: usize, max: usize },
    #[error(transparent)]
    Interrupted(#[from] Error),
}

impl ReadError {
    /// Whether a retry may help.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Content(DecodeError::Source(SourceError::Unavailable { .. })))
    }

    /// Whether the object was overwritten or deleted.
    pub(crate) fn is_change(&self) -> bool {
        matches!(
            self,
            Self::Content(DecodeError::Source(
                SourceError::Changed { .. } | SourceError::Deleted { .. }
            ))
        )
    }

    /// Whether the cause is the configuration or permissions of the fetcher, not the object.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Content(
                DecodeError::Window { .. }
                    | DecodeError::Source(
                        SourceError::Refused { .. } | SourceError::NotFound { .. }
                    )
            ) | Self::TooLongForQueue { .. }
        )
    }
}

/// An error's message, followed by those of its sources that add something.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}
