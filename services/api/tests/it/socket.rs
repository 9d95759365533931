//! An API on a port, and connections to it that say whatever a test wants.

use std::{net::SocketAddr, time::Duration};

use jetline_api::{ApiSettings, bind};
use jetline_runtime::Shutdown;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

use crate::base::{Base, metrics};

/// How long the other side may take, also on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(1);

/// An API on a port. It ends with its owner.
pub(crate) struct Socket {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    serving: JoinHandle<()>,
    _base: Base,
}

impl Socket {
    pub(crate) async fn serve(settings: &ApiSettings) -> Self {
        let base = Base::sqlite().await;
        let shutdown = Shutdown::new();
        let api = bind(settings, base.db.clone(), metrics(), shutdown.clone())
            .await
            .unwrap();
        Self {
            address: api.address(),
            serving: tokio::spawn(api.serve()),
            shutdown,
            _base: base,
        }
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection(TcpStream::connect(self.address).await.unwrap())
    }

    /// Waits until all connections have ended after a soft shutdown.
    pub(crate) async fn ended(mut self) {
        let ended = timeout(PATIENCE, &mut self.serving).await;
        ended.expect("it serves on").unwrap();
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.shutdown.hard.cancel();
    }
}

pub(crate) struct Connection(pub(crate) TcpStream);

impl Connection {
    /// Says something; the other side may have ended the connection.
    pub(crate) async fn say(&mut self, text: &str) -> bool {
        let said = timeout(PATIENCE, self.0.write_all(text.as_bytes())).await;
        said.expect("the other side takes no more").is_ok()
    }

    /// Reads the head of an answer.
    pub(crate) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = timeout(PATIENCE, self.0.read_u8()).await;
            head.push(byte.expect("no answer").unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// What comes until the other side ends the connection.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset ends it too: something was said that nobody wanted to hear.
        let ended = timeout(PATIENCE, self.0.read_to_end(&mut rest)).await;
        let _ = ended.expect("the connection stays open");
        String::from_utf8(rest).unwrap()
    }
}
