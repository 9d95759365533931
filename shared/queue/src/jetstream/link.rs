//! The connection to the server, and whether it stands.
//!
//! Once it stood, async-nats brings it back by itself. Whoever waits for an answer has to know that it was lost,
//! because what the server owed us on the old connection never comes.

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
use crate::Error;

/// Which settings TLS depends on.
const TLS_ADVICE: &str = "look at NATS_URL, NATS_CA_FILE and NATS_CERT_FILE";

/// Commands that wait in the client while it reconnects. The chunks among them are memory, so they are few.
const WAITING_COMMANDS: usize = 128;

/// A connection that is silent for twice as long is given up.
const PING: Duration = Duration::from_secs(10);

/// A client with the news of its connection.
pub(super) struct Link {
    pub(super) client: Client,
    /// The servers, without credentials.
    pub(super) url: String,
    /// How often the connection was lost; changes also when it is back.
    losses: watch::Receiver<u64>,
}

impl Link {
    /// Connects to one of the servers.
    pub(super) async fn open(servers: &[Url], config: &JetStreamConfig) -> Result<Self, Error> {
        let addresses = servers
            .iter()
            .map(|url| without_credentials(url).to_string());
        let addresses: Vec<String> = addresses.collect();
        let url = addresses.join(",");
        let (sender, losses) = watch::channel(0);
        let options = secured(ConnectOptions::new(), servers, config)
            .map_err(|reason| refused(url.clone(), &reason))?;
        let options = authenticated(options, servers, &url, config)
            .await?
            .name("jetline")
            .client_capacity(WAITING_COMMANDS)
            .ping_interval(PING)
            .event_callback(report(url.clone(), Arc::new(sender)));
        match options.connect(addresses).await {
            Ok(client) => Ok(Self {
                client,
                url,
                losses,
            }),
            Err(error) => Err(connect_error(url, error)),
        }
    }

    /// How often the connection was lost.
    pub(super) fn losses(&self) -> u64 {
        *self.losses.borrow()
    }

    /// Returns as soon as the connection was lost more than `known` times.
    pub(super) async fn lost(&self, known: u64) {
        // An error means that the client has ended, which is a loss as well.
        let _ = self.losses.clone().wait_for(|losses| *losses > known).await;
    }

    /// Whether the connection stands at this moment.
    pub(super) fn check(&self, action: &'static str) -> Result<(), Error> {
        if self.losses.has_changed().is_err() {
            return Err(Error::Closed);
        }
        if self.client.connection_state() == State::Connected {
            return Ok(());
        }
        Err(self.unavailable(
            action,
            "the connection is lost, and is being made again".into(),
        ))
    }

    /// Waits until the connection stands.
    pub(super) async fn connected(&self) -> Result<(), Error> {
        let mut losses = self.losses.clone();
        while self.client.connection_state() != State::Connected {
            // async-nats drops events when too many come at once: the state is looked at again in any case.
            if let Ok(Err(_)) = timeout(Duration::from_secs(1), losses.changed()).await {
                return Err(Error::Closed);
            }
        }
        Ok(())
    }

    /// The error for something that waiting may help.
    pub(super) fn unavailable(
        &self,
        action: &'static str,
        source: Box<dyn std::error::Error + Send + Sync>,
    ) -> Error {
        Error::Unavailable {
            action,
            url: self.url.clone(),
            source,
        }
    }
}

fn connect_error(url: String, error: ConnectError) -> Error {
    match error.kind() {
        _ if let Some(reason) = tls::refusal(&error) => {
            refused(url, &format!("{reason}; {TLS_ADVICE}"))
        }
        ConnectErrorKind::Tls => refused(url, &format!("{error}; {TLS_ADVICE}")),
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => refused(
            url,
            "wrong credentials: check NATS_URL and NATS_CREDENTIALS",
        ),
        ConnectErrorKind::ServerParse => refused(url, "NATS_URL must begin with nats:// or tls://"),
        _ => Error::Unavailable {
            action: "connect",
            url,
            source: error.into(),
        },
    }
}

/// The URL as it may be shown.
pub(super) fn without_credentials(url: &Url) -> Url {
    let mut plain = url.clone();
    // An error means that such a URL cannot have credentials.
    let _ = plain.set_password(None);
    let _ = plain.set_username("");
    // NATS has no use for them, and whoever puts a password there means the same.
    plain.set_query(None);
    plain.set_fragment(None);
    plain
}

/// Where TLS is asked for, by the scheme or by certificates, there is no connection without it: the servers of a cluster
/// that are learnt from the first one come without a scheme.
fn secured(
    mut options: ConnectOptions,
    servers: &[Url],
    config: &JetStreamConfig,
) -> Result<ConnectOptions, String> {
    let (ca, identity) = (&config.nats_ca_file, &config.nats_cert_file);
    let is_asked_for = servers.iter().any(|url| url.scheme() == "tls");
    if is_asked_for || ca.is_some() || identity.is_some() {
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

/// Takes the credentials out of the URLs, the first ones that there are: async-nats writes its addresses to the log, and does not decode them.
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
    Error::Refused {
        action: "connect",
        url,
        reason: reason.to_owned(),
    }
}

/// Logs what happens to the connection and counts its losses.
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
            Event::ClientError(error) => debug!(url, %error, "queue not reached"),
            other => warn!(url, event = %other, "queue says"),
        }
        std::future::ready(())
    }
}
