//! Small posts that come at a time share an object.
//!
//! The posts of a dataset are written one object after another. While one is being written, further posts wait, and
//! those of one user are the next object. So a single post waits for nothing, and thousands of posts a second are a few dozen objects.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use jetline_datasets::Dataset;
use jetline_store::objects::{NewPost, Post, PostsOutcome};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    body::Hash,
    memory::{Reserved, SMALL_BYTES},
    write_error::WriteError,
    writer::ObjectWriter,
};

/// Maximum number of bytes of lines in a shared object.
const MAX_OBJECT_BYTES: usize = 4 * SMALL_BYTES;

/// How many posts of a dataset may wait; further ones are refused.
const MAX_WAITING: usize = 4_096;

/// How long is waited for further posts before an object is written.
const GATHER_TIME: Duration = Duration::from_millis(2);

/// From the beginning of an object to that of the next one, at least: more objects are more work for all.
const MIN_INTERVAL: Duration = Duration::from_millis(20);

/// A small post.
pub(super) struct SmallPost {
    pub(super) caller: String,
    pub(super) idempotency_key: Option<String>,
    pub(super) hash: Hash,
    pub(super) lines: Vec<u8>,
    /// Their number.
    pub(super) count: u32,
    /// The memory that they take.
    pub(super) _memory: Reserved,
}

type Reply = oneshot::Sender<Result<Post, WriteError>>;

/// The small posts of one dataset.
#[derive(Clone)]
pub(super) struct Batcher(mpsc::Sender<(SmallPost, Reply)>);

impl Batcher {
    /// Starts the task that writes them. It ends with the last clone.
    pub(super) fn start(dataset: Arc<Dataset>, writer: Arc<ObjectWriter>) -> Self {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        tokio::spawn(write_all(dataset, writer, receiver));
        Self(sender)
    }

    /// Writes a post with others; returns when it is durable and registered, or was before.
    pub(super) async fn write(&self, post: SmallPost) -> Result<Post, WriteError> {
        let (reply, placed) = oneshot::channel();
        self.0.try_send((post, reply)).map_err(|_| WriteError::Busy)?;
        // The task crashed: nobody knows what became of the post.
        placed.await.unwrap_or(Err(WriteError::Unavailable))
    }
}

async fn write_all(
    dataset: Arc<Dataset>,
    writer: Arc<ObjectWriter>,
    mut receiver: mpsc::Receiver<(SmallPost, Reply)>,
) {
    let mut waiting: VecDeque<(SmallPost, Reply)> = VecDeque::new();
    let mut next = Instant::now();
    loop {
        if waiting.is_empty() {
            let Some(post) = receiver.recv().await else { return };
            waiting.push_back(post);
            next = next.max(Instant::now() + GATHER_TIME);
        }
        sleep_until(next).await;
        next = Instant::now() + MIN_INTERVAL;
        while let Ok(post) = receiver.try_recv() {
            waiting.push_back(post);
        }
        // Those whose clients have gone are written too: the clients cannot know whether they are.
        write(&dataset, &writer, take_batch(&mut waiting)).await;
    }
}

/// The posts of the caller that has waited longest, up to the size of an object; of several with the same key, the first.
fn take_batch(waiting: &mut VecDeque<(SmallPost, Reply)>) -> Vec<(SmallPost, Reply)> {
    let (mut batch, mut others) = (Vec::new(), VecDeque::new());
    let (mut bytes, mut keys) = (0, HashSet::new());
    let caller = waiting.front().map(|(post, _)| post.caller.clone());
    for (post, reply) in waiting.drain(..) {
        let is_first = batch.is_empty();
        let fits = is_first || bytes + post.lines.len() <= MAX_OBJECT_BYTES;
        let is_new = post.idempotency_key.as_ref().is_none_or(|key| !keys.contains(key));
        if Some(&post.caller) == caller.as_ref() && fits && is_new {
            bytes += post.lines.len();
            keys.extend(post.idempotency_key.clone());
            batch.push((post, reply));
        } else {
            others.push_back((post, reply));
        }
    }
    *waiting = others;
    batch
}

/// Writes posts as one object. Those that are known are left out, and the others written again without them.
async fn write(dataset: &Dataset, writer: &ObjectWriter, mut batch: Vec<(SmallPost, Reply)>) {
    while !batch.is_empty() {
        let mut lines = Vec::with_capacity(batch.iter().map(|(post, _)| post.lines.len()).sum());
        let mut posts = Vec::with_capacity(batch.len());
        let mut next_line = 1;
        for (post, _) in &batch {
            lines.extend_from_slice(&post.lines);
            posts.push(new_post(post, next_line));
            next_line += post.count;
        }
        match writer.write(dataset, lines, &posts).await {
            Ok(PostsOutcome::Registered(object)) => {
                for ((_, reply), post) in batch.drain(..).zip(posts) {
                    // An error is a client that has gone.
                    let _ = reply.send(Ok(post.registered(object, &dataset.name)));
                }
            }
            Ok(PostsOutcome::Known(mut known)) => {
                let mut new = Vec::new();
                for (place, (post, reply)) in batch.into_iter().enumerate() {
                    match known.remove(&place) {
                        Some(before) => drop(reply.send(Ok(before))),
                        None => new.push((post, reply)),
                    }
                }
                batch = new;
            }
            Ok(PostsOutcome::Outdated) => {
                for (_, reply) in batch.drain(..) {
                    let _ = reply.send(Err(WriteError::Outdated));
                }
            }
            Err(error) => {
                for (_, reply) in batch.drain(..) {
                    let _ = reply.send(Err(error));
                }
            }
        }
    }
}

fn new_post(post: &SmallPost, first_line: u32) -> NewPost {
    NewPost {
        caller: post.caller.clone(),
        idempotency_key: post.idempotency_key.clone(),
        body_hash: post.hash,
        first_line,
        lines: post.count,
    }
}
