//! What a failed request means: changed, gone, refused, or worth another try.

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::{get_object::GetObjectError, list_objects_v2::ListObjectsV2Error},
};
use tokio::task::JoinError;

use super::access::CA_BUNDLE;
use crate::Error;

const KEYS: &str = "look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN";
const BUCKET: &str = "look at the bucket's name and at AWS_ENDPOINT_URL";
const REGION: &str = "look at AWS_REGION and AWS_ENDPOINT_URL";

const NO_SUCH_BUCKET: &str = "NoSuchBucket";

type Cause = Box<dyn std::error::Error + Send + Sync>;

pub(super) fn listing(uri: String, error: SdkError<ListObjectsV2Error, HttpResponse>) -> Error {
    if let Some(reason) = jetline_runtime::tls::refusal(&error) {
        let reason = format!("{reason}: look at AWS_ENDPOINT_URL and {CA_BUNDLE}");
        return Error::Refused {
            action: "list",
            uri,
            reason,
        };
    }
    match refusal(&error) {
        Some(reason) if error.code() == Some(NO_SUCH_BUCKET) => Error::Absent { uri, reason },
        Some(reason) => Error::Refused {
            action: "list",
            uri,
            reason,
        },
        None => Error::Unavailable {
            action: "list",
            uri,
            source: error.into(),
        },
    }
}

pub(super) fn reading(uri: &str, error: SdkError<GetObjectError, HttpResponse>) -> Error {
    let uri = uri.to_owned();
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    let code = error.code();
    match (status, code) {
        // A range that is not there was there when the object was listed.
        (Some(412 | 416), _) => Error::Changed { uri },
        (Some(404), Some("NoSuchKey")) => Error::Gone { uri },
        _ => match refusal(&error) {
            Some(reason) => Error::Refused {
                action: "read",
                uri,
                reason,
            },
            None => unavailable(uri, error.into()),
        },
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

/// Why waiting does not help and which setting to look at; `None` when it may help.
fn refusal<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<String> {
    let SdkError::ServiceError(answer) = error else {
        return None;
    };
    let status = answer.raw().status().as_u16();
    let code = answer.err().code().unwrap_or("no code");
    let advice = match (status, code) {
        (408 | 429 | 500.., _) | (_, "RequestTimeout" | "SlowDown") => return None,
        (_, NO_SUCH_BUCKET | "InvalidBucketName") => BUCKET,
        (300..=399, _) | (_, "AuthorizationHeaderMalformed") => REGION,
        (401 | 403, _) | (_, "ExpiredToken" | "InvalidToken") => KEYS,
        _ => BUCKET,
    };
    let message = match code {
        NO_SUCH_BUCKET => "the bucket does not exist",
        _ => answer.err().message().unwrap_or_default(),
    };
    let space = if message.is_empty() { "" } else { ", " };
    let message = message.trim_end_matches('.');
    Some(format!(
        "{code} (status {status}){space}{message}: {advice}"
    ))
}
