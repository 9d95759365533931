//! The settings of the `JetStream` queue.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::ensure;
use clap::{Args, value_parser};
use url::Url;

use jetline_core::LedgerIdentity;
use jetline_runtime::{
    StartupSettings,
    settings::{Invalid, required},
};

use super::{JetStream, OwnLedger, ReadIdentity, servers::NatsUrls};
use crate::{Error, Queue, Subject, Wakeup};

/// The connection to NATS, and the configuration of the stream. All services of an installation use the same values.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Queue")]
pub struct JetStreamConfig {
    /// NATS server, 2.9 or later, started with --jetstream: `nats://host:4222` or `tls://host:4222`
    ///
    /// Several servers of one cluster are separated by commas; one is enough, the others are discovered. A user and
    /// password, or a token, may precede the host, percent-encoded; it is used for all servers.
    #[arg(long, env = "NATS_URL", value_name = "URL", hide_env_values = true)]
    pub nats_url: Option<NatsUrls>,

    /// Credentials file for NATS, as `nsc generate creds` writes it
    #[arg(long, env = "NATS_CREDENTIALS", value_name = "FILE")]
    pub nats_credentials: Option<PathBuf>,

    /// CA file for NATS's certificate, in PEM, instead of the system's CAs; requires TLS
    #[arg(long, env = "NATS_CA_FILE", value_name = "FILE")]
    pub nats_ca_file: Option<PathBuf>,

    /// Client certificate for NATS, in PEM
    #[arg(long, env = "NATS_CERT_FILE", value_name = "FILE", requires = "nats_key_file")]
    pub nats_cert_file: Option<PathBuf>,

    /// Private key of the client certificate, in PEM
    #[arg(long, env = "NATS_KEY_FILE", value_name = "FILE", requires = "nats_cert_file")]
    pub nats_key_file: Option<PathBuf>,

    /// Stream of the chunks; created if it is missing, updated if it differs
    #[arg(long, env = "NATS_STREAM", value_name = "NAME", default_value = "JETLINE", value_parser = name)]
    pub nats_stream: String,

    /// Maximum size of the stream; fetchers wait while it is full
    #[arg(long, env = "NATS_MAX_BYTES", value_name = "BYTES", default_value = "1GiB", value_parser = max_bytes)]
    pub nats_max_bytes: i64,

    /// How long a chunk may be in flight without progress before it is redelivered
    #[arg(long, env = "NATS_ACK_WAIT", value_name = "DURATION", default_value = "30s", value_parser = ack_wait)]
    pub nats_ack_wait: Duration,

    /// Replicas of the stream in a NATS cluster
    #[arg(long, env = "NATS_REPLICAS", value_name = "COUNT", default_value_t = 1,
        value_parser = value_parser!(u8).range(1..=5))]
    pub nats_replicas: u8,
}

/// What `NATS_URL` names.
const CHUNKS: &str = "the queue between fetchers and writers, as in nats://host:4222";

impl JetStreamConfig {
    /// Connects to the queue of `NATS_URL`, with retries, for the chunks of the ledger with this identity; `read` reads it
    /// again.
    pub async fn connect(
        &self,
        startup: &StartupSettings,
        identity: LedgerIdentity,
        read: impl ReadIdentity,
    ) -> anyhow::Result<Arc<dyn Queue>> {
        let servers = self.servers(CHUNKS)?;
        let own = Arc::new(OwnLedger::new(identity, read));
        let queue = startup
            .connect("the queue (NATS_URL)", Error::is_transient, || {
                JetStream::connect(&servers, self, Some(own.clone()))
            })
            .await?;
        Ok(Arc::new(queue))
    }

    /// Connects to the servers of `NATS_URL`, with retries, for notifications only.
    pub async fn connect_wakeup(
        &self,
        startup: &StartupSettings,
        subject: Subject,
    ) -> anyhow::Result<Wakeup> {
        let servers = self.servers(match subject {
            Subject::Deliveries => "the queue whose writers wake couriers",
            Subject::Objects => "the queue whose fetchers are woken",
        })?;
        let connected = startup.connect("the queue (NATS_URL)", Error::is_transient, || {
            Wakeup::connect(&servers, self, subject)
        });
        connected.await
    }

    fn servers(&self, purpose: &str) -> anyhow::Result<Vec<Url>> {
        let servers = required(self.nats_url.as_ref(), "NATS_URL", purpose)?.parse();
        let servers = servers.map_err(Invalid::new)?;
        ensure!(
            servers.iter().all(|server| matches!(server.scheme(), "nats" | "tls")),
            Invalid::new("NATS_URL must begin with nats:// or tls://")
        );
        Ok(servers)
    }

    /// Refuses a missing or malformed address.
    pub fn check(&self) -> anyhow::Result<()> {
        self.servers(CHUNKS).map(drop)
    }
}

/// A stream's name is a token of its subjects.
fn name(text: &str) -> Result<String, String> {
    if super::message::is_token(text) {
        return Ok(text.to_owned());
    }
    Err("letters, digits, `-` and `_` only, 255 at most".to_owned())
}

fn max_bytes(text: &str) -> Result<i64, String> {
    let bytes = jetline_runtime::settings::bytes(text)?;
    match i64::try_from(bytes) {
        Ok(bytes) if bytes > 0 => Ok(bytes),
        _ => Err("must be above 0, and fit 63 bits".to_owned()),
    }
}

fn ack_wait(text: &str) -> Result<Duration, String> {
    let wait = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if wait < Duration::from_secs(1) {
        return Err("must be a second or more".to_owned());
    }
    Ok(wait)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        queue: JetStreamConfig,
    }

    fn parse(arguments: &[&str]) -> Result<JetStreamConfig, String> {
        Cli::try_parse_from([&["jetline"], arguments].concat())
            .map(|cli| cli.queue)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn password_is_not_shown() {
        let config = parse(&["--nats-url", "nats://ann:secret@host:4222"]).unwrap();
        let shown = format!("{config:?}");
        assert!(shown.contains("nats://host:4222"), "{shown}");
        assert!(!shown.contains("secret") && !shown.contains("ann"), "{shown}");
    }

    #[test]
    fn setting_that_cannot_work_is_refused_with_its_name() {
        for (flag, value) in [
            ("--nats-stream", "a.b"),
            ("--nats-ack-wait", "10ms"),
            ("--nats-replicas", "6"),
            ("--nats-max-bytes", "0"),
        ] {
            let error = parse(&[flag, value]).unwrap_err();
            assert!(error.contains(flag), "{error}");
        }
    }
}
