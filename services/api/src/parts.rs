//! Many records in one answer, of which no more than a part is in memory at a time.
//!
//! A part is read when the one before has been sent, and no connection to the database is held in between: how slowly a
//! client takes its answer costs others nothing.

use std::io;

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use jetline_records::Record;
use jetline_store::read::records::{self, Part};

use crate::{
    answers::{Answers, PART_BYTES},
    database::{Error, Reads},
    json::{self, SerdeJson},
    problem::Failure,
};

/// Bytes of texts that are read for a part. As JSON they are more, and the last record of a part may be a large one.
const READ_BYTES: usize = PART_BYTES / 4;

/// The records with these ids, in their order, as an array.
pub(crate) async fn answer<R: Record>(
    reads: &Reads,
    answers: &Answers,
    ids: Vec<R::Id>,
) -> Result<SerdeJson<Vec<R>>, Failure> {
    let mut parts = Parts::<R> {
        reads: reads.clone(),
        answers: answers.clone(),
        ids,
        is_first: true,
    };
    let (first, ends) = parts.next().await?;
    if ends {
        return Ok(SerdeJson::written(first));
    }
    let rest = stream::try_unfold(Some(parts), |parts| async {
        let Some(mut parts) = parts else {
            return Ok(None);
        };
        let (part, ends) = parts.next().await?;
        Ok(Some((part, (!ends).then_some(parts))))
    });
    // The status is sent already: a client sees a body that breaks off.
    let rest = rest.map_err(|error: Error| io::Error::other(error));
    Ok(SerdeJson::streamed(with(first, rest)))
}

fn with(
    first: Bytes,
    rest: impl Stream<Item = io::Result<Bytes>>,
) -> impl Stream<Item = io::Result<Bytes>> {
    futures::StreamExt::chain(stream::once(async { Ok(first) }), rest)
}

struct Parts<R: Record> {
    reads: Reads,
    answers: Answers,
    /// Those that were not read yet.
    ids: Vec<R::Id>,
    /// Whether no record was written yet.
    is_first: bool,
}

impl<R: Record> Parts<R> {
    /// The next part of the array, and whether it is its end.
    async fn next(&mut self) -> Result<(Bytes, bool), Error> {
        let opening = self.is_first;
        let memory = self.answers.reserve(PART_BYTES).await?;
        let db = self.reads.connection();
        let statement = records::part::<R>(db, &self.ids, READ_BYTES);
        let part = self.reads.ask(statement).await?;
        self.ids.drain(..part.ids);
        let ends = self.ids.is_empty();
        let body = json::written(|| self.written(&part, opening, ends))?;
        Ok((memory.fill(body)?, ends))
    }

    fn written(&mut self, part: &Part<R>, opens: bool, ends: bool) -> serde_json::Result<Vec<u8>> {
        let mut body = Vec::new();
        if opens {
            body.push(b'[');
        }
        for found in &part.found {
            if !self.is_first {
                body.push(b',');
            }
            self.is_first = false;
            serde_json::to_writer(&mut body, &found.record)?;
        }
        if ends {
            body.push(b']');
        }
        Ok(body)
    }
}
