//! Relays one connection.

use std::{
    io::{self, ErrorKind},
    mem,
    sync::Arc,
};

use bytes::BytesMut;

use super::{
    Action, StatementHook,
    batch::{Batch, Step},
    protocol::{MAX_BUFFERED, Peer, fatal},
};

/// Why a connection ends.
enum End {
    /// One of the peers has disconnected.
    Gone,
    /// The hook asked for a reset.
    Cut,
    /// The buffer limit was exceeded.
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

/// Relays until a peer disconnects or the connection is reset.
pub(super) async fn run(number: u64, client: Peer, server: Peer, watch: &dyn StatementHook) {
    let mut relay =
        Relay { number, client, server, watch, batch: Batch::default(), flushed: Vec::new() };
    let end = relay.run().await;
    match end {
        End::Gone => {}
        End::Cut => {
            relay.client.reset();
            relay.server.reset();
        }
        End::TooLong => {
            let limit = format!(
                "the proxy buffers at most {MAX_BUFFERED} bytes of a batch or of its response"
            );
            // An error means that the client has disconnected.
            let _ = relay.client.send(&fatal(&limit)).await;
        }
    }
}

struct Relay<'a> {
    number: u64,
    client: Peer,
    server: Peer,
    watch: &'a dyn StatementHook,
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

    /// Sends the batch, and returns its response to the client.
    async fn exchange(&mut self) -> Result<(), End> {
        let mut statements = mem::take(&mut self.flushed);
        statements.extend(self.ask().await?);
        let answer = self.answer().await?;
        for sql in &statements {
            if self.watch.after(self.number, sql).await == Action::Reset {
                return Err(End::Cut);
            }
        }
        self.client.send(&answer).await?;
        Ok(())
    }

    /// Sends what is buffered of the batch, if the hook passes all of its statements.
    async fn ask(&mut self) -> Result<Vec<Arc<str>>, End> {
        let statements = mem::take(&mut self.batch.statements);
        for sql in &statements {
            if self.watch.before(self.number, sql).await == Action::Reset {
                return Err(End::Cut);
            }
        }
        self.server.send(&mem::take(&mut self.batch.held)).await?;
        Ok(statements)
    }

    /// Collects the response up to `ReadyForQuery`.
    async fn answer(&mut self) -> Result<BytesMut, End> {
        let mut answer = BytesMut::new();
        let (mut copying, mut next_waits) = (false, false);
        loop {
            tokio::select! {
                message = self.server.receive() => {
                    let Some(message) = message? else {
                        // The last message has the reason, if there is one.
                        self.client.send(&answer).await?;
                        return Err(End::Gone);
                    };
                    if answer.len() + message.frame().len() > MAX_BUFFERED {
                        return Err(End::TooLong);
                    }
                    answer.extend_from_slice(message.frame());
                    match message.kind() {
                        b'Z' => return Ok(answer),
                        // COPY in either direction: what follows has no limit.
                        b'G' | b'H' | b'W' => copying = true,
                        _ => {}
                    }
                    if copying {
                        self.client.send(&mem::take(&mut answer)).await?;
                    }
                }
                kind = self.client.next_kind(), if !next_waits => match kind? {
                    // As without the proxy, what was sent is executed anyway.
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
