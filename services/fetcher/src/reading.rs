//! One object from its source into the queue: exactly what of it is not committed.

use std::{
    ops::ControlFlow,
    time::{Duration, SystemTime},
};

use bytes::{Buf, Bytes};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use jetline_queue::{Chunk, Destination};
use jetline_records::ObjectId;
use jetline_runtime::{
    Backoff,
    metrics::{READ_BYTES, RETRIES},
    telemetry::{Span, SpanKind},
};
use jetline_source::ByteStream;
use jetline_store::ledger::{Gap, Reading, Refusal};

use crate::{
    ahead::Leased,
    broken::{Broken, Error, with_causes},
    decode::{DecodeError, Format, decode, lines},
    publish::{Publication, Publisher},
    refusal,
    split::{Cut, Limits, Splitter},
    watermark::Watermark,
};

/// Decoded bytes.
type Content = BoxStream<'static, Result<Bytes, DecodeError>>;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// The reading of one object.
pub(crate) struct ObjectReading {
    leased: Leased,
    /// What is stored, where it was read ahead.
    ahead: Option<ByteStream>,
    destination: Destination,
    template: Chunk,
    /// When reading towards the next chunk began.
    began: SystemTime,
    /// How often the source failed since then.
    failures: u32,
    backoff: Backoff,
    seed: u64,
    window_log: u32,
}

/// How the reading of an object ended.
pub(crate) enum Outcome {
    /// It was read as far as it can be.
    Read(Reading),
    /// It could not be read, for a reason that is not the object's.
    Refused(Refusal),
}

/// Where chunks go, and the watermark they take along.
struct Way<'a> {
    publisher: &'a mut Publisher,
    watermark: &'a mut Watermark,
}

/// Where the next chunk starts.
#[derive(Clone, Copy)]
struct At {
    offset: u64,
    line: u32,
}

impl ObjectReading {
    pub(crate) fn new(
        leased: Leased,
        ahead: Option<ByteStream>,
        destination: Destination,
        seed: u64,
        window_log: u32,
    ) -> Self {
        let object = &leased.object;
        let owner = object.lease_owner.as_deref().unwrap_or_default();
        Self {
            template: Chunk {
                object: leased.id,
                registration: object.registration.clone(),
                dataset: object.dataset.clone(),
                start: 0,
                end: 0,
                first_line: 0,
                lines: 0,
                oversized: false,
                settled: ObjectId::default(),
                reading: format!("{owner}-{}", object.readings),
                trace: None,
                body: Bytes::new(),
            },
            leased,
            ahead,
            destination,
            began: SystemTime::now(),
            failures: 0,
            backoff: Backoff::new(FIRST_DELAY, LONGEST_DELAY, seed),
            seed,
            window_log,
        }
    }

    /// Reads and publishes what is missing. When it returns, the publisher may still wait for the queue to take it.
    pub(crate) async fn run(
        &mut self,
        gaps: &[Gap],
        publisher: &mut Publisher,
        watermark: &mut Watermark,
    ) -> Result<Outcome, Error> {
        let mut way = Way {
            publisher,
            watermark,
        };
        let object = &self.leased.object;
        let mut reading = Reading::Complete {
            bytes: object.total_bytes.unwrap_or_default().cast_unsigned(),
            lines: object.total_lines.unwrap_or_default().cast_unsigned(),
            error: None,
        };
        for gap in gaps {
            match self.close(*gap, &mut way).await? {
                ControlFlow::Continue(at) => {
                    if gap.end.is_none() {
                        reading = complete(at, None);
                    }
                }
                ControlFlow::Break(ended) => return Ok(ended),
            }
        }
        Ok(Outcome::Read(reading))
    }

    /// Publishes a gap, however often the source fails on the way; or says how the reading ends with it.
    async fn close(
        &mut self,
        gap: Gap,
        way: &mut Way<'_>,
    ) -> Result<ControlFlow<Outcome, At>, Error> {
        let mut at = At {
            offset: gap.start,
            line: gap.first_line,
        };
        self.began = SystemTime::now();
        loop {
            let broken = match self.read(gap, &mut at, way).await {
                Ok(()) => return Ok(ControlFlow::Continue(at)),
                Err(Broken::Off(error)) => return Err(error),
                Err(broken) => broken,
            };
            if broken.is_refusal() {
                return Ok(ControlFlow::Break(Outcome::Refused(self.refused(&broken))));
            }
            if !broken.is_passing() {
                let ended = self.ended(gap, at, &broken);
                return Ok(ControlFlow::Break(Outcome::Read(ended)));
            }
            let delay = self.backoff.next_delay();
            metrics::counter!(RETRIES, "part" => "source").increment(1);
            self.failures += 1;
            tracing::warn!(
                object = %self.template.object,
                object.key = self.leased.object.key,
                error = &broken as &dyn std::error::Error,
                ?delay,
                "reading goes on where it was broken off"
            );
            tokio::time::sleep(delay).await;
        }
    }

    /// The object stays open, and is tried again later.
    fn refused(&self, broken: &Broken) -> Refusal {
        let refusals = self.leased.object.refusals.cast_unsigned();
        let refusal = Refusal {
            object: self.leased.id,
            reason: with_causes(broken),
            delay: refusal::delay(refusals, self.seed),
        };
        metrics::counter!(RETRIES, "part" => "source").increment(1);
        tracing::warn!(
            object = %refusal.object,
            object.key = self.leased.object.key,
            error = refusal.reason,
            delay = ?refusal.delay,
            "the object cannot be read now and stays open"
        );
        refusal
    }

    /// How the reading ends with something that does not pass.
    ///
    /// Damage is at the same place whenever the object is read: what is before it can be completed. An object that is
    /// gone is complete only if nothing behind that place was ever published.
    fn ended(&self, gap: Gap, at: At, broken: &Broken) -> Reading {
        let error = with_causes(broken);
        tracing::error!(
            object = %self.template.object,
            object.key = self.leased.object.key,
            error,
            "the object cannot be read to its end"
        );
        if self.is_end(gap, broken) {
            complete(at, Some(error))
        } else {
            Reading::Unreadable { error }
        }
    }

    /// Whether the object ends for good where it broke.
    fn is_end(&self, gap: Gap, broken: &Broken) -> bool {
        if broken.is_refusal() || broken.is_passing() {
            return false;
        }
        let again_the_same = !matches!(broken, Broken::Content(DecodeError::Source(_)));
        let only_reading = self.leased.object.readings <= 1;
        gap.end.is_none() && (again_the_same || only_reading)
    }

    async fn read(&mut self, gap: Gap, at: &mut At, way: &mut Way<'_>) -> Result<(), Broken> {
        let limits = Limits {
            chunk_bytes: limit(self.leased.object.chunk_bytes.cast_unsigned()),
            // An object that was registered before there was this limit has none.
            chunk_lines: self
                .leased
                .object
                .chunk_lines
                .map_or(u32::MAX, |lines| u32::try_from(lines).unwrap_or(u32::MAX)),
            max_line_bytes: limit(self.leased.object.max_line_bytes.cast_unsigned()),
        };
        let mut splitter = Splitter::new(limits, at.offset, at.line);
        let mut content = self.content(gap, at.offset).await?;
        loop {
            let ended = match content.try_next().await {
                Ok(Some(block)) => {
                    splitter.push(block);
                    None
                }
                Ok(None) => {
                    splitter.finish();
                    Some(Ok(()))
                }
                Err(error) => {
                    let broken = error.into();
                    // Whoever reads on must cut at the same places: the lines before the break are a chunk only where
                    // nothing will ever follow them.
                    if !self.is_end(gap, &broken) {
                        return Err(broken);
                    }
                    splitter.break_off();
                    Some(Err(broken))
                }
            };
            while let Some(cut) = splitter.cut()? {
                self.publish(cut, at, way).await?;
            }
            match (ended, gap.end) {
                (Some(Ok(())), Some(end)) if at.offset < end => {
                    let at = at.offset;
                    return Err(Broken::Short { at, end });
                }
                (Some(ended), _) => return ended,
                (None, _) => {}
            }
        }
    }

    /// The content from an offset on, exactly as far as the gap goes.
    async fn content(&mut self, gap: Gap, from: u64) -> Result<Content, Broken> {
        let key = self.leased.version.key.clone();
        if from == 0 && gap.end.is_none() {
            let stored = match self.ahead.take() {
                Some(ahead) => counted(ahead),
                None => self.stored(0..self.leased.version.size),
            };
            return Ok(lines(decode(&key, stored, self.window_log).boxed()).boxed());
        }
        let head = 0..self.leased.version.size.min(Format::HEAD as u64);
        let head = self
            .stored(head)
            .try_fold(Vec::new(), |mut head, block| async move {
                head.extend_from_slice(&block);
                Ok(head)
            });
        let head = head.await.map_err(DecodeError::Source)?;
        if Format::detect(&key, &head)? == Format::Plain {
            let end = gap.end.unwrap_or(self.leased.version.size);
            let stored = self.stored(from..end);
            return Ok(stored.map_err(DecodeError::Source).boxed());
        }
        let stored = self.stored(0..self.leased.version.size);
        let content = decode(&key, stored, self.window_log).boxed();
        Ok(part(lines(content).boxed(), from, gap.end))
    }

    fn stored(&self, range: std::ops::Range<u64>) -> ByteStream {
        counted(self.leased.source.read(&self.leased.version, range))
    }

    async fn publish(&mut self, cut: Cut, at: &mut At, way: &mut Way<'_>) -> Result<(), Error> {
        self.template.settled = way.watermark.below(self.leased.id).await?;
        self.backoff.reset();
        *at = At {
            offset: cut.end,
            line: cut.first_line.wrapping_add(cut.lines),
        };
        let chunk = Chunk {
            start: cut.start,
            end: cut.end,
            first_line: cut.first_line,
            lines: cut.lines,
            oversized: cut.oversized,
            body: cut.body,
            ..self.template.clone()
        };
        let publication = self.publication(chunk);
        way.publisher.publish(publication).await?;
        self.began = SystemTime::now();
        Ok(())
    }

    /// Begins the chunk's trace, in which the reading that led to it has its part.
    fn publication(&mut self, mut chunk: Chunk) -> Publication {
        let span = self.destination.publishing(&chunk, self.began);
        chunk.trace = span.context();
        let read = Span::begin_at(SpanKind::Internal, "read", chunk.trace, self.began);
        read.set("jetline.object.key", self.leased.version.key.clone());
        read.set("jetline.object.etag", self.leased.version.etag.clone());
        let failures = std::mem::take(&mut self.failures);
        read.set("jetline.read.retries", i64::from(failures));
        read.end();
        Publication { chunk, span }
    }
}

fn counted(blocks: ByteStream) -> ByteStream {
    let counted = blocks.inspect_ok(|block| {
        metrics::counter!(READ_BYTES).increment(block.len() as u64);
    });
    counted.boxed()
}

/// The bytes of a content from one offset to another; what comes behind them is not decoded.
fn part(content: Content, from: u64, end: Option<u64>) -> Content {
    let left = end.map_or(u64::MAX, |end| end.saturating_sub(from));
    stream::try_unfold((content, from, left), async |(mut content, skip, left)| {
        if left == 0 {
            return Ok(None);
        }
        let Some(mut block) = content.try_next().await? else {
            return Ok(None);
        };
        let skipped = limit(skip).min(block.len());
        block.advance(skipped);
        block.truncate(limit(left));
        let left = left - block.len() as u64;
        Ok(Some((block, (content, skip - skipped as u64, left))))
    })
    .boxed()
}

fn complete(at: At, error: Option<String>) -> Reading {
    Reading::Complete {
        bytes: at.offset,
        // The line behind the last possible one has no number.
        lines: u64::from(at.line.wrapping_sub(1)),
        error,
    }
}

fn limit(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
