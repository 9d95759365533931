//! An API on a port, and raw connections to it.

use std::{net::SocketAddr, time::Duration};

use jetline_api::{ApiSettings, Changes, bind};
use jetline_runtime::Shutdown;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

use crate::fixtures::{TestApi, metrics};

/// Timeout of every read and write; long, as the machine may be busy with other tests.
const TIMEOUT: Duration = Duration::from_mins(1);

/// An API on a port; stopped when dropped.
pub(crate) struct Socket {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    serving: JoinHandle<()>,
    _base: TestApi,
}

impl Socket {
    pub(crate) async fn serve(settings: &ApiSettings) -> Self {
        let base = TestApi::sqlite().await;
        let shutdown = Shutdown::new();
        let api = bind(settings, &base.database(), Changes::default(), metrics(), shutdown.clone())
            .await
            .unwrap();
        Self { address: api.address(), serving: tokio::spawn(api.serve()), shutdown, _base: base }
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection(TcpStream::connect(self.address).await.unwrap())
    }

    /// Waits until all connections have ended after a soft shutdown.
    pub(crate) async fn ended(mut self) {
        let ended = timeout(TIMEOUT, &mut self.serving).await;
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
    /// Writes a text; `false` where the other side has closed the connection.
    pub(crate) async fn send(&mut self, text: &str) -> bool {
        let written = timeout(TIMEOUT, self.0.write_all(text.as_bytes())).await;
        written.expect("the other side reads no more").is_ok()
    }

    /// Reads the head of a response.
    pub(crate) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = timeout(TIMEOUT, self.0.read_u8()).await;
            head.push(byte.expect("no answer").unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// Reads until the other side closes the connection.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset ends it too: not everything that was sent was read.
        let ended = timeout(TIMEOUT, self.0.read_to_end(&mut rest)).await;
        let _ = ended.expect("the connection stays open");
        String::from_utf8(rest).unwrap()
    }
}
