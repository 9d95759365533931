//! The messages of PostgreSQL's protocol, version 3, as far as the proxy needs them.

use std::io::{self, ErrorKind};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The most bytes of a batch, or of its response, that are buffered.
pub(super) const MAX_BUFFERED: usize = 64 << 20;

/// The size of a read.
const READ: usize = 16 << 10;

/// A message starts with its kind and with a length that counts itself.
const HEADER: usize = 5;
/// The first message of a connection has no kind.
const LENGTH: usize = 4;
/// The largest startup message that PostgreSQL accepts.
const FIRST: usize = 10_000;

const TLS_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

/// A whole message, with its header.
pub(super) struct Message(Bytes);

impl Message {
    pub(super) fn kind(&self) -> u8 {
        self.0[0]
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.0[HEADER..]
    }

    pub(super) fn frame(&self) -> &[u8] {
        &self.0
    }
}

/// One side of a connection. Its futures are cancel safe.
pub(super) struct Peer {
    stream: TcpStream,
    unread: BytesMut,
}

impl Peer {
    pub(super) fn new(stream: TcpStream) -> Self {
        // An error only means that small messages are delayed.
        let _ = stream.set_nodelay(true);
        Self { stream, unread: BytesMut::new() }
    }

    /// The next message, or `None` when the peer has closed.
    pub(super) async fn receive(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(length) = self.length_of_next()?
                && self.unread.len() >= length
            {
                return Ok(Some(Message(self.unread.split_to(length).freeze())));
            }
            if !self.read_more().await? {
                return Ok(None);
            }
        }
    }

    /// The kind of the next message once it begins, or `None` when the peer has closed.
    pub(super) async fn next_kind(&mut self) -> io::Result<Option<u8>> {
        while self.unread.is_empty() {
            if !self.read_more().await? {
                return Ok(None);
            }
        }
        Ok(self.unread.first().copied())
    }

    /// The startup message of a client. Encryption is declined.
    pub(super) async fn receive_first(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let Some(wanted) = number(&self.unread) else {
                if !self.read_more().await? {
                    return Ok(None);
                }
                continue;
            };
            let wanted = wanted as usize;
            if !(2 * LENGTH..=FIRST).contains(&wanted) {
                return Err(invalid("no first message is that long"));
            }
            if self.unread.len() < wanted {
                if !self.read_more().await? {
                    return Ok(None);
                }
                continue;
            }
            let frame = self.unread.split_to(wanted).freeze();
            match number(&frame[LENGTH..]) {
                Some(TLS_REQUEST | GSS_REQUEST) => self.send(b"N").await?,
                _ => return Ok(Some(frame)),
            }
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Resets the connection.
    pub(super) fn reset(self) {
        // An error means that it has already ended.
        let _ = self.stream.set_zero_linger();
    }

    fn length_of_next(&self) -> io::Result<Option<usize>> {
        let Some(length) = self.unread.get(1..).and_then(number) else {
            return Ok(None);
        };
        let length = length as usize + 1;
        if length < HEADER {
            return Err(invalid("no message is that short"));
        }
        if length > MAX_BUFFERED {
            return Err(io::Error::new(ErrorKind::FileTooLarge, "the message is too long"));
        }
        Ok(Some(length))
    }

    async fn read_more(&mut self) -> io::Result<bool> {
        self.unread.reserve(READ);
        Ok(self.stream.read_buf(&mut self.unread).await? > 0)
    }
}

/// A FATAL error response.
pub(super) fn fatal(message: &str) -> Bytes {
    let mut fields = BytesMut::new();
    // 54000: program limit exceeded.
    for (kind, text) in [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', "54000"), (b'M', message)] {
        fields.put_u8(kind);
        fields.put_slice(text.as_bytes());
        fields.put_u8(0);
    }
    fields.put_u8(0);
    let length = u32::try_from(fields.len() + LENGTH).unwrap_or(u32::MAX);
    let mut frame = BytesMut::new();
    frame.put_u8(b'E');
    frame.put_u32(length);
    frame.put(fields);
    frame.freeze()
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_be_bytes)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
