//! Classifies failed requests: changed, deleted, refused, or transient.

use std::{error::Error as StdError, iter};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ConnectorError, ProvideErrorMetadata, SdkError},
    operation::{get_object::GetObjectError, list_objects_v2::ListObjectsV2Error},
};
use tokio::task::JoinError;

use super::{access::CA_BUNDLE, body_limit};
use crate::Error;

const KEYS: &str = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN";
const EXPIRED: &str =
    "get new keys: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN";
const CLOCK: &str = "set the clock of this machine, or of the server";
const ARCHIVED: &str = "the object is archived: restore it, or exclude it from SOURCE";
const ENCRYPTED: &str =
    "the keys need permission for kms:Decrypt, and the encryption key to be enabled";
const MAY_LIST: &str = "the keys need permission for s3:ListBucket: check AWS_ACCESS_KEY_ID, \
     AWS_SECRET_ACCESS_KEY and the policies of the bucket";
const MAY_READ: &str = "the keys need permission for s3:GetObject, and for kms:Decrypt if it is encrypted: check \
     AWS_ACCESS_KEY_ID and the policies of the bucket and the object";
const MAY_WRITE: &str = "the keys need permission for s3:PutObject, s3:GetObject, s3:DeleteObject, s3:AbortMultipartUpload \
     and s3:ListBucket, and for kms:GenerateDataKey and kms:Decrypt if objects are encrypted: check AWS_ACCESS_KEY_ID and \
     the policies of the bucket";
const SPACE: &str = "make room in the bucket, or raise its quota";
const ROLE: &str =
    "check AWS_PROFILE, AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE, and the role that they name";
const BUCKET: &str = "check the bucket's name and AWS_ENDPOINT_URL";
const REGION: &str = "check AWS_REGION and AWS_ENDPOINT_URL";
const SERVER: &str = "check AWS_ENDPOINT_URL";

const NO_SUCH_BUCKET: &str = "NoSuchBucket";

/// The most bytes of a server's text that are quoted.
const MAX_TEXT_BYTES: usize = 1 << 10;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a request for an object's content failed.
pub(super) enum Failure {
    /// The object may have changed or been deleted; one response alone does not prove it.
    Suspect {
        /// The error, if it is confirmed.
        error: Error,
        /// The server's response.
        response: String,
    },
    /// The cause is not the object.
    Other(Error),
}

pub(super) fn listing(uri: String, error: SdkError<ListObjectsV2Error, HttpResponse>) -> Error {
    let refused = |uri, reason| Error::Refused { action: "list", uri, reason };
    if let Some(reason) = tls_refusal(&error) {
        return refused(uri, reason);
    }
    if body_limit::was_reached(&error) {
        let reason = format!("a page exceeds the size limit: {SERVER}");
        return refused(uri, reason);
    }
    match refusal(&error, MAY_LIST) {
        Some(reason) if error.code() == Some(NO_SUCH_BUCKET) => Error::NotFound { uri, reason },
        Some(reason) => refused(uri, reason),
        None => Error::Unavailable { action: "list", uri, source: error.into() },
    }
}

pub(super) fn reading(uri: &str, error: SdkError<GetObjectError, HttpResponse>) -> Failure {
    let uri = uri.to_owned();
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.code();
    let response =
        || format!("{} (status {})", quoted(code.unwrap_or("no code")), status.unwrap_or(0));
    match (status, code) {
        // A range that does not exist now existed when the object was listed.
        (Some(412 | 416), _) => {
            Failure::Suspect { response: response(), error: Error::Changed { uri } }
        }
        (Some(404), Some("NoSuchKey")) => {
            Failure::Suspect { response: response(), error: Error::Deleted { uri } }
        }
        _ => Failure::Other(match refusal(&error, MAY_READ) {
            Some(reason) => refused(uri, reason),
            None => unavailable(uri, error.into()),
        }),
    }
}

/// A failed request that is to `write` or `delete`.
pub(super) fn writing<E: ProvideErrorMetadata + StdError + Send + Sync + 'static>(
    action: &'static str,
    uri: String,
    error: SdkError<E, HttpResponse>,
) -> Error {
    match tls_refusal(&error).or_else(|| refusal(&error, MAY_WRITE)) {
        Some(reason) => Error::Refused { action, uri, reason: format!("{reason} (INTAKE_STORE)") },
        None => Error::Unavailable { action, uri, source: error.into() },
    }
}

fn tls_refusal(error: &(dyn StdError + 'static)) -> Option<String> {
    let reason = jetline_runtime::tls::refusal(error)?;
    Some(format!("{reason}: check AWS_ENDPOINT_URL and {CA_BUNDLE}"))
}

pub(super) fn refused(uri: String, reason: String) -> Error {
    Error::Refused { action: "read", uri, reason }
}

pub(super) fn unavailable(uri: String, source: Cause) -> Error {
    Error::Unavailable { action: "read", uri, source }
}

/// A task that read a part panicked, or the runtime is shutting down.
pub(super) fn stopped(stopped: JoinError) -> Error {
    unavailable("a part of an object".into(), stopped.into())
}

/// A server's text for the log and the ledger: without control characters, and of limited length.
pub(super) fn quoted(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_TEXT_BYTES);
    text[..end].replace(char::is_control, "")
}

/// Why a retry does not help, and what to check; `None` if it may help.
fn refusal<E: ProvideErrorMetadata + StdError + 'static>(
    error: &SdkError<E, HttpResponse>,
    permission: &'static str,
) -> Option<String> {
    let SdkError::ServiceError(response) = error else {
        return credentials_refusal(error);
    };
    let status = response.raw().status().as_u16();
    let code = response.err().code().unwrap_or("no code");
    let advice = advice(status, code, permission)?;
    let message = match code {
        NO_SUCH_BUCKET => "the bucket does not exist",
        _ => response.err().message().unwrap_or_default(),
    };
    let space = if message.is_empty() { "" } else { ", " };
    let (code, message) = (quoted(code), quoted(message.trim_end_matches('.')));
    Some(format!("{code} (status {status}){space}{message}: {advice}"))
}

/// Why the credentials could not be renewed, if their provider was reached and refused.
fn credentials_refusal(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut reason = None;
    for cause in iter::successors(Some(error), cause) {
        let credentials = cause.downcast_ref::<CredentialsError>();
        if cause.is::<ConnectorError>() {
            // A connection failed, unless the cause is its credentials.
            reason = None;
        } else if let Some(CredentialsError::ProviderTimedOut(_)) = credentials {
            return None;
        } else if credentials.is_some() || reason.is_some() {
            reason = Some(cause.to_string());
        }
    }
    let reason = quoted(&reason?);
    Some(format!("the credentials cannot be renewed, {reason}: {ROLE}"))
}

fn cause<'a>(error: &&'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    (*error).source()
}

fn advice(status: u16, code: &str, permission: &'static str) -> Option<&'static str> {
    Some(match (status, code) {
        (507, _) | (_, "QuotaExceeded") => SPACE,
        (408 | 409 | 429 | 500.., _) | (_, "RequestTimeout" | "SlowDown") => return None,
        (_, NO_SUCH_BUCKET | "InvalidBucketName") => BUCKET,
        (300..=399, _) | (_, "AuthorizationHeaderMalformed") => REGION,
        (_, "RequestTimeTooSkewed" | "RequestExpired") => CLOCK,
        (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => EXPIRED,
        (_, "InvalidObjectState") => ARCHIVED,
        (_, code) if code.starts_with("KMS.") => ENCRYPTED,
        (_, "AccessDenied" | "AllAccessDisabled" | "AccountProblem") => permission,
        (401 | 403, _) | (_, "InvalidToken") => KEYS,
        // A successful response that cannot be parsed.
        (..=299, _) => SERVER,
        _ => BUCKET,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_server_is_shortened_and_has_no_control_characters() {
        assert_eq!(quoted("a\0b\u{1b}[mü\n"), "ab[mü");
        assert_eq!(quoted(&"ü".repeat(MAX_TEXT_BYTES)).len(), MAX_TEXT_BYTES);
        assert_eq!(quoted(&"€".repeat(MAX_TEXT_BYTES)).len(), MAX_TEXT_BYTES - 1);
    }

    #[test]
    fn advice_matches_the_cause() {
        for (status, code, words) in [
            (403, "RequestTimeTooSkewed", "clock"),
            (403, "InvalidObjectState", "archived"),
            (403, "AccessDenied", "s3:GetObject"),
            (400, "ExpiredToken", "AWS_SESSION_TOKEN"),
            (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
            (403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
            (401, "no code", "AWS_SECRET_ACCESS_KEY"),
            (400, "KMS.DisabledException", "kms:Decrypt"),
            (404, "NoSuchBucket", "bucket's name"),
            (301, "PermanentRedirect", "AWS_REGION"),
            (507, "XMinioStorageFull", "make room"),
        ] {
            let advice = advice(status, code, MAY_READ).unwrap();
            assert!(advice.contains(words), "{code}: {advice}");
        }
        for (status, code) in
            [(503, "SlowDown"), (400, "RequestTimeout"), (409, "OperationAborted")]
        {
            assert_eq!(advice(status, code, MAY_READ), None, "{code}");
        }
    }
}
