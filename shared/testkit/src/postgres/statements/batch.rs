//! What a client asks for: its messages up to the one that makes the server answer, and the statements in them.

use std::{collections::HashMap, sync::Arc};

use bytes::BytesMut;

use super::protocol::{HELD, Message};

/// What is to be done after a message of a client.
pub(super) enum Step {
    /// More belongs to this batch.
    Collect,
    /// Nothing of a batch: it goes on at once.
    Forward(Message),
    /// The batch so far goes on, and its answers pass as they come.
    Flush,
    /// The batch is whole.
    Exchange,
    /// The batch is longer than what is held.
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
            // A simple query, a Sync, a function call: the server says that it is ready when it is done with it.
            b'Q' | b'S' | b'F' => Step::Exchange,
            _ => Step::Collect,
        };
        if self.held.len() + message.frame().len() > HELD {
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
                self.portals
                    .insert(first.to_vec(), sql.unwrap_or_else(|| text(name)));
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

/// The bytes up to a zero, and those behind it.
fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0);
    end.map_or((bytes, &[]), |end| (&bytes[..end], &bytes[end + 1..]))
}

fn text(bytes: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(bytes).into()
}
