//! Requests counted, and answered wrongly on order.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, future, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::{Method, StatusCode, body::Frame};
use s3s::{Body, HttpError, HttpRequest, HttpResponse, S3Error, S3ErrorCode, service::S3Service};

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is answered with this status (500 or 503) and nothing is done.
    Status(u16),
    /// The connection breaks after this many bytes of the answer's body.
    CutBody(usize),
    /// The answer comes this much later.
    Delay(Duration),
}

/// What the requests are, as far as tests count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Get,
    List,
    Other,
}

/// How many requests came, and what is to go wrong with the next ones. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Traffic(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    gets: u64,
    lists: u64,
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

    pub(super) fn fail_next(&self, requests: usize, fault: &Fault, only_gets: bool) {
        let faults = std::iter::repeat_n((fault.clone(), only_gets), requests);
        self.lock().faults.extend(faults);
    }

    /// Serves a request, or does what is ordered for it.
    pub(super) async fn serve(
        self,
        service: S3Service,
        request: HttpRequest,
    ) -> Result<HttpResponse, HttpError> {
        match self.note(operation(&request)) {
            None => service.call(request).await,
            Some(Fault::Status(status)) => refuse(status),
            Some(Fault::CutBody(length)) => Ok(cut(service.call(request).await?, length)),
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                service.call(request).await
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
    error
        .to_http_response()
        .map_err(|error| HttpError::new(error.into()))
}

/// The header still promises the whole length.
fn cut(answer: HttpResponse, length: usize) -> HttpResponse {
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
        let broken = stream::once(async {
            // Lets the connection send what it has: the header at least.
            tokio::task::yield_now().await;
            Err("cut on order".into())
        });
        Body::http_body_unsync(StreamBody::new(kept.chain(broken)))
    })
}
