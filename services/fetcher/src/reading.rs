//! Reads one object from its source into the queue: exactly the ranges that are not committed.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use bytes::{Buf, Bytes};
use futures::{StreamExt, TryStreamExt, stream};
use jetline_core::ObjectId;
use jetline_datasets::DeclaredFormat;
use jetline_formats::{
    Compression, Detected, Format, HEAD_BYTES, detect,
    split::{Limits, RawChunk, SplitError, Splitter},
};
use jetline_queue::{Chunk, Queue, QueueDestination};
use jetline_runtime::{
    Backoff,
    metrics::{READ_BYTES, RETRIES},
    telemetry::{Span, SpanKind},
};
use jetline_source::ByteStream;
use jetline_source::IntakeStore;
use jetline_store::objects::{Gap, ReadOutcome, Refusal};

use crate::{
    content,
    decode::{Content, DecodeError, peek},
    error::{Error, ReadError, with_causes},
    prefetch::Leased,
    publish::{Publication, Publisher},
    retry,
    watermark::WatermarkCache,
};

/// One read attempt of an object.
pub(crate) struct ReadAttempt {
    leased: Leased,
    /// The stored bytes, if they were prefetched.
    prefetched: Option<ByteStream>,
    destination: QueueDestination,
    template: Chunk,
    /// Whether it is compressed, if that was needed and is known.
    is_compressed: Option<bool>,
    /// When reading of the next chunk's bytes began.
    began: SystemTime,
    /// How often reading failed since then.
    failures: u32,
    backoff: Backoff,
    seed: u64,
    window_log: u32,
    declared: DeclaredFormat,
    max_body_bytes: usize,
    progress: Arc<ReadProgress>,
    /// Whether the object was overwritten or deleted meanwhile.
    pub(crate) is_changed: bool,
}

/// How far an object is read.
#[derive(Default)]
pub(crate) struct ReadProgress {
    bytes: AtomicU64,
    stored_bytes: AtomicU64,
}

impl ReadProgress {
    /// Bytes, decompressed and as stored.
    pub(crate) fn get(&self) -> (u64, u64) {
        (self.bytes.load(Ordering::Relaxed), self.stored_bytes.load(Ordering::Relaxed))
    }
}

/// How reading an object ended.
pub(crate) enum ReadResult {
    /// It was read as far as possible.
    Read(ReadOutcome),
    /// It could not be read, for a reason outside the object.
    Refused(Refusal),
}

/// Where chunks are published, and the watermark they carry.
struct Output<'a> {
    publisher: &'a mut Publisher,
    watermark: &'a mut WatermarkCache,
}

/// The start of the next chunk.
#[derive(Clone, Copy)]
struct Cursor {
    offset: u64,
    line: u64,
}

impl Cursor {
    const BEGINNING: Self = Self { offset: 0, line: 1 };

    fn after(chunk: &RawChunk) -> Self {
        Self { offset: chunk.end, line: u64::from(chunk.first_line) + u64::from(chunk.lines) }
    }
}

impl ReadAttempt {
    pub(crate) fn new(
        leased: Leased,
        prefetched: Option<ByteStream>,
        queue: &dyn Queue,
        seed: u64,
        window_log: u32,
        declared: DeclaredFormat,
        progress: Arc<ReadProgress>,
    ) -> Self {
        let object = &leased.object;
        Self {
            template: Chunk {
                object: object.id,
                incarnation: object.incarnation.clone(),
                dataset: object.dataset.clone(),
                declaration: object.declaration,
                format: Format::JsonLines,
                header: Bytes::new(),
                // What was valid when it was posted is valid.
                modified_at: Some(object.version.last_modified).filter(|_| !object.is_posted),
                is_redacted: object.is_posted
                    && object.version.key.ends_with(IntakeStore::REDACTED),
                start: 0,
                end: 0,
                first_line: 0,
                lines: 0,
                oversized: false,
                settled: ObjectId::default(),
                read_attempt: format!("{}-{}", object.owner, object.attempts),
                trace: None,
                body: Bytes::new(),
            },
            leased,
            prefetched,
            destination: queue.destination(),
            is_compressed: None,
            began: SystemTime::now(),
            failures: 0,
            backoff: Backoff::for_calls(seed),
            seed,
            window_log,
            declared,
            max_body_bytes: queue.max_body_bytes(),
            progress,
            is_changed: false,
        }
    }

    /// Reads and publishes the gaps. When it returns, chunks may not be acknowledged yet.
    pub(crate) async fn run(
        &mut self,
        gaps: &[Gap],
        publisher: &mut Publisher,
        watermark: &mut WatermarkCache,
    ) -> Result<ReadResult, Error> {
        let mut output = Output { publisher, watermark };
        let object = &self.leased.object;
        let mut reading = ReadOutcome::EndReached {
            bytes: object.total_bytes.unwrap_or_default(),
            lines: object.total_lines.unwrap_or_default(),
            error: None,
        };
        for gap in gaps {
            match self.publish_gap(*gap, &mut output).await? {
                ControlFlow::Continue(at) => {
                    if gap.end.is_none() {
                        reading = complete(at, None);
                    }
                }
                ControlFlow::Break(end) => return Ok(end),
            }
        }
        Ok(ReadResult::Read(reading))
    }

    /// Publishes a gap, with retries while the source fails; or returns how the read ends.
    async fn publish_gap(
        &mut self,
        gap: Gap,
        output: &mut Output<'_>,
    ) -> Result<ControlFlow<ReadResult, Cursor>, Error> {
        let mut at = Cursor { offset: gap.start, line: gap.first_line };
        self.began = SystemTime::now();
        loop {
            let error = match self.read_from(gap, &mut at, output).await {
                Ok(()) => return Ok(ControlFlow::Continue(at)),
                Err(ReadError::Interrupted(error)) => return Err(error),
                Err(error) => error,
            };
            if error.is_refusal() {
                return Ok(ControlFlow::Break(ReadResult::Refused(self.refused(&error))));
            }
            if !error.is_transient() {
                let outcome = self.permanent_outcome(gap, at, &error);
                return Ok(ControlFlow::Break(ReadResult::Read(outcome)));
            }
            let delay = self.backoff.next_delay();
            metrics::counter!(RETRIES, "part" => "source").increment(1);
            self.failures += 1;
            tracing::warn!(
                object = self.template.object.get(),
                key = self.leased.object.version.key,
                error = jetline_runtime::causes(&error),
                delay_ms = jetline_runtime::millis(delay),
                "read object failed, resuming"
            );
            tokio::time::sleep(delay).await;
        }
    }

    /// The object stays open and is retried later.
    fn refused(&self, error: &ReadError) -> Refusal {
        let refusals = self.leased.object.refusals;
        let refusal = Refusal {
            object: self.leased.object.id,
            reason: with_causes(error),
            delay: retry::delay(refusals, self.seed),
        };
        metrics::counter!(RETRIES, "part" => "source").increment(1);
        tracing::warn!(
            object = refusal.object.get(),
            key = self.leased.object.version.key,
            error = refusal.reason,
            delay_ms = jetline_runtime::millis(refusal.delay),
            "read object refused, object stays open"
        );
        refusal
    }

    /// How the read ends with a permanent error.
    ///
    /// Corrupt data is at the same offset in every read: the part before it can be completed. An object that no longer
    /// exists is complete only if nothing after the offset was ever published.
    fn permanent_outcome(&mut self, gap: Gap, at: Cursor, error: &ReadError) -> ReadOutcome {
        self.is_changed = error.is_change();
        let message = with_causes(error);
        tracing::error!(
            object = self.template.object.get(),
            key = self.leased.object.version.key,
            error = message,
            "read object failed"
        );
        if self.ends_object(gap, error) {
            complete(at, Some(message))
        } else {
            ReadOutcome::Unreadable { error: message }
        }
    }

    /// Whether the object ends at this error: every read would end here, or nothing after it was ever published.
    fn ends_object(&self, gap: Gap, error: &ReadError) -> bool {
        if error.is_refusal() || error.is_transient() {
            return false;
        }
        let is_reproducible = !matches!(error, ReadError::Content(DecodeError::Source(_)));
        let is_first_read = self.leased.object.attempts <= 1;
        gap.end.is_none() && (is_reproducible || is_first_read)
    }

    /// Publishes a gap from `at` on, which it advances.
    async fn read_from(
        &mut self,
        gap: Gap,
        at: &mut Cursor,
        output: &mut Output<'_>,
    ) -> Result<(), ReadError> {
        let (begin, mut content) = self.content(gap, *at).await?;
        let format = self.template.format;
        let mut splitter = Splitter::new(format, self.limits(), begin.offset, begin.line);
        loop {
            let ended = match content.try_next().await {
                Ok(Some(block)) => {
                    splitter.push(block);
                    None
                }
                Ok(None) if gap.end.is_some() => {
                    splitter.finish_part();
                    Some(Ok(()))
                }
                Ok(None) => {
                    splitter.finish();
                    Some(Ok(()))
                }
                Err(error) => {
                    let error = error.into();
                    // The next read must split at the same offsets: the lines before the error are a chunk only if
                    // nothing will ever follow them.
                    if !self.ends_object(gap, &error) {
                        return Err(error);
                    }
                    splitter.truncate();
                    Some(Err(error))
                }
            };
            if let Err(error) = self.publish_chunks(&mut splitter, at, output).await {
                if matches!(error, ReadError::Split(SplitError::Damaged(_)))
                    && self.ends_object(gap, &error)
                {
                    splitter.truncate();
                    self.publish_chunks(&mut splitter, at, output).await?;
                }
                return Err(error);
            }
            match (ended, gap.end) {
                (Some(Ok(())), Some(end)) if at.offset < end => {
                    let at = at.offset;
                    return Err(ReadError::Short { at, end });
                }
                (Some(ended), _) => return ended,
                (None, _) => {}
            }
        }
    }

    fn limits(&self) -> Limits {
        let object = &self.leased.object;
        Limits {
            chunk_bytes: saturating_usize(object.chunk_bytes),
            // Objects registered before Jetline had this limit have none.
            chunk_lines: object
                .chunk_lines
                .map_or(u32::MAX, |lines| u32::try_from(lines).unwrap_or(u32::MAX)),
            max_line_bytes: saturating_usize(object.max_line_bytes),
        }
    }

    /// Publishes the chunks behind `at` that the splitter has, and advances it.
    async fn publish_chunks(
        &mut self,
        splitter: &mut Splitter,
        at: &mut Cursor,
        output: &mut Output<'_>,
    ) -> Result<(), ReadError> {
        while let Some(chunk) = splitter.next_chunk()? {
            if chunk.end > at.offset {
                // The limits are those of the object's registration, without the header of CSV, and the queue may have had
                // another one.
                let (bytes, max) =
                    (self.template.header.len() + chunk.body.len(), self.max_body_bytes);
                if bytes > max {
                    return Err(ReadError::TooLongForQueue { bytes, max });
                }
                self.publish(chunk, at, output).await?;
            }
        }
        Ok(())
    }

    /// The content to the end of the gap, from `at` or an earlier chunk's start on, and where it begins.
    async fn content(&mut self, gap: Gap, at: Cursor) -> Result<(Cursor, Content), ReadError> {
        let size = self.leased.object.version.size;
        if at.offset == 0 && gap.end.is_none() {
            let stored = match self.prefetched.take() {
                Some(prefetched) => self.counted(prefetched, 0),
                None => self.stored_range(0..size),
            };
            return Ok((at, self.open(stored).await?));
        }
        if !self.detect_compression().await? {
            let begin = self.beginning(gap, at);
            let stored = self.stored_range(begin.offset..gap.end.unwrap_or(size));
            return Ok((begin, stored.map_err(DecodeError::Source).boxed()));
        }
        let content = self.open(self.stored_range(0..size)).await?;
        let begin = self.beginning(gap, at);
        Ok((begin, bytes_between(content, begin.offset, gap.end)))
    }

    /// Whether stored and decoded offsets differ. If they do not, the format is detected too.
    async fn detect_compression(&mut self) -> Result<bool, ReadError> {
        if let Some(known) = self.is_compressed {
            return Ok(known);
        }
        let version = &self.leased.object.version;
        let head = self.stored_range(0..version.size.min(HEAD_BYTES as u64));
        let (head, failure, _) = peek(head, HEAD_BYTES).await;
        failure.map_or(Ok(()), |error| Err(DecodeError::Source(error)))?;
        let compression = Compression::detect(&version.key, &head).map_err(DecodeError::from)?;
        let is_compressed = compression.is_some();
        if !is_compressed {
            self.set_format(detect(&version.key, &head, self.declared)?);
        }
        self.is_compressed = Some(is_compressed);
        Ok(is_compressed)
    }

    /// Where reading begins: who did not read the beginning of an array cannot tell where it ends.
    fn beginning(&self, gap: Gap, at: Cursor) -> Cursor {
        let is_to_the_end = gap.end.is_none();
        if is_to_the_end && self.template.format == Format::JsonArray {
            Cursor::BEGINNING
        } else {
            at
        }
    }

    /// The decompressed content, whose format is detected.
    async fn open(&mut self, stored: ByteStream) -> Result<Content, ReadError> {
        let key = &self.leased.object.version.key;
        let (detected, content) =
            content::open(key, stored, self.window_log, self.declared).await?;
        self.set_format(detected);
        Ok(content)
    }

    /// Sets what every chunk carries.
    fn set_format(&mut self, Detected { format, header }: Detected) {
        (self.template.format, self.template.header) = (format, header);
    }

    fn stored_range(&self, range: std::ops::Range<u64>) -> ByteStream {
        let start = range.start;
        self.counted(self.leased.source.read(&self.leased.object.version, range), start)
    }

    /// Counts the stored bytes that are read, from `start` on.
    fn counted(&self, blocks: ByteStream, start: u64) -> ByteStream {
        let progress = self.progress.clone();
        progress.stored_bytes.store(start, Ordering::Relaxed);
        let counted = blocks.inspect_ok(move |block| {
            let bytes = block.len() as u64;
            metrics::counter!(READ_BYTES).increment(bytes);
            progress.stored_bytes.fetch_add(bytes, Ordering::Relaxed);
        });
        counted.boxed()
    }

    async fn publish(
        &mut self,
        raw: RawChunk,
        at: &mut Cursor,
        output: &mut Output<'_>,
    ) -> Result<(), Error> {
        self.template.settled = output.watermark.at_most(self.leased.object.id).await?;
        self.backoff.reset();
        *at = Cursor::after(&raw);
        self.progress.bytes.store(raw.end, Ordering::Relaxed);
        let chunk = Chunk {
            start: raw.start,
            end: raw.end,
            first_line: raw.first_line,
            lines: raw.lines,
            oversized: raw.oversized,
            body: raw.body,
            ..self.template.clone()
        };
        let publication = self.publication(chunk);
        output.publisher.publish(publication).await?;
        self.began = SystemTime::now();
        Ok(())
    }

    /// Begins the chunk's trace, with a span for the read.
    fn publication(&mut self, mut chunk: Chunk) -> Publication {
        let span = self.destination.publishing(&chunk, self.began);
        chunk.trace = span.context();
        let read = Span::begin_at(SpanKind::Internal, "read", chunk.trace, self.began);
        read.set("jetline.object.key", self.leased.object.version.key.clone());
        read.set("jetline.object.etag", self.leased.object.version.etag.clone());
        let failures = std::mem::take(&mut self.failures);
        read.set("jetline.read.retries", i64::from(failures));
        read.end();
        Publication { chunk, span }
    }
}

/// The content from one offset to another; what follows is not decoded.
fn bytes_between(content: Content, from: u64, end: Option<u64>) -> Content {
    let left = end.map_or(u64::MAX, |end| end.saturating_sub(from));
    stream::try_unfold((content, from, left), async |(mut content, skip, left)| {
        if left == 0 {
            return Ok(None);
        }
        let Some(mut block) = content.try_next().await? else {
            return Ok(None);
        };
        let skipped = saturating_usize(skip).min(block.len());
        block.advance(skipped);
        block.truncate(saturating_usize(left));
        let left = left - block.len() as u64;
        Ok(Some((block, (content, skip - skipped as u64, left))))
    })
    .boxed()
}

fn complete(at: Cursor, error: Option<String>) -> ReadOutcome {
    ReadOutcome::EndReached { bytes: at.offset, lines: at.line - 1, error }
}

fn saturating_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use jetline_formats::split::TooManyLines;

    use super::*;

    #[test]
    fn read_that_resumes_after_the_last_line_number_does_not_begin_again() {
        let limits = Limits { chunk_bytes: 10, chunk_lines: 1, max_line_bytes: 10 };
        let mut splitter = Splitter::new(Format::JsonLines, limits, 7, u32::MAX.into());
        splitter.push("1\n".into());
        let at = Cursor::after(&splitter.next_chunk().unwrap().unwrap());
        let mut resumed = Splitter::new(Format::JsonLines, limits, at.offset, at.line);
        resumed.push("2\n".into());
        assert_eq!(resumed.next_chunk(), Err(SplitError::TooManyLines(TooManyLines)));
    }
}
