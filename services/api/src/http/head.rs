//! HEAD: the response of GET without its body, but with its length where that is known.

use std::sync::Arc;

use poem::{
    Endpoint, Request, Response, Result,
    http::{HeaderValue, Method, StatusCode, header},
};

use crate::http::body;

/// Answers HEAD through GET. The framework would do so too, and say that the length is 0.
pub(crate) async fn with_head<E: Endpoint<Output = Response>>(
    endpoint: Arc<E>,
    mut request: Request,
) -> Result<Response> {
    if request.method() != Method::HEAD {
        return endpoint.call(request).await;
    }
    request.set_method(Method::GET);
    let mut response = endpoint.call(request).await?;
    let length = body::length(&mut response);
    drop(response.take_body());
    if response.status() == StatusCode::OK
        && let Some(length) = length
    {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}
