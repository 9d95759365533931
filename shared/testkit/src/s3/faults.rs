//! Counts requests and injects faults into responses.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, future, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::{Method, StatusCode, body::Frame};
use s3s::{Body, HttpError, HttpRequest, HttpResponse, S3Error, S3ErrorCode, service::S3Service};
use tokio_util::sync::CancellationToken;

/// A fault of a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The response has this status (500 or 503), and nothing is done.
    Status(u16),
    /// The given response, and nothing is done.
    Answer {
        /// The status.
        status: u16,
        /// The body.
        body: Bytes,
    },
    /// A response whose body never ends, and nothing is done.
    Endless {
        /// The status.
        status: u16,
    },
    /// The connection is closed after this many bytes of the response's body, before its `Content-Length`.
    CutBody(usize),
    /// The response is delayed.
    Delay(Duration),
    /// The connection is reset without a response, and nothing is done.
    Reset,
    /// The request is served, and the connection is reset without a response.
    LoseResponse,
    /// The response's body is sent in blocks of at most this many bytes, with a pause before each.
    Trickle {
        /// Bytes in a block; zero counts as one.
        block: usize,
        /// The pause.
        every: Duration,
    },
}

impl Fault {
    /// An error response of S3.
    #[must_use]
    pub fn refusal(status: u16, code: &str, message: &str) -> Self {
        let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        Self::Answer { status, body: body.into() }
    }

    /// A page of a listing with these elements.
    #[must_use]
    pub fn page(elements: &str) -> Self {
        let body = format!("<ListBucketResult>{elements}</ListBucketResult>");
        Self::Answer { status: 200, body: body.into() }
    }
}

/// How many faults were injected, by kind. A fault without effect does not count, such as a truncation after the end of a
/// body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fired {
    /// [`Fault::Status`].
    pub status: u64,
    /// [`Fault::Answer`] and [`Fault::Endless`].
    pub answer: u64,
    /// [`Fault::CutBody`].
    pub cut_body: u64,
    /// [`Fault::Delay`].
    pub delay: u64,
    /// [`Fault::Reset`] and [`Fault::LoseResponse`].
    pub reset: u64,
    /// [`Fault::Trickle`].
    pub trickle: u64,
}

impl Fired {
    /// The sum of all kinds.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.status + self.answer + self.cut_body + self.delay + self.reset + self.trickle
    }
}

/// The kinds of requests that tests count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Get,
    List,
    Other,
}

/// The counters of requests, and the faults of the next ones. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Traffic(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    gets: u64,
    lists: u64,
    fired: Fired,
    /// In order; with `true`, for reads of objects only.
    faults: VecDeque<(Fault, bool)>,
}

impl Traffic {
    pub(super) fn gets(&self) -> u64 {
        self.lock().gets
    }

    pub(super) fn lists(&self) -> u64 {
        self.lock().lists
    }

    pub(super) fn fired(&self) -> Fired {
        self.lock().fired
    }

    pub(super) fn fail_next(&self, requests: usize, fault: &Fault, only_gets: bool) {
        let faults = std::iter::repeat_n((fault.clone(), only_gets), requests);
        self.lock().faults.extend(faults);
    }

    pub(super) fn forget_faults(&self) {
        self.lock().faults.clear();
    }

    /// Serves a request, or injects its fault. The caller resets the connection.
    pub(super) async fn serve(
        self,
        service: S3Service,
        request: HttpRequest,
        reset: CancellationToken,
    ) -> Result<HttpResponse, HttpError> {
        match self.note(operation(&request)) {
            None => service.call(request).await,
            Some(Fault::Status(status)) => {
                self.lock().fired.status += 1;
                refuse(status)
            }
            Some(Fault::Answer { status, body }) => {
                self.lock().fired.answer += 1;
                answer(status, Body::from(body))
            }
            Some(Fault::Endless { status }) => {
                self.lock().fired.answer += 1;
                let block = Bytes::from(vec![b' '; 64 << 10]);
                let blocks = stream::repeat_with(move || {
                    Ok::<_, std::convert::Infallible>(Frame::data(block.clone()))
                });
                answer(status, Body::http_body_unsync(StreamBody::new(blocks)))
            }
            Some(Fault::CutBody(length)) => Ok(self.cut(service.call(request).await?, length)),
            Some(Fault::Delay(delay)) => {
                self.lock().fired.delay += 1;
                tokio::time::sleep(delay).await;
                service.call(request).await
            }
            Some(Fault::Reset) => {
                self.lock().fired.reset += 1;
                reset.cancel();
                future::pending().await
            }
            Some(Fault::LoseResponse) => {
                service.call(request).await?;
                self.lock().fired.reset += 1;
                reset.cancel();
                future::pending().await
            }
            Some(Fault::Trickle { block, every }) => {
                let answer = service.call(request).await?;
                Ok(self.trickle(answer, block.max(1), every))
            }
        }
    }

    fn note(&self, operation: Operation) -> Option<Fault> {
        let mut state = self.lock();
        match operation {
            Operation::Get => state.gets += 1,
            Operation::List => state.lists += 1,
            Operation::Other => {}
        }
        let is_meant = |(_, only_gets): &(Fault, bool)| !only_gets || operation == Operation::Get;
        let next = state.faults.iter().position(is_meant)?;
        state.faults.remove(next).map(|(fault, _)| fault)
    }

    /// The header still has the whole length.
    fn cut(self, answer: HttpResponse, length: usize) -> HttpResponse {
        answer.map(|body| {
            let kept = body.into_data_stream().scan(length, |left, block| {
                let kept = (*left > 0).then(|| {
                    block.map(|mut block| {
                        block.truncate(*left);
                        *left -= block.len();
                        Frame::data(block)
                    })
                });
                future::ready(kept)
            });
            let broken = stream::once(async move {
                // Yields, so that the connection sends at least the header.
                tokio::task::yield_now().await;
                self.lock().fired.cut_body += 1;
                Err("injected fault".into())
            });
            Body::http_body_unsync(StreamBody::new(kept.chain(broken)))
        })
    }

    fn trickle(self, answer: HttpResponse, block: usize, every: Duration) -> HttpResponse {
        answer.map(|body| {
            let blocks = body.into_data_stream().flat_map(move |bytes| {
                let pieces = match bytes {
                    Ok(bytes) => pieces(bytes, block).map(Ok).left_stream(),
                    error => stream::iter([error]).right_stream(),
                };
                pieces.map_ok(Frame::data)
            });
            let mut counted = false;
            let slow = blocks.then(move |piece| {
                if !counted {
                    counted = true;
                    self.lock().fired.trickle += 1;
                }
                tokio::time::sleep(every).map(|()| piece)
            });
            Body::http_body_unsync(StreamBody::new(slow))
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By the path: `/bucket` or `/bucket/key`.
fn operation(request: &HttpRequest) -> Operation {
    let path = request.uri().path().trim_start_matches('/');
    let key = path.split_once('/').map_or("", |(_, key)| key);
    match *request.method() {
        Method::GET if key.is_empty() => Operation::List,
        Method::GET => Operation::Get,
        _ => Operation::Other,
    }
}

fn refuse(status: u16) -> Result<HttpResponse, HttpError> {
    let mut error = S3Error::new(match status {
        503 => S3ErrorCode::SlowDown,
        _ => S3ErrorCode::InternalError,
    });
    error
        .set_status_code(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    error.to_http_response().map_err(|error| HttpError::new(error.into()))
}

fn answer(status: u16, body: Body) -> Result<HttpResponse, HttpError> {
    let mut answer = HttpResponse::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).map_err(|e| HttpError::new(e.into()))?;
    Ok(answer)
}

fn pieces(mut bytes: Bytes, length: usize) -> impl Stream<Item = Bytes> {
    stream::iter(std::iter::from_fn(move || {
        let piece = bytes.split_to(length.min(bytes.len()));
        (!piece.is_empty()).then_some(piece)
    }))
}
