//! What a failed request means: changed, gone, refused, or worth another try.

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

const KEYS: &str = "look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN";
const EXPIRED: &str =
    "get new keys: look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN";
const CLOCK: &str = "set the clock of this machine, or of the server";
const ARCHIVED: &str = "the object is archived: restore it from there, or leave it out of SOURCE";
const ENCRYPTED: &str =
    "the keys need permission for kms:Decrypt, and the encryption key to be enabled";
const MAY_LIST: &str = "the keys need permission for s3:ListBucket: look at AWS_ACCESS_KEY_ID, \
     AWS_SECRET_ACCESS_KEY and the policies of the bucket";
const MAY_READ: &str = "the keys need permission for s3:GetObject, and for kms:Decrypt where it is encrypted: look at \
     AWS_ACCESS_KEY_ID and the policies of the bucket and the object";
const ROLE: &str = "look at AWS_PROFILE, AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE, and at the role that they name";
const BUCKET: &str = "look at the bucket's name and at AWS_ENDPOINT_URL";
const REGION: &str = "look at AWS_REGION and AWS_ENDPOINT_URL";
const SERVER: &str = "look at AWS_ENDPOINT_URL";

const NO_SUCH_BUCKET: &str = "NoSuchBucket";

/// The longest text of a server that is repeated, in bytes.
const LONGEST_TEXT: usize = 1 << 10;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a request for an object's content failed.
pub(super) enum Failure {
    /// The object may be another one or none, which one answer does not prove.
    Suspect {
        /// What it would be.
        error: Error,
        /// What the server said.
        said: String,
    },
    /// It says nothing about the object.
    Other(Error),
}

pub(super) fn listing(uri: String, error: SdkError<ListObjectsV2Error, HttpResponse>) -> Error {
    let refused = |uri, reason| Error::Refused {
        action: "list",
        uri,
        reason,
    };
    if let Some(reason) = jetline_runtime::tls::refusal(&error) {
        let reason = format!("{reason}: look at AWS_ENDPOINT_URL and {CA_BUNDLE}");
        return refused(uri, reason);
    }
    if body_limit::was_reached(&error) {
        let reason = format!("a page is longer than any that S3 gives, and has no end: {SERVER}");
        return refused(uri, reason);
    }
    match refusal(&error, MAY_LIST) {
        Some(reason) if error.code() == Some(NO_SUCH_BUCKET) => Error::Absent { uri, reason },
        Some(reason) => refused(uri, reason),
        None => Error::Unavailable {
            action: "list",
            uri,
            source: error.into(),
        },
    }
}

pub(super) fn reading(uri: &str, error: SdkError<GetObjectError, HttpResponse>) -> Failure {
    let uri = uri.to_owned();
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    let code = error.code();
    let said = || {
        format!(
            "{} (status {})",
            shown(code.unwrap_or("no code")),
            status.unwrap_or(0)
        )
    };
    match (status, code) {
        // A range that is not there was there when the object was listed.
        (Some(412 | 416), _) => Failure::Suspect {
            said: said(),
            error: Error::Changed { uri },
        },
        (Some(404), Some("NoSuchKey")) => Failure::Suspect {
            said: said(),
            error: Error::Gone { uri },
        },
        _ => Failure::Other(match refusal(&error, MAY_READ) {
            Some(reason) => refused(uri, reason),
            None => unavailable(uri, error.into()),
        }),
    }
}

pub(super) fn refused(uri: String, reason: String) -> Error {
    Error::Refused {
        action: "read",
        uri,
        reason,
    }
}

pub(super) fn unavailable(uri: String, source: Cause) -> Error {
    Error::Unavailable {
        action: "read",
        uri,
        source,
    }
}

/// A task that read a part panicked, or its runtime is going down.
pub(super) fn stopped(stopped: JoinError) -> Error {
    unavailable("a part of an object".into(), stopped.into())
}

/// What a server said, as the log and the ledger take it: without control characters, and not longer than people read.
pub(super) fn shown(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST_TEXT);
    text[..end].replace(char::is_control, "")
}

/// Why waiting a moment does not help and what to look at; `None` when it may help.
fn refusal<E: ProvideErrorMetadata + StdError + 'static>(
    error: &SdkError<E, HttpResponse>,
    permission: &'static str,
) -> Option<String> {
    let SdkError::ServiceError(answer) = error else {
        return without_credentials(error);
    };
    let status = answer.raw().status().as_u16();
    let code = answer.err().code().unwrap_or("no code");
    let advice = advice(status, code, permission)?;
    let message = match code {
        NO_SUCH_BUCKET => "the bucket does not exist",
        _ => answer.err().message().unwrap_or_default(),
    };
    let space = if message.is_empty() { "" } else { ", " };
    let (code, message) = (shown(code), shown(message.trim_end_matches('.')));
    Some(format!(
        "{code} (status {status}){space}{message}: {advice}"
    ))
}

/// Why there are no credentials any more, when whoever gives them was reached and gives none.
fn without_credentials(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut said = None;
    for cause in iter::successors(Some(error), cause) {
        let credentials = cause.downcast_ref::<CredentialsError>();
        if cause.is::<ConnectorError>() {
            // Unless it is about the credentials of that connection.
            said = None;
        } else if let Some(CredentialsError::ProviderTimedOut(_)) = credentials {
            return None;
        } else if credentials.is_some() || said.is_some() {
            said = Some(cause.to_string());
        }
    }
    let said = shown(&said?);
    Some(format!("the credentials cannot be renewed, {said}: {ROLE}"))
}

fn cause<'a>(error: &&'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    (*error).source()
}

fn advice(status: u16, code: &str, permission: &'static str) -> Option<&'static str> {
    Some(match (status, code) {
        (408 | 409 | 429 | 500.., _) | (_, "RequestTimeout" | "SlowDown") => return None,
        (_, NO_SUCH_BUCKET | "InvalidBucketName") => BUCKET,
        (300..=399, _) | (_, "AuthorizationHeaderMalformed") => REGION,
        (_, "RequestTimeTooSkewed" | "RequestExpired") => CLOCK,
        (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => EXPIRED,
        (_, "InvalidObjectState") => ARCHIVED,
        (_, code) if code.starts_with("KMS.") => ENCRYPTED,
        (_, "AccessDenied" | "AllAccessDisabled" | "AccountProblem") => permission,
        (401 | 403, _) | (_, "InvalidToken") => KEYS,
        // An answer that says that all is well and cannot be read.
        (..=299, _) => SERVER,
        _ => BUCKET,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_server_is_shown_short_and_without_control_characters() {
        assert_eq!(shown("a\0b\u{1b}[mü\n"), "ab[mü");
        assert_eq!(shown(&"ü".repeat(LONGEST_TEXT)).len(), LONGEST_TEXT);
        assert_eq!(shown(&"€".repeat(LONGEST_TEXT)).len(), LONGEST_TEXT - 1);
    }

    #[test]
    fn advice_fits_the_cause() {
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
        ] {
            let advice = advice(status, code, MAY_READ).unwrap();
            assert!(advice.contains(words), "{code}: {advice}");
        }
        for (status, code) in [
            (503, "SlowDown"),
            (400, "RequestTimeout"),
            (409, "OperationAborted"),
        ] {
            assert_eq!(advice(status, code, MAY_READ), None, "{code}");
        }
    }
}
