//! Why a reading is broken off, and whose fault it is.

use jetline_source::Error as SourceError;

use crate::{decode::DecodeError, split::TooManyLines};

/// Why a reading was broken off. What was published stays published.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] jetline_store::Error),
    /// The queue refuses the chunks.
    #[error(transparent)]
    Queue(#[from] jetline_queue::Error),
}

/// Why an object's content ends before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    Content(#[from] DecodeError),
    #[error(transparent)]
    TooManyLines(#[from] TooManyLines),
    #[error("content ends at byte {at}, but had {end} bytes when it was read before")]
    Short { at: u64, end: u64 },
    #[error(transparent)]
    Off(#[from] Error),
}

impl Broken {
    /// Whether to try again at once may help.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Content(DecodeError::Source(SourceError::Unavailable { .. }))
        )
    }

    /// Whether it says nothing against the object: who reads it must be set otherwise.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Content(
                DecodeError::Window { .. }
                    | DecodeError::Source(SourceError::Refused { .. } | SourceError::Absent { .. })
            )
        )
    }
}

/// What an error says, with its causes where they say more.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
