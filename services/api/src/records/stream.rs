//! Streams many records in one response, with one part of it at a time in memory.
//!
//! A part is read when the one before has been sent, and no database connection is held in between: slow clients do not
//! affect others.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use jetline_core::Key;
use jetline_datasets::Dataset;
use jetline_store::catalog::records::Part;
use serde_json::Value;

use crate::{
    database::{Error, ReadPool},
    http::{
        json::{self, SerdeJson},
        problem::Failure,
        response_budget::{PART_BYTES, ResponseBudget},
    },
};

/// Bytes of texts that are read for a part. As JSON they are larger, and the last record of a part may be a large one.
pub(super) const READ_BYTES: usize = PART_BYTES / 4;

/// A response with the records of these keys, in their order, as an array.
pub(crate) async fn respond(
    dataset: &Arc<Dataset>,
    pool: &ReadPool,
    budget: &ResponseBudget,
    keys: Vec<Key>,
) -> Result<SerdeJson<Value>, Failure> {
    let mut stream = RecordStream {
        dataset: dataset.clone(),
        pool: pool.clone(),
        budget: budget.clone(),
        keys,
        is_first: true,
    };
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

struct RecordStream {
    dataset: Arc<Dataset>,
    pool: ReadPool,
    budget: ResponseBudget,
    /// The keys that were not read yet.
    keys: Vec<Key>,
    /// Whether no record was written yet.
    is_first: bool,
}

impl RecordStream {
    /// The next part of the array, and whether it is the last.
    async fn next(&mut self) -> Result<(Bytes, bool), Error> {
        let opens = self.is_first;
        let memory = self.budget.reserve(PART_BYTES).await?;
        let statement = self.pool.catalog().records_part(&self.dataset, &self.keys, READ_BYTES);
        let part = self.pool.run(statement).await?;
        self.keys.drain(..part.keys);
        let is_last = self.keys.is_empty();
        let body = json::serialize(|| self.write(&part, opens, is_last))?;
        Ok((memory.fill(body)?, is_last))
    }

    fn write(&mut self, part: &Part, opens: bool, is_last: bool) -> serde_json::Result<Vec<u8>> {
        let mut body = Vec::new();
        if opens {
            body.push(b'[');
        }
        for found in &part.found {
            if !self.is_first {
                body.push(b',');
            }
            self.is_first = false;
            self.dataset.write_json(&found.values, found.extra.as_deref(), &mut body)?;
        }
        if is_last {
            body.extend_from_slice(b"]\n");
        }
        Ok(body)
    }
}
