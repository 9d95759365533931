//! What the server's errors mean for the caller: wait, or give up.

use async_nats::jetstream::{
    self, ErrorCode,
    context::{PublishError, PublishErrorKind},
};

use super::link::Link;
use crate::Error;

/// The code that the server gives to all that "cannot be done at the moment".
const UNAVAILABLE: usize = 503;

/// What is told of a chunk that the server neither took nor refused.
const SILENT: &str =
    "no acknowledgement in time: if this goes on, look at the server's log, its disk may be full";

/// Whether a stream or a consumer does not exist.
pub(super) fn is_missing(error: &jetstream::Error) -> bool {
    matches!(
        error.error_code(),
        ErrorCode::STREAM_NOT_FOUND | ErrorCode::CONSUMER_NOT_FOUND
    )
}

/// Whether a stream cannot be made because there is one already, or one is being made.
pub(super) fn is_taken(error: &jetstream::Error) -> bool {
    matches!(
        error.error_code(),
        ErrorCode::STREAM_NAME_EXIST | ErrorCode::STREAM_SUBJECT_OVERLAP
    )
}

/// The server has no `JetStream`.
pub(super) fn no_jetstream(link: &Link, action: &'static str) -> Error {
    refused(
        link,
        action,
        "JetStream is not enabled: start nats-server with --jetstream",
    )
}

/// The error for an answer of the server's API.
pub(super) fn of_answer(link: &Link, action: &'static str, error: &jetstream::Error) -> Error {
    match error.error_code() {
        ErrorCode::JETSTREAM_NOT_ENABLED => no_jetstream(link, action),
        ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => refused(
            link,
            action,
            "JetStream is not enabled for this account: enable it there",
        ),
        ErrorCode::STORAGE_RESOURCES_EXCEEDED | ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED => {
            refused(
                link,
                action,
                &format!("{error}: lower NATS_MAX_BYTES, or give the server more"),
            )
        }
        _ if error.code() == UNAVAILABLE => link.unavailable(action, error.clone().into()),
        _ => refused(link, action, &error.to_string()),
    }
}

/// Whether the server could not store a message, for another reason than a limit.
pub(super) fn is_of_store(error: &PublishError) -> bool {
    answer(error).is_some_and(|answer| {
        answer.error_code() == ErrorCode::STREAM_STORE_FAILED && !is_full(answer)
    })
}

/// Whether the server could not keep a consumer, for what its disk holds or does not hold.
pub(super) fn is_of_consumer_store(error: &jetstream::Error) -> bool {
    matches!(
        error.error_code(),
        ErrorCode::CONSUMER_CREATE | ErrorCode::CONSUMER_STORE_FAILED
    )
}

/// What the server answered to a chunk that it did not take.
fn answer(error: &PublishError) -> Option<&jetstream::Error> {
    std::error::Error::source(error).and_then(|source| source.downcast_ref())
}

/// The error for a chunk that was not taken.
pub(super) fn of_publish(link: &Link, error: PublishError) -> Error {
    const ACTION: &str = "publish a chunk";
    if let Some(answer) = answer(&error) {
        return if is_full(answer) {
            Error::Full
        } else {
            of_answer(link, ACTION, answer)
        };
    }
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => refused(link, ACTION, &error.to_string()),
        // A server that cannot write says so in its own log alone.
        PublishErrorKind::TimedOut => link.unavailable(ACTION, SILENT.into()),
        _ => link.unavailable(ACTION, error.into()),
    }
}

/// An error that waiting does not cure.
pub(super) fn refused(link: &Link, action: &'static str, reason: &str) -> Error {
    Error::Refused {
        action,
        url: link.url.clone(),
        reason: reason.to_owned(),
    }
}

/// Whether acknowledgements will make room: the stream's own limit, or that of the account or the server.
fn is_full(error: &jetstream::Error) -> bool {
    match error.error_code() {
        // The store fails in other ways too; only its text tells.
        ErrorCode::STREAM_STORE_FAILED => error.to_string().contains("maximum"),
        code => matches!(
            code,
            ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
                | ErrorCode::INSUFFICIENT_RESOURCES
                | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        ),
    }
}
