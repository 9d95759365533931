//! The chunks that one transaction commits.

use std::{
    collections::{BTreeMap, HashSet},
    mem,
    sync::Arc,
};

use jetline_core::{ChunkRange, EpochId, Key, ObjectId};
use jetline_datasets::{Dataset, RedactionKey, Rejection};
use jetline_queue::Chunk;
use jetline_runtime::{
    metrics::CHUNKS_REPEATED,
    telemetry::{Span, SpanKind},
};
use jetline_store::{ChunkOutcome, RefusedRow, RejectedLine};

use crate::{
    outcome::{ChunkResult, count_chunk},
    parse::{self, Parsed},
};

/// Chunks of one declaration that are to be committed in one transaction.
pub struct Batch {
    pub(crate) dataset: Arc<Dataset>,
    redact_key: Option<Arc<RedactionKey>>,
    chunks: Vec<BatchChunk>,
    /// The last commit failed, perhaps because the database refuses a row.
    pub(crate) may_have_refused_row: bool,
    /// The epoch under which its lines were claimed in an attempt that failed, or may have been.
    pub(crate) claimed_under: Option<EpochId>,
    pub(crate) ended: Vec<(ChunkRange, ChunkResult)>,
}

struct BatchChunk {
    chunk: Chunk,
    range: ChunkRange,
    /// The lines, by number, that the database refused.
    refused: BTreeMap<u32, Rejection>,
}

/// A batch whose lines are parsed.
pub struct ParsedBatch {
    pub(crate) batch: Batch,
    /// In the order of the batch's chunks.
    pub(crate) chunks: Vec<Parsed>,
}

impl BatchChunk {
    fn parse(&self, dataset: &Dataset, key: Option<&RedactionKey>) -> Parsed {
        parse::parse(&self.chunk, dataset, key, &self.refused)
    }
}

impl ParsedBatch {
    pub(crate) fn new(
        dataset: Arc<Dataset>,
        redact_key: Option<Arc<RedactionKey>>,
        chunk: Chunk,
    ) -> Self {
        let batch = Batch {
            dataset,
            redact_key,
            chunks: Vec::new(),
            may_have_refused_row: false,
            claimed_under: None,
            ended: Vec::new(),
        };
        let mut new = Self { batch, chunks: Vec::new() };
        new.add(chunk);
        new
    }

    /// Parses and adds a chunk, unless the batch has it: delivered twice, it is committed once.
    pub(crate) fn add(&mut self, chunk: Chunk) {
        let range = chunk.range();
        if self.chunks.iter().any(|chunk| chunk.range == range) {
            return;
        }
        let span = Span::begin(SpanKind::Internal, "parse", chunk.trace);
        let chunk = BatchChunk { chunk, range, refused: BTreeMap::new() };
        let parsed = chunk.parse(&self.batch.dataset, self.batch.redact_key.as_deref());
        span.end();
        self.batch.chunks.push(chunk);
        self.chunks.push(parsed);
    }
}

impl Batch {
    /// Parses the chunks again.
    #[must_use]
    pub fn parse(self) -> ParsedBatch {
        ParsedBatch { chunks: self.parsed(), batch: self }
    }

    pub(crate) fn parsed(&self) -> Vec<Parsed> {
        self.chunks
            .iter()
            .map(|chunk| chunk.parse(&self.dataset, self.redact_key.as_deref()))
            .collect()
    }

    /// Parses lines again that the database refused.
    pub(crate) fn clear_refusals(&mut self, parsed: &mut [Parsed]) {
        for (chunk, parsed) in self.chunks.iter_mut().zip(parsed) {
            if !mem::take(&mut chunk.refused).is_empty() {
                *parsed = chunk.parse(&self.dataset, self.redact_key.as_deref());
            }
        }
    }

    /// One batch per chunk.
    pub(crate) fn split(self) -> impl Iterator<Item = Self> {
        let Self { dataset, redact_key, chunks, claimed_under, mut ended, .. } = self;
        chunks.into_iter().map(move |chunk| Self {
            dataset: dataset.clone(),
            redact_key: redact_key.clone(),
            chunks: vec![chunk],
            may_have_refused_row: false,
            claimed_under,
            ended: mem::take(&mut ended),
        })
    }

    pub(crate) fn queue_chunks(&self) -> impl ExactSizeIterator<Item = &Chunk> {
        self.chunks.iter().map(|chunk| &chunk.chunk)
    }

    /// The settled watermark at the time when the first of the chunks was published.
    pub(crate) fn settled(&self) -> ObjectId {
        let settled = self.queue_chunks().map(|chunk| chunk.settled);
        settled.min().unwrap_or_default()
    }

    /// Rejects rows that the database refused; the lines that they had superseded replace them in `parsed`. Returns the ids
    /// of the refused rows.
    pub(crate) fn reject_and_reparse(
        &mut self,
        refused: Vec<RefusedRow>,
        parsed: &mut [Parsed],
    ) -> HashSet<Key> {
        let ids = refused.iter().map(|refused| refused.key.clone()).collect();
        for (index, refused) in self.by_chunk(refused) {
            let chunk = &mut self.chunks[index];
            chunk.refused.extend(refused);
            parsed[index] = chunk.parse(&self.dataset, self.redact_key.as_deref());
        }
        ids
    }

    /// Rejects rows that the database refused while the batch is committed: adds their lines to the rejected lines of
    /// each chunk.
    pub(crate) fn reject_without_reparse(
        &mut self,
        refused: Vec<RefusedRow>,
        rejected: &mut [Vec<RejectedLine>],
    ) {
        for (index, refused) in self.by_chunk(refused) {
            let chunk = &mut self.chunks[index];
            rejected[index].extend(parse::refused_lines(&chunk.chunk, &self.dataset, &refused));
            chunk.refused.extend(refused);
        }
    }

    /// The refused lines of each chunk, by the index of the chunk and their number.
    fn by_chunk(&self, refused: Vec<RefusedRow>) -> BTreeMap<usize, BTreeMap<u32, Rejection>> {
        let mut by_chunk: BTreeMap<usize, BTreeMap<u32, Rejection>> = BTreeMap::new();
        for RefusedRow { position, rejection, .. } in refused {
            let (object, line) = (position.object(), position.line());
            let chunks = self.queue_chunks().enumerate();
            let chunks = chunks.filter(|(_, one)| one.object == object && one.first_line <= line);
            if let Some((index, _)) = chunks.max_by_key(|(_, one)| one.first_line) {
                by_chunk.entry(index).or_default().insert(line, rejection);
            }
        }
        by_chunk
    }

    /// Removes chunks that are stale or dead.
    pub(crate) fn discard(&mut self, stale: &[ChunkRange]) {
        for chunk in self.chunks.extract_if(.., |chunk| stale.contains(&chunk.range)) {
            chunk.chunk.log_span().in_scope(|| {
                tracing::warn!(
                    "chunk discarded: it is dead, or its object failed or has another incarnation"
                );
            });
            self.ended.push((chunk.range, ChunkResult::Discarded));
        }
    }

    /// Removes chunks that were committed before.
    pub(crate) fn remove_repeated(&mut self, repeated: &[ChunkRange]) {
        for chunk in self.chunks.extract_if(.., |chunk| repeated.contains(&chunk.range)) {
            metrics::counter!(CHUNKS_REPEATED).increment(1);
            self.ended.push((chunk.range, ChunkResult::AlreadyCommitted));
        }
    }

    /// Removes all chunks, which were committed with these rejected lines, and counts their outcomes.
    pub(crate) fn complete(&mut self, outcomes: &[ChunkOutcome], rejected: &[Vec<RejectedLine>]) {
        for ((chunk, outcome), rejected) in self.chunks.drain(..).zip(outcomes).zip(rejected) {
            let outcome = match outcome {
                ChunkOutcome::Committed(counts) => {
                    count_chunk(&self.dataset.name, &chunk.range, rejected, counts);
                    ChunkResult::Committed(*counts)
                }
                ChunkOutcome::AlreadyCommitted => {
                    metrics::counter!(CHUNKS_REPEATED).increment(1);
                    ChunkResult::AlreadyCommitted
                }
            };
            self.ended.push((chunk.range, outcome));
        }
    }
}
