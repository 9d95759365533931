//! The connection to the server, and its state.
//!
//! async-nats reconnects by itself. Callers that wait for a response must know that the connection was lost, because
//! responses on the old connection never arrive.

use std::{sync::Arc, time::Duration};

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, connection::State,
};
use jetline_runtime::tls;
use percent_encoding::percent_decode_str;
use tokio::{sync::watch, time::timeout};
use tracing::{debug, info, warn};
use url::Url;

use super::JetStreamConfig;
use crate::{Error, Subject, Wakeup};

/// The settings that TLS depends on.
const TLS_ADVICE: &str = "check NATS_URL, NATS_CA_FILE and NATS_CERT_FILE";

/// How many commands the client buffers while it reconnects. Small, because chunks among them take memory.
const CLIENT_CAPACITY: usize = 128;

/// A connection without a response for twice as long is closed.
const PING_INTERVAL: Duration = Duration::from_secs(10);

impl Wakeup {
    /// Connects to one of the servers, for notifications only.
    pub async fn connect(
        servers: &[Url],
        config: &JetStreamConfig,
        subject: Subject,
    ) -> Result<Self, Error> {
        Ok(Connection::open(servers, config).await?.wakeup(config, subject))
    }
}

/// A client and the state of its connection.
pub(super) struct Connection {
    pub(super) client: Client,
    /// The servers, without credentials.
    pub(super) url: String,
    /// How often the connection was lost; also notifies when it is restored.
    losses: watch::Receiver<u64>,
}

impl Connection {
    /// Connects to one of the servers.
    pub(super) async fn open(servers: &[Url], config: &JetStreamConfig) -> Result<Self, Error> {
        let addresses = servers.iter().map(|url| without_credentials(url).to_string());
        let addresses: Vec<String> = addresses.collect();
        let url = addresses.join(",");
        let (sender, losses) = watch::channel(0);
        let options = secured(ConnectOptions::new(), servers, config)
            .map_err(|reason| refused(url.clone(), &reason))?;
        let options = authenticated(options, servers, &url, config)
            .await?
            .name("jetline")
            .client_capacity(CLIENT_CAPACITY)
            .ping_interval(PING_INTERVAL)
            .event_callback(report(url.clone(), Arc::new(sender)));
        match options.connect(addresses).await {
            Ok(client) => Ok(Self { client, url, losses }),
            Err(error) => Err(connect_error(url, error)),
        }
    }

    /// Notifications over this connection.
    pub(super) fn wakeup(&self, config: &JetStreamConfig, subject: Subject) -> Wakeup {
        Wakeup::nats(self.client.clone(), &config.nats_stream, subject)
    }

    /// How often the connection was lost.
    pub(super) fn losses(&self) -> u64 {
        *self.losses.borrow()
    }

    /// Returns when the connection was lost more than `known` times.
    pub(super) async fn lost(&self, known: u64) {
        // An error means that the client has ended, which is a loss too.
        let _ = self.losses.clone().wait_for(|losses| *losses > known).await;
    }

    /// Fails unless the connection is established now.
    pub(super) fn check(&self, action: &'static str) -> Result<(), Error> {
        if self.losses.has_changed().is_err() {
            return Err(Error::Closed);
        }
        if self.client.connection_state() == State::Connected {
            return Ok(());
        }
        Err(self.unavailable(action, "connection lost, reconnecting".into()))
    }

    /// Waits until the connection is established.
    pub(super) async fn connected(&self) -> Result<(), Error> {
        let mut losses = self.losses.clone();
        while self.client.connection_state() != State::Connected {
            // async-nats drops events when there are too many: poll the state as well.
            if let Ok(Err(_)) = timeout(Duration::from_secs(1), losses.changed()).await {
                return Err(Error::Closed);
            }
        }
        Ok(())
    }

    /// A transient error.
    pub(super) fn unavailable(
        &self,
        action: &'static str,
        source: Box<dyn std::error::Error + Send + Sync>,
    ) -> Error {
        Error::Unavailable { action, url: self.url.clone(), source }
    }
}

fn connect_error(url: String, error: ConnectError) -> Error {
    match error.kind() {
        _ if let Some(reason) = tls::refusal(&error) => {
            refused(url, &format!("{reason}; {TLS_ADVICE}"))
        }
        ConnectErrorKind::Tls => refused(url, &format!("{error}; {TLS_ADVICE}")),
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            refused(url, "wrong credentials: check NATS_URL and NATS_CREDENTIALS")
        }
        ConnectErrorKind::ServerParse => refused(url, "NATS_URL must begin with nats:// or tls://"),
        _ => Error::Unavailable { action: "connect", url, source: error.into() },
    }
}

/// The URL without credentials, for logs and errors.
pub(super) fn without_credentials(url: &Url) -> Url {
    let mut plain = url.clone();
    // An error means that such a URL cannot have credentials.
    let _ = plain.set_password(None);
    let _ = plain.set_username("");
    // NATS does not use them, but they may contain a password.
    plain.set_query(None);
    plain.set_fragment(None);
    plain
}

/// Requires TLS if the scheme or certificates ask for it: the discovered servers of a cluster have no scheme.
fn secured(
    mut options: ConnectOptions,
    servers: &[Url],
    config: &JetStreamConfig,
) -> Result<ConnectOptions, String> {
    let (ca, identity) = (&config.nats_ca_file, &config.nats_cert_file);
    let is_required = servers.iter().any(|url| url.scheme() == "tls");
    if is_required || ca.is_some() || identity.is_some() {
        options = options.require_tls(true);
    }
    if let Some(file) = ca {
        tls::certificates(file, "NATS_CA_FILE")?;
        options = options.add_root_certificates(file.clone());
    }
    if let (Some(file), Some(key)) = (identity, &config.nats_key_file) {
        tls::certificates(file, "NATS_CERT_FILE")?;
        tls::read(key, "NATS_KEY_FILE")?;
        options = options.add_client_certificate(file.clone(), key.clone());
    }
    Ok(options)
}

/// Takes the first credentials out of the URLs: async-nats logs its addresses, and does not percent-decode credentials.
async fn authenticated(
    options: ConnectOptions,
    servers: &[Url],
    addresses: &str,
    config: &JetStreamConfig,
) -> Result<ConnectOptions, Error> {
    let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    if let Some(file) = &config.nats_credentials {
        return options.credentials_file(file).await.map_err(|error| {
            let reason = format!("NATS_CREDENTIALS: cannot read {}: {error}", file.display());
            refused(addresses.to_owned(), &reason)
        });
    }
    let mut all = servers.iter().map(|url| (url.username(), url.password()));
    Ok(match all.find(|credentials| *credentials != ("", None)) {
        None => options,
        Some((token, None)) => options.token(decode(token)),
        Some((user, Some(password))) => options.user_and_password(decode(user), decode(password)),
    })
}

fn refused(url: String, reason: &str) -> Error {
    Error::Refused { action: "connect", url, reason: reason.to_owned() }
}

/// Logs events of the connection and counts its losses.
fn report(
    url: String,
    losses: Arc<watch::Sender<u64>>,
) -> impl Fn(Event) -> std::future::Ready<()> + Send + Sync {
    move |event| {
        match event {
            Event::Connected => {
                info!(url, "queue connected");
                losses.send_modify(|_| ());
            }
            Event::Disconnected => {
                warn!(url, "queue disconnected");
                losses.send_modify(|losses| *losses += 1);
            }
            Event::Closed => debug!(url, "queue connection closed"),
            Event::ClientError(error) => debug!(url, %error, "queue connection failed"),
            other => warn!(url, event = %other, "queue event"),
        }
        std::future::ready(())
    }
}
