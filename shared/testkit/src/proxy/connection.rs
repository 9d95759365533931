//! One connection through the proxy, in whatever weather.

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

use super::{Counts, Sky, Weather};

/// The most bytes that are read at once in each direction, and so held in a stall, apart from the kernel's buffers.
const BLOCK: usize = 16 << 10;

/// A slow connection passes the bytes of this much time at once.
const PIECES_PER_SECOND: u64 = 50;

/// Relays until both ends have closed, one has failed, or the connection is cut.
pub(super) fn relay(
    client: TcpStream,
    target: SocketAddr,
    sky: watch::Receiver<Sky>,
    counts: Arc<Counts>,
) -> impl Future<Output = ()> {
    // Now, not when the task is run for the first time.
    let cuts = sky.borrow().cuts;
    async move {
        let connection = Connection { sky, cuts, counts };
        connection.relay(client, target).await;
    }
}

struct Connection {
    sky: watch::Receiver<Sky>,
    /// How often everything was cut before it was accepted.
    cuts: u64,
    counts: Arc<Counts>,
}

impl Connection {
    async fn relay(self, mut client: TcpStream, target: SocketAddr) {
        if self.sky.borrow().weather == Weather::Stalled {
            self.counts.fault();
        }
        if self
            .unless_cut(until_it_passes(self.sky.clone()))
            .await
            .is_err()
        {
            return reset([client]);
        }
        // Not broken off by a cut: the server would see an end rather than a reset.
        let Ok(mut server) = TcpStream::connect(target).await else {
            return reset([client]);
        };
        let relayed = self.pass(&mut client, &mut server);
        if self.unless_cut(relayed).await.is_err() {
            reset([client, server]);
        }
    }

    async fn unless_cut(&self, work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        let mut sky = self.sky.clone();
        let is_cut = |sky: &Sky| sky.cuts != self.cuts || sky.weather == Weather::Refusing;
        tokio::select! {
            biased;
            _ = sky.wait_for(is_cut) => {
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
        let one_way = |from, to| Way {
            from,
            to,
            sky: self.sky.clone(),
            counts: &self.counts,
        };
        let there = one_way(from_client, to_server).pass_all();
        let back = one_way(from_server, to_client).pass_all();
        let passed = tokio::try_join!(there, back);
        if passed.is_err() {
            // The news of a failure passes no more easily than the rest.
            until_it_passes(self.sky.clone()).await?;
        }
        passed.map(|_| ())
    }
}

fn reset<const N: usize>(streams: [TcpStream; N]) {
    for stream in streams {
        // An error means that it has ended already.
        let _ = stream.set_zero_linger();
    }
}

/// One direction of a connection.
struct Way<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    sky: watch::Receiver<Sky>,
    counts: &'a Counts,
}

impl Way<'_> {
    async fn pass_all(mut self) -> io::Result<()> {
        let mut block = vec![0; BLOCK];
        loop {
            let length = self.from.read(&mut block).await?;
            if length == 0 {
                until_it_passes(self.sky.clone()).await?;
                return self.to.shutdown().await;
            }
            self.pass(&block[..length]).await?;
        }
    }

    /// Looks at the weather anew whenever it changes, and for every piece.
    async fn pass(&mut self, mut block: &[u8]) -> io::Result<()> {
        let (mut faulty, mut delayed) = (false, false);
        while !block.is_empty() {
            let weather = self.sky.borrow_and_update().weather;
            if !faulty && matches!(weather, Weather::Stalled | Weather::Slow { .. }) {
                faulty = true;
                self.counts.fault();
            }
            let passing = async {
                match weather {
                    Weather::Clear => self.to.write(block).await,
                    // Until it is reset.
                    Weather::Stalled | Weather::Refusing => std::future::pending().await,
                    Weather::Slow { delay, .. } if !delayed => {
                        sleep(delay).await;
                        delayed = true;
                        Ok(0)
                    }
                    Weather::Slow {
                        bytes_per_second, ..
                    } => self.to.write(piece(block, bytes_per_second)).await,
                }
            };
            let passed = tokio::select! {
                biased;
                changed = self.sky.changed() => {
                    changed.map_err(|_| ErrorKind::ConnectionAborted)?;
                    continue;
                }
                passed = passing => passed?,
            };
            block = &block[passed..];
            self.rest(weather, passed).await;
        }
        Ok(())
    }

    /// Keeps to the rate: whoever changes the weather waits for no more than one piece.
    async fn rest(&self, weather: Weather, passed: usize) {
        let Weather::Slow {
            bytes_per_second, ..
        } = weather
        else {
            return;
        };
        let bytes = u64::try_from(passed).unwrap_or(u64::MAX);
        let nanoseconds = bytes.saturating_mul(1_000_000_000) / bytes_per_second.max(1);
        sleep(Duration::from_nanos(nanoseconds)).await;
    }
}

fn piece(block: &[u8], bytes_per_second: u64) -> &[u8] {
    let length = usize::try_from(bytes_per_second / PIECES_PER_SECOND).unwrap_or(usize::MAX);
    &block[..length.clamp(1, block.len())]
}

async fn until_it_passes(mut sky: watch::Receiver<Sky>) -> io::Result<()> {
    let passes = |sky: &Sky| sky.weather != Weather::Stalled;
    sky.wait_for(passes)
        .await
        .map(|_| ())
        .map_err(|_| ErrorKind::ConnectionAborted.into())
}
