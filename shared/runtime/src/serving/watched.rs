//! A stream that is given up when its client takes too long over a head, or takes nothing of an answer.
//!
//! The HTTP library limits the time from the end of one answer to the end of the next head, in which a client may also be
//! idle. A client that sends a head byte by byte has nothing to do with idleness, and gets much less time.

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

/// Whose turn it is: odd while a request is being answered, even while the client is to send one.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<AtomicU64>);

/// A request being answered, until it is dropped.
pub(super) struct Turn(Turns);

impl Turns {
    pub(super) fn begin(&self) -> Turn {
        self.0.fetch_add(1, Ordering::Relaxed);
        Turn(self.clone())
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) struct Watched<S> {
    stream: S,
    turns: Turns,
    /// The turn that `head` belongs to.
    turn: u64,
    head: Deadline,
    stall: Deadline,
}

impl<S> Watched<S> {
    /// The time for the first head begins.
    pub(super) fn new(stream: S, turns: Turns, limits: &ConnectionLimits) -> Self {
        let mut head = Deadline::new(limits.header_time);
        head.start();
        Self {
            stream,
            turn: turns.now(),
            turns,
            head,
            stall: Deadline::new(limits.stall_time),
        }
    }

    /// Notes the outcome of a write, and gives up where none came about for too long.
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

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let turn = self.turns.now();
        if turn != self.turn {
            // The head that was watched is complete.
            self.turn = turn;
            self.head.stop();
        }
        if turn % 2 == 1 {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
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

/// A time limit that runs or does not.
struct Deadline {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Deadline {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            sleep: None,
            running: false,
        }
    }

    /// Begins to count, unless it does already.
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

    /// Ready when the time is up.
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

    fn watched(turns: &Turns) -> (Watched<DuplexStream>, DuplexStream) {
        let limits = ConnectionLimits {
            connections: 1,
            header_bytes: 100,
            header_time: HEAD,
            idle_time: HEAD * 6,
            stall_time: HEAD,
        };
        let (ours, theirs) = duplex(4);
        (Watched::new(ours, turns.clone(), &limits), theirs)
    }

    async fn is_cut(stream: &mut Watched<DuplexStream>) -> bool {
        let error = stream.read_u8().await.unwrap_err();
        error.kind() == io::ErrorKind::TimedOut
    }

    #[tokio::test(start_paused = true)]
    async fn head_that_comes_byte_by_byte_is_given_no_more_time_for_each() {
        let (mut stream, mut client) = watched(&Turns::default());
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
    async fn time_between_requests_is_not_that_of_a_head() {
        let turns = Turns::default();
        let (mut stream, mut client) = watched(&turns);
        client.write_u8(b'x').await.unwrap();
        stream.read_u8().await.unwrap();
        let turn = turns.begin();
        let read_on = tokio::time::timeout(HEAD * 3, stream.read_u8()).await;
        assert!(read_on.is_err(), "cut while it was answered");
        drop(turn);
        let read_on = tokio::time::timeout(HEAD * 3, stream.read_u8()).await;
        assert!(read_on.is_err(), "cut while it was idle");
        client.write_u8(b'x').await.unwrap();
        stream.read_u8().await.unwrap();
        assert!(is_cut(&mut stream).await);
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_takes_nothing_of_an_answer_is_cut_and_one_that_takes_some_is_not() {
        let (mut stream, mut client) = watched(&Turns::default());
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
