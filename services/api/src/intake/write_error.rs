//! Errors of writing and registering objects.

/// Why an object was not written, or it is not known whether it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WriteError {
    /// The store or the database is not available.
    #[error(
        "it is not known whether the records were taken: post them again, with the same Idempotency-Key"
    )]
    Unavailable,
    /// The declaration of the dataset changed, or the dataset was dropped, since the records were validated.
    #[error(
        "the declaration of the dataset changed meanwhile, and nothing was taken: post them again"
    )]
    Outdated,
    /// Too much is waiting.
    #[error("too many records are being posted")]
    Busy,
    /// A retry will not succeed.
    #[error("the records cannot be written; the service's log says why")]
    Failed,
}

pub(super) fn of_store(error: &jetline_source::Error) -> WriteError {
    tracing::warn!(error = jetline_runtime::causes(error), "write object failed");
    match error {
        jetline_source::Error::Unavailable { .. } => WriteError::Unavailable,
        _ => WriteError::Failed,
    }
}

pub(super) fn of_ledger(error: &jetline_store::Error) -> WriteError {
    tracing::warn!(error = jetline_runtime::causes(error), "register posts failed");
    if error.is_transient() { WriteError::Unavailable } else { WriteError::Failed }
}
