//! A destination whose variables have values: sends messages to it, and classifies the answers.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use anyhow::{Context, anyhow, ensure};
use chrono::{DateTime, Utc};
use jetline_datasets::{Dataset, Destination, Template};
use jetline_runtime::tls;
use reqwest::{
    Client, Response, StatusCode,
    header::{CONTENT_TYPE, LOCATION, RETRY_AFTER},
    redirect::Policy,
    retry,
};
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer};
use standardwebhooks::{
    HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook,
};
use url::Url;

use crate::{
    CourierSettings,
    address::{self, PublicOnly},
    message::Message,
};

/// The header with the sequence.
const SEQUENCE: &str = "sequence";

/// Maximum number of bytes of an answer that are read, so that the connection can be used again.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Maximum number of bytes of an answer that are kept.
const SHOWN_BYTES: usize = 512;

/// The prefix of secrets, as in Standard Webhooks.
const SECRET_PREFIX: &str = "whsec_";

/// The longest time that `Retry-After` is obeyed.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// The answer of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It has the content.
    Acknowledged(u16),
    /// It refuses the content.
    Refused { status: u16, error: String },
    /// It wants nothing any more.
    Gone { error: String },
    /// It is not available, or does not say what it did.
    Unavailable { status: Option<u16>, error: String, retry_after: Option<Duration> },
}

/// Certificates and TLS settings of all destinations.
#[derive(Clone)]
pub(crate) struct Tls(ClientConfig);

impl Tls {
    /// Trusts what the machine trusts, and the CAs of the file.
    pub(crate) fn new(settings: &CourierSettings) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = &settings.deliver_ca_file {
            let pem = tls::certificates(file, "DELIVER_CA_FILE").map_err(anyhow::Error::msg)?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                roots.add(certificate?).context("DELIVER_CA_FILE: a certificate cannot be used")?;
            }
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // reqwest takes the configuration as it is, and would else offer no HTTP/2.
        config.alpn_protocols = vec!["h2".into(), "http/1.1".into()];
        Ok(Self(config))
    }
}

/// A destination that can be delivered to.
pub(crate) struct Target {
    pub(crate) dataset: Arc<Dataset>,
    pub(crate) destination: Destination,
    url: Url,
    webhook: Option<Webhook>,
    client: Client,
    is_private_allowed: bool,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.destination.name, self.dataset.name)
    }
}

impl Target {
    /// Fails where a variable has no value, or not such a one as is needed; the error names it and not the value.
    pub(crate) fn new(
        dataset: &Arc<Dataset>,
        destination: &Destination,
        settings: &CourierSettings,
        Tls(tls): &Tls,
        variable: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let named = || format!("destination {} of {}", destination.name, dataset.name);
        let value = |template: &Template| {
            template.expand(&variable).map_err(|name| {
                anyhow!("{}: the variable {name} is not set: {template} needs it", named())
            })
        };
        let url = value(&destination.url)?;
        let url: Url =
            url.parse().with_context(|| format!("{}: {} is no URL", named(), destination.url))?;
        ensure!(
            matches!(url.scheme(), "http" | "https") && url.has_host(),
            "{}: {} must begin with https:// or http://, and name a host",
            named(),
            destination.url
        );
        let webhook = destination.secret.as_ref().map(|secret| {
            let key = value(secret)?;
            let is_secret = |key: &str| key.starts_with(SECRET_PREFIX) && key.len() > SECRET_PREFIX.len();
            let webhook = Some(&key).filter(|key| is_secret(key)).and_then(|key| Webhook::new(key).ok());
            webhook.with_context(|| {
                format!("{}: {secret} must be {SECRET_PREFIX} and a key in base64, as `echo whsec_$(openssl rand -base64 32)` makes one", named())
            })
        });
        let mut client = Client::builder()
            .user_agent(concat!("jetline/", env!("CARGO_PKG_VERSION")))
            .timeout(settings.deliver_timeout)
            .redirect(Policy::none())
            // Each attempt is one request, and its address is checked: no proxy connects to another one.
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            .pool_max_idle_per_host(destination.concurrency.get() as usize)
            .tls_backend_preconfigured(tls.clone());
        if !settings.deliver_private {
            client = client.dns_resolver(PublicOnly);
        }
        Ok(Self {
            dataset: dataset.clone(),
            destination: destination.clone(),
            url,
            webhook: webhook.transpose()?,
            client: client.build().context("cannot create the HTTP client")?,
            is_private_allowed: settings.deliver_private,
        })
    }

    /// The labels of its metrics.
    pub(crate) fn labels(&self) -> [(&'static str, String); 2] {
        let Self { dataset, destination, .. } = self;
        [("dataset", dataset.name.clone()), ("destination", destination.name.clone())]
    }

    /// Sends a message once.
    pub(crate) async fn send(&self, message: Message) -> Answer {
        let unavailable = |error| Answer::Unavailable { status: None, error, retry_after: None };
        if !self.is_private_allowed
            && let Err(error) = address::check(&self.url)
        {
            return unavailable(error.to_string());
        }
        let Message { id, sequence, body } = message;
        let now = Utc::now();
        let timestamp = now.timestamp();
        let signature = self.webhook.as_ref().map(|key| key.sign(&id, timestamp, &body));
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(HEADER_WEBHOOK_ID, id)
            .header(HEADER_WEBHOOK_TIMESTAMP, timestamp)
            .header(SEQUENCE, sequence);
        match signature {
            Some(Ok(signature)) => request = request.header(HEADER_WEBHOOK_SIGNATURE, signature),
            Some(Err(error)) => return unavailable(format!("sign failed: {error}")),
            None => {}
        }
        match request.body(body).send().await {
            Ok(response) => answer(response, now).await,
            Err(error) => unavailable(chain(&error.without_url())),
        }
    }
}

async fn answer(response: Response, now: DateTime<Utc>) -> Answer {
    let status = response.status();
    let headers = response.headers();
    let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|text| self::retry_after(text, now));
    // Without its path, which may be a secret.
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.map(|location| match location.parse::<Url>() {
        Ok(url) => url.origin().ascii_serialization(),
        Err(_) => "another path".to_owned(),
    });
    let start = start(response).await;
    let code = status.as_u16();
    if status.is_success() {
        return Answer::Acknowledged(code);
    }
    let mut parts = vec![format!("it answered {status}")];
    if let Some(location) = location.filter(|_| status.is_redirection()) {
        parts = vec![format!("it answered {status} to {location}")];
        parts.push("redirects are not followed".to_owned());
    }
    parts.extend(Some(shortened(&start)).filter(|start| !start.is_empty()));
    let error = parts.join(": ");
    match status {
        StatusCode::GONE => Answer::Gone { error },
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Answer::Unavailable { status: Some(code), error, retry_after }
        }
        _ if status.is_server_error() => {
            Answer::Unavailable { status: Some(code), error, retry_after }
        }
        _ => Answer::Refused { status: code, error },
    }
}

/// The start of an answer. The rest is read where it is short, and discarded.
async fn start(mut response: Response) -> Vec<u8> {
    let (mut start, mut bytes) = (Vec::new(), 0);
    // An error or a timeout after the status does not change what the status says.
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes += chunk.len();
        let missing = SHOWN_BYTES.saturating_sub(start.len()).min(chunk.len());
        start.extend_from_slice(&chunk[..missing]);
        if bytes > MAX_ANSWER_BYTES {
            break;
        }
    }
    start
}

fn shortened(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The time of a `Retry-After`: seconds, or a date. It is limited: a server's clock may be wrong.
fn retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let text = text.trim();
    let after = if let Ok(seconds) = text.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let date = DateTime::parse_from_rfc2822(text).ok()?;
        (date.to_utc() - now).to_std().unwrap_or_default()
    };
    Some(after.min(MAX_RETRY_AFTER))
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        texts.push(cause.to_string());
        next = cause.source();
    }
    texts.dedup();
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_limited() {
        let now = "2026-11-27T12:00:00Z".parse().unwrap();
        for (text, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("-1", None),
            ("soon", None),
            ("99999999999999999999", None),
            ("86400", Some(3600)),
            ("Fri, 27 Nov 2026 12:00:30 GMT", Some(30)),
            ("Fri, 27 Nov 2020 12:00:30 GMT", Some(0)),
            ("Sun, 27 Dec 2099 12:00:00 GMT", Some(3600)),
        ] {
            let after = retry_after(text, now);
            assert_eq!(after, seconds.map(Duration::from_secs), "{text}");
        }
    }
}
