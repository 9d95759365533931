//! The HTTP client for the trace collector.

use std::{
    error::Error,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::Context;
use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::{runtime::Handle, time::timeout};
use url::Url;

use crate::settings::redacted;

/// The timeout of a request.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum size of a response, which is a status with a short text.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The HTTP client of the exporter. It logs once when exporting fails, and when it works again.
#[derive(Debug)]
pub(super) struct Collector {
    http: Http,
    runtime: Handle,
    url: String,
    is_failing: AtomicBool,
}

impl Collector {
    /// To be called in a tokio runtime.
    pub(super) fn new(url: &Url) -> anyhow::Result<Self> {
        let connector = HttpsConnectorBuilder::new();
        let connector = if url.scheme() == "https" {
            connector
                .with_provider_and_native_roots(ring::default_provider())
                .context("cannot read the certificates of this machine")?
        } else {
            connector.with_tls_config(without_roots()?)
        };
        let connector = connector.https_or_http().enable_http1().build();
        Ok(Self {
            http: Client::builder(TokioExecutor::new()).build(connector),
            runtime: Handle::current(),
            url: redacted(url),
            is_failing: AtomicBool::new(false),
        })
    }

    fn note(&self, failure: Option<&(dyn Error + 'static)>) {
        let was_failing = self.is_failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(error) if !was_failing => {
                tracing::warn!(
                    error,
                    url = self.url,
                    "export traces failed, they are dropped meanwhile"
                );
            }
            None if was_failing => {
                tracing::info!(url = self.url, "export traces works again");
            }
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    /// Sends on our runtime: the SDK's thread has none.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let exchange = async move { timeout(RESPONSE_TIMEOUT, exchange(http, request)).await };
        let answered = match self.runtime.spawn(exchange).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) => Err(format!("no response within {RESPONSE_TIMEOUT:?}").into()),
            // The runtime is shutting down, and with it the process.
            Err(error) => return Err(error.into()),
        };
        match &answered {
            Ok(answer) if answer.status().is_success() => self.note(None),
            Ok(answer) => self.note(Some(&*HttpError::from(format!("status {}", answer.status())))),
            Err(error) => self.note(Some(&**error)),
        }
        answered
    }
}

async fn exchange(http: Http, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let answer = http.request(request.map(Full::new)).await?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// A TLS configuration for the connector, which plain HTTP does not use.
fn without_roots() -> anyhow::Result<ClientConfig> {
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(config)
}
