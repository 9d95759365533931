//! Streams many records in one response, with one part of it at a time in memory.
//!
//! A part is read when the one before has been sent, and no database connection is held in between: slow clients do not
//! affect others.

use std::io;

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use jetline_records::Record;
use jetline_store::catalog::records::Part;

use crate::{
    database::{Error, ReadPool},
    http::{
        json::{self, SerdeJson},
        problem::Failure,
        response_budget::{PART_BYTES, ResponseBudget},
    },
};

/// Bytes of texts that are read for a part. As JSON they are larger, and the last record of a part may be a large one.
const READ_BYTES: usize = PART_BYTES / 4;

/// A response with the records of these ids, in their order, as an array.
pub(crate) async fn respond<R: Record>(
    pool: &ReadPool,
    budget: &ResponseBudget,
    ids: Vec<R::Id>,
) -> Result<SerdeJson<Vec<R>>, Failure> {
    let mut stream =
        RecordStream::<R> { pool: pool.clone(), budget: budget.clone(), ids, is_first: true };
    let (first, is_last) = stream.next().await?;
    if is_last {
        return Ok(SerdeJson::serialized(first));
    }
    let rest = stream::try_unfold(Some(stream), |stream| async {
        let Some(mut stream) = stream else {
            return Ok(None);
        };
        let (part, is_last) = stream.next().await?;
        Ok(Some((part, (!is_last).then_some(stream))))
    });
    // The status was sent already: on an error the client gets an incomplete body.
    let rest = rest.map_err(|error: Error| io::Error::other(error));
    Ok(SerdeJson::streamed(prepend(first, rest)))
}

fn prepend(
    first: Bytes,
    rest: impl Stream<Item = io::Result<Bytes>>,
) -> impl Stream<Item = io::Result<Bytes>> {
    futures::StreamExt::chain(stream::once(async { Ok(first) }), rest)
}

struct RecordStream<R: Record> {
    pool: ReadPool,
    budget: ResponseBudget,
    /// The ids that were not read yet.
    ids: Vec<R::Id>,
    /// Whether no record was written yet.
    is_first: bool,
}

impl<R: Record> RecordStream<R> {
    /// The next part of the array, and whether it is the last.
    async fn next(&mut self) -> Result<(Bytes, bool), Error> {
        let opens = self.is_first;
        let memory = self.budget.reserve(PART_BYTES).await?;
        let statement = self.pool.catalog().records_part::<R>(&self.ids, READ_BYTES);
        let part = self.pool.run(statement).await?;
        self.ids.drain(..part.ids);
        let is_last = self.ids.is_empty();
        let body = json::serialize(|| self.write(&part, opens, is_last))?;
        Ok((memory.fill(body)?, is_last))
    }

    fn write(&mut self, part: &Part<R>, opens: bool, is_last: bool) -> serde_json::Result<Vec<u8>> {
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
        if is_last {
            body.push(b']');
        }
        Ok(body)
    }
}
