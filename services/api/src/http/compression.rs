//! Compresses answers as the client accepts it.
//!
//! poem's own middleware compresses short answers too, does not know `zstd`, takes `gzip;q=0` for a wish, and decodes the bodies of
//! requests, which the intake does by itself.

use std::sync::Arc;

use async_compression::{
    Level,
    brotli::EncoderParams,
    tokio::bufread::{BrotliEncoder, GzipEncoder, ZstdEncoder},
    zstd::CParameter,
};
use futures::StreamExt;
use poem::{
    Body, Endpoint, Request, Response, Result,
    http::{HeaderMap, HeaderValue, StatusCode, header},
};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::io::StreamReader;

use super::{body, response_budget::ResponseBudget};

/// Shorter answers are not compressed.
const MIN_BYTES: u64 = 1 << 10;

/// The binary logarithm of the encoders' windows: their memory is a multiple of them.
const WINDOW_BITS: u8 = 17;

/// Memory of an encoder, which it has until its answer is sent.
const ENCODER_BYTES: usize = 1 << 20;

/// An encoding, with the preferred ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Zstd,
    Brotli,
    Gzip,
}

impl Encoding {
    const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The one with the greatest weight in `Accept-Encoding`; none where no encoding at all is preferred.
    pub(crate) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(header::ACCEPT_ENCODING).into_iter();
        let items = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
        let accepted: Vec<(&str, f32)> = items.filter_map(weighted).collect();
        let weight_of = |name: &str| {
            let found = accepted.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            found.map(|(_, weight)| *weight)
        };
        let of_others = weight_of("*").unwrap_or(0.0);
        let mut best = (None, weight_of("identity").unwrap_or(0.0));
        for encoding in Self::ALL.into_iter().rev() {
            let weight = weight_of(encoding.name()).unwrap_or(of_others);
            if weight > 0.0 && weight >= best.1 {
                best = (Some(encoding), weight);
            }
        }
        best.0
    }

    /// `memory` is held until the encoder is dropped.
    fn encode(self, body: Body, memory: OwnedSemaphorePermit) -> Body {
        let blocks = body.into_bytes_stream().inspect(move |_| {
            let _held = &memory;
        });
        let reader = StreamReader::new(Box::pin(blocks));
        match self {
            Self::Zstd => {
                let window = [CParameter::window_log(WINDOW_BITS.into())];
                Body::from_async_read(ZstdEncoder::with_quality_and_params(
                    reader,
                    Level::Fastest,
                    &window,
                ))
            }
            Self::Brotli => {
                let parameters = EncoderParams::default()
                    .quality(Level::Fastest)
                    .window_size(WINDOW_BITS.into());
                Body::from_async_read(BrotliEncoder::with_params(reader, parameters))
            }
            Self::Gzip => Body::from_async_read(GzipEncoder::with_quality(reader, Level::Fastest)),
        }
    }
}

/// A name with its weight, as in `gzip;q=0.5`; none where it is malformed.
fn weighted(item: &str) -> Option<(&str, f32)> {
    let mut parts = item.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?;
    match parts.next() {
        None => Some((name, 1.0)),
        Some(parameter) => {
            let (q, weight) = parameter.split_once('=')?;
            let weight = weight.trim().parse().ok().filter(|weight| (0.0..=1.0).contains(weight));
            Some((name, weight.filter(|_| q.trim().eq_ignore_ascii_case("q"))?))
        }
    }
}

/// Compresses the answer if it is long enough, and there is memory for an encoder.
pub(crate) async fn with_compression<E: Endpoint<Output = Response>>(
    endpoint: Arc<E>,
    request: Request,
    budget: ResponseBudget,
) -> Result<Response> {
    let accepted = Encoding::accepted(request.headers());
    Ok(compress(endpoint.call(request).await?, accepted, &budget))
}

/// The response in an encoding, if it is long enough.
pub(crate) fn compress(
    mut response: Response,
    accepted: Option<Encoding>,
    budget: &ResponseBudget,
) -> Response {
    let is_unchanged = response.status() == StatusCode::NOT_MODIFIED;
    let is_short = body::length(&mut response).is_some_and(|length| length < MIN_BYTES);
    if is_of_events(&response) || (is_short && !is_unchanged) {
        return response;
    }
    let vary = HeaderValue::from_static("accept-encoding");
    response.headers_mut().append(header::VARY, vary);
    if !is_unchanged
        && let Some(encoding) = accepted
        && let Some(memory) = budget.hold(ENCODER_BYTES)
    {
        let body = encoding.encode(response.take_body(), memory);
        response.set_body(body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
        weaken_tag(headers);
    }
    response
}

/// Whether it is a stream of events, which would be kept back until there are enough of them.
fn is_of_events(response: &Response) -> bool {
    response.content_type().is_some_and(|of| of.starts_with("text/event-stream"))
}

/// A strong tag would be of other bytes.
fn weaken_tag(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(header::ETAG) else { return };
    if !tag.as_bytes().starts_with(b"W/")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        headers.insert(header::ETAG, weak);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(header: &str) -> Option<Encoding> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_str(header).unwrap());
        Encoding::accepted(&headers)
    }

    #[test]
    fn encoding_with_the_greatest_weight_is_chosen() {
        assert_eq!(accepted("gzip"), Some(Encoding::Gzip));
        assert_eq!(accepted("gzip, deflate, br"), Some(Encoding::Brotli));
        assert_eq!(accepted("gzip, deflate, br, zstd"), Some(Encoding::Zstd));
        assert_eq!(accepted("zstd;q=0.5, GZIP; q=0.8"), Some(Encoding::Gzip));
        assert_eq!(accepted("*"), Some(Encoding::Zstd));
        assert_eq!(accepted("zstd;q=0, br;q=0, *;q=0.1"), Some(Encoding::Gzip));
    }

    #[test]
    fn what_is_refused_is_not_chosen() {
        for header in
            ["", "gzip;q=0", "deflate", "identity", "*;q=0", "identity, gzip;q=0.5", "gzip;q=x"]
        {
            assert_eq!(accepted(header), None, "{header}");
        }
        assert_eq!(Encoding::accepted(&HeaderMap::new()), None);
    }
}
