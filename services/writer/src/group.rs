//! Chunks that are committed together.

use std::collections::{BTreeMap, HashMap, HashSet, hash_map::Entry};

use jetline_queue::Chunk;
use jetline_records::{Dataset, Key, Mode, ObjectId, Position, Rejection};
use jetline_runtime::{
    metrics::{CHUNKS_COMMITTED, CHUNKS_REPEATED, COMMITTED_BYTES, LINES, REJECTS},
    telemetry::{Span, SpanKind},
};
use jetline_store::{ChunkEntry, ChunkOutcome, Counts, Judged, Refused};

use crate::parse::{self, Parsed};

/// The chunks of one dataset on their way to one commit.
pub struct Group<'a> {
    pub(crate) dataset: &'a Dataset,
    pub(crate) items: Vec<Item>,
    ended: Vec<(ChunkEntry, Outcome)>,
}

pub(crate) struct Item {
    pub(crate) chunk: Chunk,
    pub(crate) parsed: Parsed,
    pub(crate) refused: BTreeMap<u32, Rejection>,
}

impl Item {
    /// Parses the chunk again without lines that the database refused.
    fn leave_out(&mut self, refused: BTreeMap<u32, Rejection>, dataset: &Dataset) {
        if !refused.is_empty() {
            self.refused.extend(refused);
            self.parsed = parse::parse(&self.chunk, dataset, &self.refused);
        }
    }

    /// Parses the chunk again if a claim took its records, which were not committed then.
    fn restore(&mut self, dataset: &Dataset) {
        if self.parsed.is_spent {
            self.parsed = parse::parse(&self.chunk, dataset, &self.refused);
        }
    }

    /// Everything that the chunk could write, of all ids or of some, as an epoch of this mode has it written.
    pub(crate) fn rows(
        &self,
        mode: Mode,
        of: impl Fn(&Key) -> bool,
    ) -> impl Iterator<Item = Judged> {
        let records = self.parsed.records.iter();
        let records = records.filter(move |record| of(&record.row.key));
        records.map(move |record| Judged {
            row: record.row.clone(),
            position: record.position,
            if_changed: mode == Mode::InOrder,
        })
    }
}

impl<'a> Group<'a> {
    pub(crate) fn new(dataset: &'a Dataset) -> Self {
        Self {
            dataset,
            items: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// Adds a chunk, unless it is there: delivered twice, it is committed once.
    pub(crate) fn add(&mut self, chunk: Chunk) {
        let entry = parse::entry(&chunk);
        if self.items.iter().any(|item| item.parsed.entry == entry) {
            return;
        }
        let refused = BTreeMap::new();
        let step = Span::begin(SpanKind::Internal, "parse", chunk.trace);
        let parsed = parse::parse(&chunk, self.dataset, &refused);
        step.end();
        self.items.push(Item {
            chunk,
            parsed,
            refused,
        });
    }

    /// One group per chunk.
    #[must_use]
    pub fn split(self) -> Vec<Self> {
        let alone = self.items.into_iter().map(|item| Self {
            items: vec![item],
            ..Self::new(self.dataset)
        });
        alone.collect()
    }

    /// Takes lines again that the database refused.
    pub(crate) fn take_refused_again(&mut self) {
        for item in &mut self.items {
            if !item.refused.is_empty() {
                item.refused.clear();
                item.parsed = parse::parse(&item.chunk, self.dataset, &item.refused);
            }
        }
    }

    /// Sees to it that all records are there.
    pub(crate) fn restore(&mut self) {
        for item in &mut self.items {
            item.restore(self.dataset);
        }
    }

    /// The latest line of each id over all chunks, as it would be written: of all ids, or of some.
    pub(crate) fn latest(&self, mode: Mode, of: impl Fn(&Key) -> bool) -> Vec<Judged> {
        let mut latest: HashMap<Key, Judged> = HashMap::new();
        for judged in self.items.iter().flat_map(|item| item.rows(mode, &of)) {
            let rank = |judged: &Judged| (judged.row.version, judged.position);
            match latest.entry(judged.row.key.clone()) {
                Entry::Vacant(first) => drop(first.insert(judged)),
                Entry::Occupied(mut other) if rank(&judged) > rank(other.get()) => {
                    other.insert(judged);
                }
                Entry::Occupied(_) => {}
            }
        }
        latest.into_values().collect()
    }

    /// Leaves out lines that the database refused; the lines that these outdid stand in for them. Returns the ids.
    pub(crate) fn leave_out(&mut self, refused: Vec<Refused>) -> HashSet<Key> {
        let mut by_chunk: HashMap<usize, BTreeMap<u32, Rejection>> = HashMap::new();
        let mut refused: HashMap<Position, Rejection> = refused
            .into_iter()
            .map(|refused| (refused.position, refused.rejection))
            .collect();
        let mut keys = HashSet::new();
        for (number, item) in self.items.iter().enumerate() {
            for record in &item.parsed.records {
                if let Some(rejection) = refused.remove(&record.position) {
                    keys.insert(record.row.key.clone());
                    let of_chunk = by_chunk.entry(number).or_default();
                    of_chunk.insert(record.position.line(), rejection);
                }
            }
        }
        for (number, refused) in by_chunk {
            self.items[number].leave_out(refused, self.dataset);
        }
        keys
    }

    pub(crate) fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.items.iter().map(|item| &item.chunk)
    }

    /// What was settled when the first of the chunks was published.
    pub(crate) fn settled(&self) -> ObjectId {
        let settled = self.chunks().map(|chunk| chunk.settled);
        settled.min().unwrap_or_default()
    }

    pub(crate) fn let_go(&mut self, stale: &[ChunkEntry]) {
        let gone = self
            .items
            .extract_if(.., |item| stale.contains(&item.parsed.entry));
        for item in gone {
            item.chunk.log_span().in_scope(|| {
                tracing::warn!("the chunk belongs to no open object, it is let go");
            });
            self.ended.push((item.parsed.entry, Outcome::LetGo));
        }
    }

    /// Takes out chunks that were committed before.
    pub(crate) fn drop_repeated(&mut self, repeated: &[ChunkEntry]) {
        let gone = self
            .items
            .extract_if(.., |item| repeated.contains(&item.parsed.entry));
        for item in gone {
            metrics::counter!(CHUNKS_REPEATED).increment(1);
            self.ended.push((item.parsed.entry, Outcome::Repeated));
        }
    }

    pub(crate) fn count(&mut self, outcomes: &[ChunkOutcome]) {
        for (item, outcome) in self.items.drain(..).zip(outcomes) {
            let outcome = match outcome {
                ChunkOutcome::Committed(counts) => {
                    count(self.dataset.name, &item.parsed, counts);
                    Outcome::Committed(*counts)
                }
                ChunkOutcome::AlreadyCommitted => {
                    metrics::counter!(CHUNKS_REPEATED).increment(1);
                    Outcome::Repeated
                }
            };
            self.ended.push((item.parsed.entry, outcome));
        }
    }

    /// What became of the chunks that are no longer on their way, since the last call.
    pub(crate) fn take_ended(&mut self) -> Vec<(ChunkEntry, Outcome)> {
        std::mem::take(&mut self.ended)
    }
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Committed(Counts),
    /// It was committed before.
    Repeated,
    /// Its object is not open.
    LetGo,
    /// It crashed its writers too often.
    Dead,
}

impl Outcome {
    /// Tells it in a trace.
    pub(crate) fn describe(&self, span: &Span) {
        let name = match self {
            Self::Committed(_) => "committed",
            Self::Repeated => "repeated",
            Self::LetGo => "let_go",
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

/// Adds to what became of a dataset's lines; zeros make the counters appear.
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
