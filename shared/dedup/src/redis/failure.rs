//! What an error of Redis means: whether waiting helps.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::Error;

/// The port's error for one of Redis, which happened while doing `action` at `url`.
pub(super) fn failure(action: &'static str, url: &str, error: RedisError) -> Error {
    let url = url.to_owned();
    if let Some(reason) = jetline_runtime::tls::refusal(&error) {
        let reason = format!("{reason}; {}", super::tls::ADVICE);
        return Error::Refused {
            action,
            url,
            reason,
        };
    }
    match refusal(&error) {
        Some(advice) => Error::Refused {
            action,
            url,
            reason: format!("{error}; {advice}"),
        },
        None => Error::Unavailable {
            action,
            url,
            source: Box::new(error),
        },
    }
}

/// What to do about an error that waiting does not cure.
fn refusal(error: &RedisError) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::AuthenticationFailed => Some("look at the user and password in REDIS_URL"),
        ErrorKind::Server(ServerErrorKind::NoPerm) => {
            Some("the user in REDIS_URL may not do that: see ACL in the manual of Redis")
        }
        ErrorKind::InvalidClientConfig => Some("look at REDIS_URL"),
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => {
            Some("is it a Redis that REDIS_URL names?")
        }
        ErrorKind::Server(
            ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot,
        ) => Some(super::NO_CLUSTER),
        ErrorKind::Server(ServerErrorKind::ResponseError) => {
            let crowded = error
                .detail()
                .is_some_and(|text| text.contains("max number of clients"));
            (!crowded).then_some("is it a Redis 7.0 or later that REDIS_URL names?")
        }
        _ => match error.code() {
            Some("NOAUTH" | "WRONGPASS") => Some("look at the user and password in REDIS_URL"),
            Some("WRONGTYPE") => {
                Some("its keys are used for something else: choose another REDIS_PREFIX")
            }
            _ => None,
        },
    }
}
