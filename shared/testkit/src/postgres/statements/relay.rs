//! One connection, from its first message to its end.

use std::{
    io::{self, ErrorKind},
    mem,
    sync::Arc,
};

use bytes::BytesMut;

use super::{
    Fate, Watch,
    batch::{Batch, Step},
    protocol::{HELD, Peer, fatal},
};

/// Why a connection ends.
enum End {
    /// One of the peers has gone.
    Gone,
    /// On order.
    Cut,
    /// More than what is held.
    TooLong,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::FileTooLarge => Self::TooLong,
            _ => Self::Gone,
        }
    }
}

/// Relays until either peer goes away or the connection is cut.
pub(super) async fn run(number: u64, client: Peer, server: Peer, watch: &dyn Watch) {
    let mut relay = Relay {
        number,
        client,
        server,
        watch,
        batch: Batch::default(),
        flushed: Vec::new(),
    };
    let end = relay.run().await;
    match end {
        End::Gone => {}
        End::Cut => {
            relay.client.reset();
            relay.server.reset();
        }
        End::TooLong => {
            let limit = format!("the proxy holds at most {HELD} bytes of a batch or of its answer");
            // A client that does not hear it has gone.
            let _ = relay.client.send(&fatal(&limit)).await;
        }
    }
}

struct Relay<'a> {
    number: u64,
    client: Peer,
    server: Peer,
    watch: &'a dyn Watch,
    batch: Batch,
    /// Statements of this batch that were sent on by Flush.
    flushed: Vec<Arc<str>>,
}

impl Relay<'_> {
    async fn run(&mut self) -> End {
        match self.relay().await {
            Ok(()) => End::Gone,
            Err(end) => end,
        }
    }

    async fn relay(&mut self) -> Result<(), End> {
        let first = self.client.receive_first().await?.ok_or(End::Gone)?;
        self.server.send(&first).await?;
        loop {
            tokio::select! {
                message = self.client.receive() => {
                    let message = message?.ok_or(End::Gone)?;
                    match self.batch.add(message) {
                        Step::Collect => {}
                        Step::Forward(message) => self.server.send(message.frame()).await?,
                        Step::Flush => {
                            let statements = self.ask().await?;
                            self.flushed.extend(statements);
                        }
                        Step::Exchange => self.exchange().await?,
                        Step::TooLong => return Err(End::TooLong),
                    }
                }
                message = self.server.receive() => {
                    let message = message?.ok_or(End::Gone)?;
                    self.client.send(message.frame()).await?;
                }
            }
        }
    }

    /// Sends the batch, and its answer.
    async fn exchange(&mut self) -> Result<(), End> {
        let mut statements = mem::take(&mut self.flushed);
        statements.extend(self.ask().await?);
        let answer = self.answer().await?;
        for sql in &statements {
            if self.watch.after(self.number, sql).await == Fate::Cut {
                return Err(End::Cut);
            }
        }
        self.client.send(&answer).await?;
        Ok(())
    }

    /// Sends what is held of the batch, if all of its statements may pass.
    async fn ask(&mut self) -> Result<Vec<Arc<str>>, End> {
        let statements = mem::take(&mut self.batch.statements);
        for sql in &statements {
            if self.watch.before(self.number, sql).await == Fate::Cut {
                return Err(End::Cut);
            }
        }
        self.server.send(&mem::take(&mut self.batch.held)).await?;
        Ok(statements)
    }

    /// Waits until the server is ready again.
    async fn answer(&mut self) -> Result<BytesMut, End> {
        let mut answer = BytesMut::new();
        let (mut copying, mut next_waits) = (false, false);
        loop {
            tokio::select! {
                message = self.server.receive() => {
                    let Some(message) = message? else {
                        // Its last words say why, when there are any.
                        self.client.send(&answer).await?;
                        return Err(End::Gone);
                    };
                    if answer.len() + message.frame().len() > HELD {
                        return Err(End::TooLong);
                    }
                    answer.extend_from_slice(message.frame());
                    match message.kind() {
                        b'Z' => return Ok(answer),
                        // COPY in either direction, or both: what follows is as long as it likes.
                        b'G' | b'H' | b'W' => copying = true,
                        _ => {}
                    }
                    if copying {
                        self.client.send(&mem::take(&mut answer)).await?;
                    }
                }
                kind = self.client.next_kind(), if !next_waits => match kind? {
                    // As with the server itself, what was sent is executed all the same.
                    None => return Err(End::Gone),
                    Some(b'd' | b'c' | b'f') if copying => {
                        let message = self.client.receive().await?.ok_or(End::Gone)?;
                        self.server.send(message.frame()).await?;
                    }
                    Some(_) => next_waits = true,
                }
            }
        }
    }
}
