//! Reads the small objects of a batch from their source in advance, several at a time.

use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use jetline_source::{ByteStream, Source};
use jetline_store::{
    Error,
    objects::{Gap, LeaseLimits, LeasedObject},
};
use tokio_util::task::AbortOnDropHandle;

/// The most stored bytes that are leased together, and so the most that are held here.
const MAX_BATCH_BYTES: u64 = 4 << 20;

/// How many objects are read from their source at the same time.
const MAX_CONCURRENT_READS: usize = 8;

/// A leased object and its source.
pub(crate) struct Leased {
    pub(crate) object: LeasedObject,
    pub(crate) source: Arc<dyn Source>,
}

/// The next object to publish.
pub(crate) struct Prefetched {
    pub(crate) leased: Leased,
    pub(crate) gaps: Result<Vec<Gap>, Error>,
    /// The stored bytes, if they were prefetched.
    pub(crate) stored: Option<ByteStream>,
}

/// How much a reader leases at once.
pub(crate) fn lease_limits(objects: usize) -> LeaseLimits {
    LeaseLimits { objects, bytes: MAX_BATCH_BYTES }
}

/// Prefetches the objects of which nothing is committed, in their order. A single object is streamed: it may be larger
/// than `MAX_BATCH_BYTES`.
pub(crate) fn prefetch(
    objects: Vec<(Leased, Result<Vec<Gap>, Error>)>,
) -> impl Stream<Item = Prefetched> + Send {
    let several = objects.len() > 1;
    let prefetched = stream::iter(objects).map(move |(leased, gaps)| {
        let reading = (several && nothing_committed(&gaps)).then(|| read(&leased));
        async move {
            let stored = match reading {
                // A task that panicked has read nothing: the object is read later.
                Some(reading) => reading.await.ok(),
                None => None,
            };
            Prefetched { leased, gaps, stored: stored.map(|blocks| stream::iter(blocks).boxed()) }
        }
    });
    prefetched.buffered(MAX_CONCURRENT_READS)
}

fn nothing_committed(gaps: &Result<Vec<Gap>, Error>) -> bool {
    matches!(gaps.as_deref(), Ok([gap]) if gap.start == 0 && gap.end.is_none())
}

type Blocks = Vec<Result<bytes::Bytes, jetline_source::Error>>;

fn read(leased: &Leased) -> AbortOnDropHandle<Blocks> {
    let blocks = leased.source.read(&leased.object.version, 0..leased.object.version.size);
    AbortOnDropHandle::new(tokio::spawn(blocks.collect()))
}
