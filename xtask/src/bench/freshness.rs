//! How old what the API answers may be: hot rows are updated beside the readers, and read through the API.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::Value;

/// What was committed is what everybody gets who asks this much later.
const PROMISE: Duration = Duration::from_secs(1);

/// Between two requests: enough for a look, and of no weight beside those of the load.
const PACE: Duration = Duration::from_millis(5);

/// Updates one row after the other while it lives, and reads each until the API gives what was committed.
pub(super) struct Freshness {
    ended: Arc<AtomicBool>,
    watching: JoinHandle<anyhow::Result<Duration>>,
}

impl Freshness {
    /// `psql` is connected to the database; the API listens on the port of this machine; the ids are those up to `ids`.
    pub(super) fn watch(psql: Command, port: u16, ids: u64) -> anyhow::Result<Self> {
        let mut database = Session::start(psql)?;
        let mut api = Client::connect(port)?;
        let ended = Arc::new(AtomicBool::new(false));
        let is_ended = ended.clone();
        let watching = thread::spawn(move || {
            let mut oldest = Duration::ZERO;
            for price in 1.. {
                if is_ended.load(Ordering::Relaxed) {
                    break;
                }
                let id = rand::random_range(1..=ids);
                database.update(id, price)?;
                oldest = oldest.max(stale(&mut api, id, price)?);
            }
            Ok(oldest)
        });
        Ok(Self { ended, watching })
    }

    /// How long after the commit of a row the latest request was sent that was answered with what it said before.
    pub(super) fn oldest(self) -> anyhow::Result<Duration> {
        self.ended.store(true, Ordering::Relaxed);
        let watched = self.watching.join();
        watched.map_err(|_| anyhow!("the watch over the answers' age crashed"))?
    }
}

/// Asks until the answer is what was committed just now.
fn stale(api: &mut Client, id: u64, price: u64) -> anyhow::Result<Duration> {
    let committed = Instant::now();
    let mut oldest = Duration::ZERO;
    loop {
        let age = committed.elapsed();
        if api.price(id)? == price {
            return Ok(oldest);
        }
        ensure!(
            age <= PROMISE,
            "what was committed to product {id} was not read {age:?} later"
        );
        oldest = age;
        thread::sleep(PACE);
    }
}

/// A psql that takes statements one by one.
struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    fn start(mut psql: Command) -> anyhow::Result<Self> {
        let mut child = psql
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start psql")?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Ok(Self {
            input: input.context("psql takes nothing")?,
            output: BufReader::new(output.context("psql says nothing")?),
            child,
        })
    }

    /// Returns when it is committed.
    fn update(&mut self, id: u64, price: u64) -> anyhow::Result<()> {
        writeln!(
            self.input,
            "UPDATE products SET price = {price} WHERE id = {id};\n\\echo {price}"
        )?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(line.trim() == price.to_string(), "psql said {line:?}");
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to the API.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).context("the api is away")?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Of a product whose price is a whole number; 0 where it is not.
    fn price(&mut self, id: u64) -> anyhow::Result<u64> {
        let request = format!("GET /products/{id} HTTP/1.1\r\nHost: bench\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut length = None;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                bail!("the api closed the connection");
            }
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(value.trim().parse()?);
            }
        }
        let mut body = vec![0; length.context("an answer without a length")?];
        self.0.read_exact(&mut body)?;
        let product: Value = serde_json::from_slice(&body)?;
        Ok(product["price"].as_u64().unwrap_or_default())
    }
}
