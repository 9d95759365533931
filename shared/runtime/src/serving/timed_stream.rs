//! A stream with timeouts for a client that sends request headers slowly, or does not read a response.
//!
//! The HTTP library limits the time from the end of a response to the end of the next headers, which includes idle time.
//! A client that has begun to send headers is not idle, and gets a much shorter timeout here.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::ConnectionLimits;

/// Counts the phases of a connection: odd while a request is being answered, even while one is received.
#[derive(Clone, Default)]
pub(super) struct RequestPhase(Arc<AtomicU64>);

/// A request that is being answered, until this is dropped.
pub(super) struct RequestGuard(RequestPhase);

impl RequestPhase {
    pub(super) fn begin(&self) -> RequestGuard {
        self.0.fetch_add(1, Ordering::Relaxed);
        RequestGuard(self.clone())
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) struct TimedStream<S> {
    stream: S,
    phase: RequestPhase,
    /// The phase of the `head` timeout.
    head_phase: u64,
    head: Deadline,
    stall: Deadline,
}

impl<S> TimedStream<S> {
    /// Starts the timeout of the first headers.
    pub(super) fn new(stream: S, phase: RequestPhase, limits: &ConnectionLimits) -> Self {
        let mut head = Deadline::new(limits.header_time);
        head.start();
        Self {
            stream,
            head_phase: phase.now(),
            phase,
            head,
            stall: Deadline::new(limits.stall_time),
        }
    }

    /// Passes on the result of a write; an error if the client has read nothing for too long.
    fn stalled<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall.stop();
            return written;
        }
        self.stall.start();
        ready!(self.stall.poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let phase = self.phase.now();
        if phase != self.head_phase {
            // The headers are complete.
            self.head_phase = phase;
            self.head.stop();
        }
        if phase % 2 == 1 {
            return read;
        }
        if buffer.filled().len() > before {
            self.head.start();
        }
        if read.is_pending() {
            ready!(self.head.poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.stalled(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.stalled(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A timeout that can be started and stopped.
struct Deadline {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Deadline {
    fn new(limit: Duration) -> Self {
        Self { limit, sleep: None, running: false }
    }

    /// Starts the timeout, unless it is running.
    fn start(&mut self) {
        if self.running {
            return;
        }
        self.running = true;
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(Instant::now() + self.limit),
            None => self.sleep = Some(Box::pin(sleep(self.limit))),
        }
    }

    fn stop(&mut self) {
        self.running = false;
    }

    /// Ready when the timeout has elapsed.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.sleep {
            Some(sleep) if self.running => sleep.as_mut().poll(context),
            _ => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const HEAD: Duration = Duration::from_secs(10);

    fn timed(phase: &RequestPhase) -> (TimedStream<DuplexStream>, DuplexStream) {
        let limits = ConnectionLimits {
            connections: 1,
            header_bytes: 100,
            header_time: HEAD,
            idle_time: HEAD * 6,
            stall_time: HEAD,
        };
        let (ours, theirs) = duplex(4);
        (TimedStream::new(ours, phase.clone(), &limits), theirs)
    }

    async fn is_cut(stream: &mut TimedStream<DuplexStream>) -> bool {
        let error = stream.read_u8().await.unwrap_err();
        error.kind() == io::ErrorKind::TimedOut
    }

    #[tokio::test(start_paused = true)]
    async fn headers_sent_byte_by_byte_do_not_extend_the_timeout() {
        let (mut stream, mut client) = timed(&RequestPhase::default());
        let begin = Instant::now();
        let dripping = tokio::spawn(async move {
            while client.write_u8(b'x').await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        while stream.read_u8().await.is_ok() {}
        assert_eq!(begin.elapsed().as_secs(), HEAD.as_secs());
        drop(stream);
        dripping.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn idle_time_is_not_limited_by_the_header_timeout() {
        let phase = RequestPhase::default();
        let (mut stream, mut client) = timed(&phase);
        client.write_u8(b'x').await.unwrap();
        stream.read_u8().await.unwrap();
        let guard = phase.begin();
        let read_on = tokio::time::timeout(HEAD * 3, stream.read_u8()).await;
        assert!(read_on.is_err(), "cut while it was answered");
        drop(guard);
        let read_on = tokio::time::timeout(HEAD * 3, stream.read_u8()).await;
        assert!(read_on.is_err(), "cut while it was idle");
        client.write_u8(b'x').await.unwrap();
        stream.read_u8().await.unwrap();
        assert!(is_cut(&mut stream).await);
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_reads_nothing_is_disconnected_and_a_slow_one_is_not() {
        let (mut stream, mut client) = timed(&RequestPhase::default());
        stream.write_all(b"full").await.unwrap();
        let blocked = poll_fn(|context| Pin::new(&mut stream).poll_write(context, b"x"));
        let written = tokio::time::timeout(HEAD / 2, blocked).await;
        assert!(written.is_err());
        client.read_u8().await.unwrap();
        stream.write_u8(b'x').await.unwrap();
        let begin = Instant::now();
        let error = stream.write_u8(b'x').await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begin.elapsed().as_secs(), HEAD.as_secs());
    }
}
