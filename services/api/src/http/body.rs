//! The length of a body.

use std::io;

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::combinators::BoxBody;
use poem::Response;

/// The length of the body in bytes; none where it is streamed.
pub(crate) fn length(response: &mut Response) -> Option<u64> {
    let body: BoxBody<Bytes, io::Error> = response.take_body().into();
    let length = body.size_hint().exact();
    response.set_body(body);
    length
}
