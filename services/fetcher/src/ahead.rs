//! Small objects, read from their source before it is their turn.

use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use jetline_records::ObjectId;
use jetline_source::{ByteStream, ObjectVersion, Source};
use jetline_store::{
    Error,
    entities::objects,
    ledger::{Batch, Gap},
};
use tokio_util::task::AbortOnDropHandle;

/// The most bytes, as stored, that are leased together, and with that the most that are held here. One object may have
/// more: it is not read ahead.
const BYTES: u64 = 4 << 20;

/// How many objects are read from their source at the same time.
const AT_ONCE: usize = 8;

/// An object that was leased.
pub(crate) struct Leased {
    pub(crate) id: ObjectId,
    pub(crate) object: objects::Model,
    pub(crate) version: ObjectVersion,
    pub(crate) source: Arc<dyn Source>,
}

/// An object whose turn it is.
pub(crate) struct Turn {
    pub(crate) leased: Leased,
    pub(crate) gaps: Result<Vec<Gap>, Error>,
    /// What is stored, where it was read ahead.
    pub(crate) stored: Option<ByteStream>,
}

/// How many objects a reader takes at once.
pub(crate) fn batch(objects: usize) -> Batch {
    Batch {
        objects,
        bytes: BYTES,
    }
}

/// The objects in their order. Where there are several, each that was never read is read ahead.
pub(crate) fn turns(
    objects: Vec<(Leased, Result<Vec<Gap>, Error>)>,
) -> impl Stream<Item = Turn> + Send {
    let several = objects.len() > 1;
    let turns = stream::iter(objects).map(move |(leased, gaps)| {
        let reading = (several && is_whole(&gaps)).then(|| read(&leased));
        async move {
            let stored = match reading {
                // A task that crashed has read nothing: the object is read when it is its turn.
                Some(reading) => reading.await.ok(),
                None => None,
            };
            Turn {
                leased,
                gaps,
                stored: stored.map(|blocks| stream::iter(blocks).boxed()),
            }
        }
    });
    turns.buffered(AT_ONCE)
}

fn is_whole(gaps: &Result<Vec<Gap>, Error>) -> bool {
    matches!(gaps.as_deref(), Ok([gap]) if gap.start == 0 && gap.end.is_none())
}

type Blocks = Vec<Result<bytes::Bytes, jetline_source::Error>>;

fn read(leased: &Leased) -> AbortOnDropHandle<Blocks> {
    let blocks = leased.source.read(&leased.version, 0..leased.version.size);
    AbortOnDropHandle::new(tokio::spawn(blocks.collect()))
}
