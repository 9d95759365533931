//! HEAD: the response of GET without its body, but with its length where that is known.

use std::sync::Arc;

use poem::{
    Endpoint, Request, Response, Result,
    error::InternalServerError,
    http::{HeaderValue, Method, StatusCode, header},
};

use crate::http::json::Length;

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
    let body = response.take_body();
    if response.data() == Some(&Length::Unknown) {
        // It is not generated only to get its length.
        return Ok(response);
    }
    let body = body.into_bytes().await;
    if response.status() == StatusCode::OK {
        let length = body.map_err(InternalServerError)?.len();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}
