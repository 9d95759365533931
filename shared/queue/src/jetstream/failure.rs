//! Classifies the server's errors: transient or permanent.

use async_nats::jetstream::{
    self, ErrorCode,
    context::{PublishError, PublishErrorKind},
};

use super::connection::Connection;
use crate::Error;

/// The code of the server's transient errors.
const UNAVAILABLE: usize = 503;

/// The reason when a publication was neither acknowledged nor refused.
const NO_ACK: &str = "no acknowledgement before the timeout: if this continues, check the server's log, its disk may be full";

/// Whether a stream or a consumer does not exist.
pub(super) fn is_missing(error: &jetstream::Error) -> bool {
    matches!(error.error_code(), ErrorCode::STREAM_NOT_FOUND | ErrorCode::CONSUMER_NOT_FOUND)
}

/// Whether a stream cannot be created because it exists or is being created.
pub(super) fn is_taken(error: &jetstream::Error) -> bool {
    matches!(error.error_code(), ErrorCode::STREAM_NAME_EXIST | ErrorCode::STREAM_SUBJECT_OVERLAP)
}

/// The server has no `JetStream`.
pub(super) fn no_jetstream(connection: &Connection, action: &'static str) -> Error {
    refused(connection, action, "JetStream is not enabled: start nats-server with --jetstream")
}

/// The error for an error response of the server's API.
pub(super) fn from_response(
    connection: &Connection,
    action: &'static str,
    error: &jetstream::Error,
) -> Error {
    match error.error_code() {
        ErrorCode::JETSTREAM_NOT_ENABLED => no_jetstream(connection, action),
        ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => refused(
            connection,
            action,
            "JetStream is not enabled for this account: enable it there",
        ),
        ErrorCode::STORAGE_RESOURCES_EXCEEDED | ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED => {
            refused(
                connection,
                action,
                &format!("{error}: lower NATS_MAX_BYTES, or give the server more"),
            )
        }
        _ if error.code() == UNAVAILABLE => connection.unavailable(action, error.clone().into()),
        _ => refused(connection, action, &error.to_string()),
    }
}

/// Whether the server failed to store a message, for another reason than a limit.
pub(super) fn is_store_failure(error: &PublishError) -> bool {
    response(error).is_some_and(|response| {
        response.error_code() == ErrorCode::STREAM_STORE_FAILED && !is_full(response)
    })
}

/// Whether the server failed to store a consumer, because of the state of its disk.
pub(super) fn is_consumer_store_failure(error: &jetstream::Error) -> bool {
    matches!(error.error_code(), ErrorCode::CONSUMER_CREATE | ErrorCode::CONSUMER_STORE_FAILED)
}

/// The server's error response to a publication.
fn response(error: &PublishError) -> Option<&jetstream::Error> {
    std::error::Error::source(error).and_then(|source| source.downcast_ref())
}

/// The error for a failed publication.
pub(super) fn from_publish(connection: &Connection, error: PublishError) -> Error {
    const ACTION: &str = "publish a chunk";
    if let Some(response) = response(&error) {
        return if is_full(response) {
            Error::Full
        } else {
            from_response(connection, ACTION, response)
        };
    }
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => refused(connection, ACTION, &error.to_string()),
        // A server that cannot write reports it only in its own log.
        PublishErrorKind::TimedOut => connection.unavailable(ACTION, NO_ACK.into()),
        _ => connection.unavailable(ACTION, error.into()),
    }
}

/// A permanent error.
pub(super) fn refused(connection: &Connection, action: &'static str, reason: &str) -> Error {
    Error::Refused { action, url: connection.url.clone(), reason: reason.to_owned() }
}

/// Whether acknowledgements will free space: a limit of the stream, the account or the server was reached.
fn is_full(error: &jetstream::Error) -> bool {
    match error.error_code() {
        // The store fails for other reasons too; only the message tells them apart.
        ErrorCode::STREAM_STORE_FAILED => error.to_string().contains("maximum"),
        code => matches!(
            code,
            ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
                | ErrorCode::INSUFFICIENT_RESOURCES
                | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        ),
    }
}
