//! The chunks that one transaction commits.

use std::collections::{BTreeMap, HashMap, HashSet, hash_map::Entry};

use jetline_core::{ChunkRange, Counts};
use jetline_core::{Key, Mode, ObjectId};
use jetline_queue::Chunk;
use jetline_records::{Dataset, Rejection};
use jetline_runtime::{
    metrics::{CHUNKS_COMMITTED, CHUNKS_REPEATED, COMMITTED_BYTES, LINES, REJECTS},
    telemetry::{Span, SpanKind},
};
use jetline_store::{ChunkOutcome, RefusedRow, RejectedLine, UpsertRow};

use crate::parse::{self, Parsed};

/// Chunks of one dataset that are to be committed in one transaction.
pub struct Batch<'a> {
    pub(crate) dataset: &'a Dataset,
    pub(crate) chunks: Vec<BatchChunk>,
    /// Whether a commit failed that may have a row that the database refuses.
    pub(crate) was_refused: bool,
    ended: Vec<(ChunkRange, Outcome)>,
}

pub(crate) struct BatchChunk {
    pub(crate) chunk: Chunk,
    pub(crate) parsed: Parsed,
    pub(crate) refused: BTreeMap<u32, Rejection>,
}

impl BatchChunk {
    /// Parses the chunk again if a claim took its records and they were not committed.
    fn reparse_if_consumed(&mut self, dataset: &Dataset) {
        if self.parsed.is_consumed {
            self.parsed = parse::parse(&self.chunk, dataset, &self.refused);
        }
    }

    /// The rows that the chunk could write in a dedup mode, for all ids or for some.
    pub(crate) fn rows(
        &self,
        mode: Mode,
        of: impl Fn(&Key) -> bool,
    ) -> impl Iterator<Item = UpsertRow> {
        let records = self.parsed.records.iter();
        let records = records.filter(move |record| of(&record.row.key));
        records.map(move |record| UpsertRow {
            row: record.row.clone(),
            position: record.position,
            if_changed: mode == Mode::InOrder,
        })
    }
}

impl<'a> Batch<'a> {
    pub(crate) fn new(dataset: &'a Dataset) -> Self {
        Self { dataset, chunks: Vec::new(), was_refused: false, ended: Vec::new() }
    }

    /// Adds a chunk, unless the batch has it: delivered twice, it is committed once.
    pub(crate) fn add(&mut self, chunk: Chunk) {
        let entry = parse::entry(&chunk);
        if self.chunks.iter().any(|chunk| chunk.parsed.entry == entry) {
            return;
        }
        let refused = BTreeMap::new();
        let span = Span::begin(SpanKind::Internal, "parse", chunk.trace);
        let parsed = parse::parse(&chunk, self.dataset, &refused);
        span.end();
        self.chunks.push(BatchChunk { chunk, parsed, refused });
    }

    /// One batch per chunk.
    #[must_use]
    pub fn split(self) -> Vec<Self> {
        let alone = self
            .chunks
            .into_iter()
            .map(|chunk| Self { chunks: vec![chunk], ..Self::new(self.dataset) });
        alone.collect()
    }

    /// Parses lines again that the database refused.
    pub(crate) fn restore_refused(&mut self) {
        for chunk in &mut self.chunks {
            if !chunk.refused.is_empty() {
                chunk.refused.clear();
                chunk.parsed = parse::parse(&chunk.chunk, self.dataset, &chunk.refused);
            }
        }
    }

    /// Makes sure that all chunks have their records.
    pub(crate) fn reparse_consumed(&mut self) {
        for chunk in &mut self.chunks {
            chunk.reparse_if_consumed(self.dataset);
        }
    }

    /// The row with the highest rank of each id over all chunks; of all ids, or of some.
    pub(crate) fn latest(&self, mode: Mode, of: impl Fn(&Key) -> bool) -> Vec<UpsertRow> {
        let mut latest: HashMap<Key, UpsertRow> = HashMap::new();
        for new in self.chunks.iter().flat_map(|chunk| chunk.rows(mode, &of)) {
            let rank = |upsert: &UpsertRow| (upsert.row.version, upsert.position);
            match latest.entry(new.row.key.clone()) {
                Entry::Vacant(first) => drop(first.insert(new)),
                Entry::Occupied(mut other) if rank(&new) > rank(other.get()) => {
                    other.insert(new);
                }
                Entry::Occupied(_) => {}
            }
        }
        latest.into_values().collect()
    }

    /// Rejects rows that the database refused; the lines that they had superseded replace them. Returns their ids.
    pub(crate) fn reject(&mut self, refused: Vec<RefusedRow>) -> HashSet<Key> {
        let ids = refused.iter().map(|refused| refused.key.clone()).collect();
        for (index, refused) in self.by_chunk(refused) {
            let chunk = &mut self.chunks[index];
            chunk.refused.extend(refused);
            chunk.parsed = parse::parse(&chunk.chunk, self.dataset, &chunk.refused);
        }
        ids
    }

    /// Rejects rows that the database refused while the batch is committed. Returns the rejected lines of each chunk.
    pub(crate) fn reject_in_commit(&mut self, refused: Vec<RefusedRow>) -> Vec<Vec<RejectedLine>> {
        for (index, refused) in self.by_chunk(refused) {
            let chunk = &mut self.chunks[index];
            chunk.parsed.rejected.extend(parse::refused_lines(&chunk.chunk, &refused));
            chunk.refused.extend(refused);
        }
        self.chunks.iter().map(|chunk| chunk.parsed.rejected.clone()).collect()
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

    pub(crate) fn queue_chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.chunks.iter().map(|chunk| &chunk.chunk)
    }

    /// The settled watermark at the time when the first of the chunks was published.
    pub(crate) fn settled(&self) -> ObjectId {
        let settled = self.queue_chunks().map(|chunk| chunk.settled);
        settled.min().unwrap_or_default()
    }

    /// Removes chunks whose object is not open.
    pub(crate) fn discard(&mut self, stale: &[ChunkRange]) {
        let discarded = self.chunks.extract_if(.., |chunk| stale.contains(&chunk.parsed.entry));
        for chunk in discarded {
            chunk.chunk.log_span().in_scope(|| {
                tracing::warn!("chunk discarded: its object is not open");
            });
            self.ended.push((chunk.parsed.entry, Outcome::Discarded));
        }
    }

    /// Removes chunks that were committed before.
    pub(crate) fn remove_repeated(&mut self, repeated: &[ChunkRange]) {
        let removed = self.chunks.extract_if(.., |chunk| repeated.contains(&chunk.parsed.entry));
        for chunk in removed {
            metrics::counter!(CHUNKS_REPEATED).increment(1);
            self.ended.push((chunk.parsed.entry, Outcome::Repeated));
        }
    }

    /// Removes all chunks, which were committed, and counts their outcomes.
    pub(crate) fn complete(&mut self, outcomes: &[ChunkOutcome]) {
        for (chunk, outcome) in self.chunks.drain(..).zip(outcomes) {
            let outcome = match outcome {
                ChunkOutcome::Committed(counts) => {
                    count(self.dataset.name, &chunk.parsed, counts);
                    Outcome::Committed(*counts)
                }
                ChunkOutcome::AlreadyCommitted => {
                    metrics::counter!(CHUNKS_REPEATED).increment(1);
                    Outcome::Repeated
                }
            };
            self.ended.push((chunk.parsed.entry, outcome));
        }
    }

    /// The chunks that were removed from the batch since the last call, and their outcomes.
    pub(crate) fn take_ended(&mut self) -> Vec<(ChunkRange, Outcome)> {
        std::mem::take(&mut self.ended)
    }
}

/// The outcome of a chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Committed(Counts),
    /// It was committed before.
    Repeated,
    /// Its object is not open.
    Discarded,
    /// It is suspected of having crashed its writers too often.
    Dead,
}

impl Outcome {
    /// Sets the attributes of a span.
    pub(crate) fn record(&self, span: &Span) {
        let name = match self {
            Self::Committed(_) => "committed",
            Self::Repeated => "repeated",
            Self::Discarded => "discard",
            Self::Dead => "dead",
        };
        span.set("jetline.outcome", name);
        let Self::Committed(counts) = self else {
            return;
        };
        for (name, lines) in [
            ("jetline.lines.inserted", counts.inserted),
            ("jetline.lines.updated", counts.updated),
            ("jetline.lines.unchanged", counts.unchanged),
            ("jetline.lines.superseded", counts.superseded),
            ("jetline.lines.rejected", counts.rejected),
        ] {
            span.set(name, lines.cast_signed());
        }
    }
}

fn count(dataset: &'static str, chunk: &Parsed, counts: &Counts) {
    metrics::counter!(CHUNKS_COMMITTED).increment(1);
    metrics::counter!(COMMITTED_BYTES).increment(chunk.entry.end - chunk.entry.start);
    count_lines(dataset, counts);
    for line in &chunk.rejected {
        let reason = line.rejection.reason.code();
        metrics::counter!(REJECTS, "dataset" => dataset, "reason" => reason).increment(1);
    }
}

/// Adds the outcomes of a dataset's lines to the counters; zeros create them.
pub(crate) fn count_lines(dataset: &'static str, counts: &Counts) {
    for (outcome, lines) in [
        ("inserted", counts.inserted),
        ("updated", counts.updated),
        ("unchanged", counts.unchanged),
        ("superseded", counts.superseded),
        ("rejected", counts.rejected),
    ] {
        metrics::counter!(LINES, "dataset" => dataset, "outcome" => outcome).increment(lines);
    }
}
