//! Classifies errors of Redis: transient or permanent.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::Error;

/// The port's error for an error of Redis during `action` at `url`.
pub(super) fn failure(action: &'static str, url: &str, error: RedisError) -> Error {
    let url = url.to_owned();
    if let Some(reason) = jetline_runtime::tls::refusal(&error) {
        let reason = format!("{reason}; {}", super::tls::ADVICE);
        return Error::Refused { action, url, reason };
    }
    match refusal(&error) {
        Some(advice) => Error::Refused { action, url, reason: format!("{error}; {advice}") },
        None => Error::Unavailable { action, url, source: Box::new(error) },
    }
}

/// What to do about a permanent error; `None` if it is transient.
fn refusal(error: &RedisError) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::AuthenticationFailed => Some("check the user and password in REDIS_URL"),
        ErrorKind::Server(ServerErrorKind::NoPerm) => {
            Some("the user in REDIS_URL lacks the permission: check its ACL")
        }
        ErrorKind::InvalidClientConfig => Some("check REDIS_URL"),
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
            Some("check that REDIS_URL is the address of a Redis server")
        }
        ErrorKind::Server(
            ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot,
        ) => Some(super::NO_CLUSTER),
        ErrorKind::Server(ServerErrorKind::ResponseError) => {
            let is_full = error.detail().is_some_and(|text| text.contains("max number of clients"));
            (!is_full).then_some("check that REDIS_URL is the address of Redis 7.0 or later")
        }
        _ => match error.code() {
            Some("NOAUTH" | "WRONGPASS") => Some("check the user and password in REDIS_URL"),
            Some("WRONGTYPE") => {
                Some("its keys are used for something else: choose another REDIS_PREFIX")
            }
            _ => None,
        },
    }
}
