//! Changes of objects while they are being read, at an exact offset.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use s3s::{Body, dto::StreamingBlob};

use super::buckets::{Buckets, Object};

/// A change of an object.
#[derive(Clone, Debug)]
pub struct Change {
    bucket: String,
    key: String,
    content: Option<Bytes>,
}

impl Change {
    /// It gets new content.
    #[must_use]
    pub fn overwrite(bucket: &str, key: &str, content: impl Into<Bytes>) -> Self {
        Self { bucket: bucket.to_owned(), key: key.to_owned(), content: Some(content.into()) }
    }

    /// It is removed.
    #[must_use]
    pub fn delete(bucket: &str, key: &str) -> Self {
        Self { bucket: bucket.to_owned(), key: key.to_owned(), content: None }
    }
}

/// The moment of a read at which a change happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the read: it sees the changed object.
    Arrival,
    /// After this many bytes of the response's body, or at its end. The response continues with the old content, as in S3.
    Body(usize),
}

struct Planned {
    /// How many reads until it is due.
    reads: usize,
    moment: Moment,
    change: Change,
}

/// The planned changes. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Changes(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    planned: Vec<Planned>,
    /// Due within responses that are being sent.
    sending: usize,
}

impl Changes {
    pub(super) fn plan(&self, nth: usize, moment: Moment, change: Change) {
        self.lock().planned.push(Planned { reads: nth.max(1), moment, change });
    }

    pub(super) fn planned(&self) -> usize {
        let state = self.lock();
        state.planned.len() + state.sending
    }

    pub(super) fn forget(&self) {
        self.lock().planned.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buckets {
    /// To be called with each read of an object. Makes the changes that are due now; the rest is due within the response.
    pub(super) fn changes_at_get(&self, bucket: &str, key: &str) -> Later {
        let mut later = Vec::new();
        let mut state = self.changes.lock();
        for mut planned in mem::take(&mut state.planned) {
            if planned.change.bucket == bucket && planned.change.key == key {
                planned.reads -= 1;
            }
            match planned.moment {
                _ if planned.reads > 0 => state.planned.push(planned),
                Moment::Arrival => self.make(planned.change),
                Moment::Body(after) => later.push((after, planned.change)),
            }
        }
        state.sending += later.len();
        later.sort_by_key(|(after, _)| *after);
        Later { buckets: self.clone(), changes: later.into() }
    }

    fn make(&self, change: Change) {
        match change.content {
            Some(content) => self.put(&change.bucket, &change.key, Object::of_bytes(content)),
            None => self.remove(&change.bucket, &change.key),
        }
    }
}

/// The changes within one response, in the order of their offsets. They happen even if the response is interrupted.
pub(super) struct Later {
    buckets: Buckets,
    changes: VecDeque<(usize, Change)>,
}

impl Later {
    /// Makes the changes while the body is sent.
    pub(super) fn within(self, body: StreamingBlob) -> StreamingBlob {
        if self.changes.is_empty() {
            return body;
        }
        let begin = Sending { body, later: self, sent: 0, block: Bytes::new() };
        let blocks = stream::unfold(begin, |mut sending| async {
            let block = sending.next().await?;
            Some((block.map(Frame::data), sending))
        });
        StreamingBlob::from(Body::http_body_unsync(StreamBody::new(blocks)))
    }

    /// The offset of the next one.
    fn next(&self) -> Option<usize> {
        self.changes.front().map(|(after, _)| *after)
    }

    fn make_next(&mut self) {
        if let Some((_, change)) = self.changes.pop_front() {
            self.buckets.make(change);
            self.buckets.changes.lock().sending -= 1;
        }
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        while self.next().is_some() {
            self.make_next();
        }
    }
}

struct Sending {
    body: StreamingBlob,
    later: Later,
    sent: usize,
    /// The next bytes of the body.
    block: Bytes,
}

impl Sending {
    async fn next(&mut self) -> Option<Result<Bytes, s3s::StdError>> {
        while self.later.next() == Some(self.sent) {
            // Yields, so that the connection sends what precedes it.
            tokio::task::yield_now().await;
            self.later.make_next();
        }
        while self.block.is_empty() {
            match self.body.next().await? {
                Ok(block) => self.block = block,
                Err(error) => return Some(Err(error)),
            }
        }
        let left = self.later.next().map_or(usize::MAX, |after| after - self.sent);
        let block = self.block.split_to(left.min(self.block.len()));
        self.sent += block.len();
        Some(Ok(block))
    }
}
