//! Answers that the SDK holds in memory as a whole are bounded: pages of a listing, and errors.

use aws_sdk_s3::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::BeforeDeserializationInterceptorContextMut,
    },
    error::BoxError,
    primitives::SdkBody,
};
use http_body_util::{LengthLimitError, Limited};

/// A page has 1,000 keys of 1,024 bytes at most, which are three times as long when they are percent-encoded.
const LONGEST_PAGE: usize = 16 << 20;
/// An error has a code, a message and a few ids.
const LONGEST_ERROR: usize = 64 << 10;

/// Which answers are bounded; the content of an object is read as it comes.
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
        let answer = context.response_mut();
        let longest = match self {
            _ if !answer.status().is_success() => LONGEST_ERROR,
            Self::All => LONGEST_PAGE,
            Self::Errors => return Ok(()),
        };
        let body = answer.take_body();
        *answer.body_mut() = SdkBody::from_body_1_x(Limited::new(body, longest));
        Ok(())
    }
}

/// Whether an answer was longer than any that S3 gives.
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
