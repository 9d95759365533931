//! Collects a client's messages into batches, with the statements in them.

use std::{collections::HashMap, sync::Arc};

use bytes::BytesMut;

use super::protocol::{MAX_BUFFERED, Message};

/// What to do after a client's message.
pub(super) enum Step {
    /// The batch is not complete.
    Collect,
    /// The message belongs to no batch and is passed on at once.
    Forward(Message),
    /// The batch so far is passed on, and its responses as they arrive.
    Flush,
    /// The batch is complete.
    Exchange,
    /// The batch exceeds the buffer limit.
    TooLong,
}

/// The batch that is being collected, and the statements that its connection has prepared.
#[derive(Default)]
pub(super) struct Batch {
    /// What is held of it.
    pub(super) held: BytesMut,
    /// The statements in what is held, in order.
    pub(super) statements: Vec<Arc<str>>,
    prepared: HashMap<Vec<u8>, Arc<str>>,
    portals: HashMap<Vec<u8>, Arc<str>>,
}

impl Batch {
    pub(super) fn add(&mut self, message: Message) -> Step {
        let step = match message.kind() {
            // A password, data of a COPY, the end.
            b'p' | b'd' | b'c' | b'f' | b'X' => return Step::Forward(message),
            b'H' => Step::Flush,
            // A simple query, a Sync, a function call: the server responds with ReadyForQuery.
            b'Q' | b'S' | b'F' => Step::Exchange,
            _ => Step::Collect,
        };
        if self.held.len() + message.frame().len() > MAX_BUFFERED {
            return Step::TooLong;
        }
        self.held.extend_from_slice(message.frame());
        self.note(&message);
        step
    }

    fn note(&mut self, message: &Message) {
        let body = message.body();
        let (first, rest) = word(body);
        match message.kind() {
            b'Q' => self.statements.push(text(first)),
            b'P' => {
                self.prepared.insert(first.to_vec(), text(word(rest).0));
            }
            b'B' => {
                let (name, _) = word(rest);
                let sql = self.prepared.get(name).cloned();
                // PREPARE, the statement, has made it.
                self.portals.insert(first.to_vec(), sql.unwrap_or_else(|| text(name)));
            }
            b'E' => {
                let sql = self.portals.get(first).cloned();
                // DECLARE, the statement, has made it.
                self.statements.push(sql.unwrap_or_else(|| text(first)));
            }
            b'C' => self.forget(body),
            _ => {}
        }
    }

    fn forget(&mut self, body: &[u8]) {
        match body.split_first() {
            Some((b'S', name)) => self.prepared.remove(word(name).0),
            Some((_, name)) => self.portals.remove(word(name).0),
            None => None,
        };
    }
}

/// The bytes up to a NUL, and those after it.
fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0);
    end.map_or((bytes, &[]), |end| (&bytes[..end], &bytes[end + 1..]))
}

fn text(bytes: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(bytes).into()
}
