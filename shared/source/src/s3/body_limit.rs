//! Limits the size of responses that the SDK holds in memory: pages of a listing, and errors.

use aws_sdk_s3::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::BeforeDeserializationInterceptorContextMut,
    },
    error::BoxError,
    primitives::SdkBody,
};
use http_body_util::{LengthLimitError, Limited};

/// A page has at most 1,000 keys of 1,024 bytes, three times as long when percent-encoded.
const MAX_PAGE_BYTES: usize = 16 << 20;
/// An error response has a code, a message and a few ids.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// Which responses are limited; an object's content is streamed.
#[derive(Debug)]
pub(super) enum BodyLimit {
    Errors,
    All,
}

impl Intercept for BodyLimit {
    fn name(&self) -> &'static str {
        "BodyLimit"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let limit = match self {
            _ if !response.status().is_success() => MAX_ERROR_BYTES,
            Self::All => MAX_PAGE_BYTES,
            Self::Errors => return Ok(()),
        };
        let body = response.take_body();
        *response.body_mut() = SdkBody::from_body_1_x(Limited::new(body, limit));
        Ok(())
    }
}

/// Whether an error was caused by the limit.
pub(super) fn was_reached(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
