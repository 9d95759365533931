//! One connection through the proxy.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    time::sleep,
};

use super::{Counts, LinkState, Toxic};

/// The size of a read in each direction, and so the most that a stall holds, apart from the kernel's buffers.
const BLOCK: usize = 16 << 10;

/// How many writes per second a slow connection makes.
const WRITES_PER_SECOND: u64 = 50;

/// Relays until both sides have closed, one has failed, or the connection is reset.
pub(super) fn relay(
    client: TcpStream,
    target: SocketAddr,
    state: watch::Receiver<LinkState>,
    counts: Arc<Counts>,
) -> impl Future<Output = ()> {
    // Read now, not when the task runs first.
    let resets = state.borrow().resets;
    async move {
        let connection = Connection { state, resets, counts };
        connection.relay(client, target).await;
    }
}

struct Connection {
    state: watch::Receiver<LinkState>,
    /// How often all connections had been reset when it was accepted.
    resets: u64,
    counts: Arc<Counts>,
}

impl Connection {
    async fn relay(self, mut client: TcpStream, target: SocketAddr) {
        if self.state.borrow().toxic == Toxic::Stall {
            self.counts.fault();
        }
        if self.unless_reset(until_not_stalled(self.state.clone())).await.is_err() {
            return reset([client]);
        }
        // Not interrupted by a reset: the server would see a close instead.
        let Ok(mut server) = TcpStream::connect(target).await else {
            return reset([client]);
        };
        let relayed = self.pass(&mut client, &mut server);
        if self.unless_reset(relayed).await.is_err() {
            reset([client, server]);
        }
    }

    async fn unless_reset(&self, work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        let mut state = self.state.clone();
        let is_reset =
            |state: &LinkState| state.resets != self.resets || state.toxic == Toxic::Refuse;
        tokio::select! {
            biased;
            _ = state.wait_for(is_reset) => {
                self.counts.fault();
                Err(ErrorKind::ConnectionReset.into())
            }
            done = work => done,
        }
    }

    async fn pass(&self, client: &mut TcpStream, server: &mut TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let direction =
            |from, to| Direction { from, to, state: self.state.clone(), counts: &self.counts };
        let there = direction(from_client, to_server).pass_all();
        let back = direction(from_server, to_client).pass_all();
        let passed = tokio::try_join!(there, back);
        if passed.is_err() {
            // A stall holds back a failure too.
            until_not_stalled(self.state.clone()).await?;
        }
        passed.map(|_| ())
    }
}

fn reset<const N: usize>(streams: [TcpStream; N]) {
    for stream in streams {
        // An error means that it has already ended.
        let _ = stream.set_zero_linger();
    }
}

/// One direction of a connection.
struct Direction<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    state: watch::Receiver<LinkState>,
    counts: &'a Counts,
}

impl Direction<'_> {
    async fn pass_all(mut self) -> io::Result<()> {
        let mut block = vec![0; BLOCK];
        loop {
            let length = self.from.read(&mut block).await?;
            if length == 0 {
                until_not_stalled(self.state.clone()).await?;
                return self.to.shutdown().await;
            }
            self.pass(&block[..length]).await?;
        }
    }

    /// Applies the current toxic to every write, also when it changes meanwhile.
    async fn pass(&mut self, mut block: &[u8]) -> io::Result<()> {
        let (mut faulty, mut delayed) = (false, false);
        while !block.is_empty() {
            let toxic = self.state.borrow_and_update().toxic;
            if !faulty && matches!(toxic, Toxic::Stall | Toxic::Slow { .. }) {
                faulty = true;
                self.counts.fault();
            }
            let passing = async {
                match toxic {
                    Toxic::None => self.to.write(block).await,
                    // Until it is reset.
                    Toxic::Stall | Toxic::Refuse => std::future::pending().await,
                    Toxic::Slow { delay, .. } if !delayed => {
                        sleep(delay).await;
                        delayed = true;
                        Ok(0)
                    }
                    Toxic::Slow { bytes_per_second, .. } => {
                        self.to.write(piece(block, bytes_per_second)).await
                    }
                }
            };
            let passed = tokio::select! {
                biased;
                changed = self.state.changed() => {
                    changed.map_err(|_| ErrorKind::ConnectionAborted)?;
                    continue;
                }
                passed = passing => passed?,
            };
            block = &block[passed..];
            self.throttle(toxic, passed).await;
        }
        Ok(())
    }

    /// Limits the bandwidth. A change of the toxic takes effect after one write.
    async fn throttle(&self, toxic: Toxic, passed: usize) {
        let Toxic::Slow { bytes_per_second, .. } = toxic else {
            return;
        };
        let bytes = u64::try_from(passed).unwrap_or(u64::MAX);
        let nanoseconds = bytes.saturating_mul(1_000_000_000) / bytes_per_second.max(1);
        sleep(Duration::from_nanos(nanoseconds)).await;
    }
}

fn piece(block: &[u8], bytes_per_second: u64) -> &[u8] {
    let length = usize::try_from(bytes_per_second / WRITES_PER_SECOND).unwrap_or(usize::MAX);
    &block[..length.clamp(1, block.len())]
}

async fn until_not_stalled(mut state: watch::Receiver<LinkState>) -> io::Result<()> {
    let is_flowing = |state: &LinkState| state.toxic != Toxic::Stall;
    state.wait_for(is_flowing).await.map(|_| ()).map_err(|_| ErrorKind::ConnectionAborted.into())
}
