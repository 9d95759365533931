//! Export of traces to a collector: OTLP over HTTP, with protobuf.
//!
//! A thread of the SDK buffers up to 2,048 spans and sends them in batches. Further spans are dropped while the collector
//! is unavailable or slow. Ending a span never blocks.

use std::{env, time::Duration};

use anyhow::{Context, ensure};
use opentelemetry::{KeyValue, global};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    resource::{EnvResourceDetector, TelemetryResourceDetector},
    trace::SdkTracerProvider,
};
use url::Url;

use super::collector::Collector;
use crate::settings::{Invalid, SecretUrl};

pub(super) const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

/// How long the process may take at its end to send the last spans.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Sends the buffered spans when it is dropped.
#[derive(Debug)]
pub(super) struct Export(SdkTracerProvider);

impl Export {
    /// Starts the export of all spans. To be called once, in a tokio runtime.
    pub(super) fn start(endpoint: &SecretUrl, program: &'static str) -> anyhow::Result<Self> {
        let base = base_url(endpoint)?;
        check_protocol(env::var(PROTOCOL).ok().as_deref())?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new(&base)?)
            .with_endpoint(signal_url(&base))
            .with_protocol(Protocol::HttpBinary)
            .build()
            .context("cannot export traces")?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource(program))
            .build();
        global::set_tracer_provider(provider.clone());
        Ok(Self(provider))
    }
}

impl Drop for Export {
    /// Blocks this thread only: the runtime's threads send the spans.
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::warn!(%error, "export of the last spans failed");
        }
    }
}

fn base_url(endpoint: &SecretUrl) -> anyhow::Result<Url> {
    let url = endpoint.parse(ENDPOINT)?;
    ensure!(
        matches!(url.scheme(), "http" | "https") && url.has_host(),
        Invalid::new(format!("{ENDPOINT} does not begin with http:// or https:// and a host"))
    );
    Ok(without_credentials(url))
}

/// The SDK does not use them, but would log them.
fn without_credentials(mut url: Url) -> Url {
    if url.username().is_empty() && url.password().is_none() {
        return url;
    }
    tracing::warn!(
        "the user and password of {ENDPOINT} are not used: see OTEL_EXPORTER_OTLP_HEADERS"
    );
    // These fail only for URLs without a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// The variable is common to many programs, and may name a protocol that is not supported here.
fn check_protocol(protocol: Option<&str>) -> anyhow::Result<()> {
    ensure!(
        matches!(protocol, None | Some("" | "http/protobuf")),
        Invalid::new(format!("{PROTOCOL} is not http/protobuf, the only supported protocol"))
    );
    Ok(())
}

/// The URL for traces, below that of the collector.
fn signal_url(base: &Url) -> String {
    let mut url = base.clone();
    let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url.into()
}

/// The resource attributes of this process; the environment takes precedence.
fn resource(program: &'static str) -> Resource {
    let instance = format!("{:016x}", rand::random::<u64>());
    let resource = Resource::builder_empty()
        .with_service_name(program)
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance),
        ])
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_detector(Box::new(EnvResourceDetector::new()));
    match env::var(SERVICE_NAME) {
        Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
        _ => resource.build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(endpoint: &str) -> Result<Url, String> {
        base_url(&endpoint.to_owned().into()).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn traces_are_sent_below_the_url_of_the_collector() {
        for (endpoint, url) in [
            ("http://host:4318", "http://host:4318/v1/traces"),
            ("https://host/otlp/", "https://host/otlp/v1/traces"),
            ("http://ann:hunter2@host:4318", "http://host:4318/v1/traces"),
        ] {
            assert_eq!(signal_url(&base(endpoint).unwrap()), url);
        }
    }

    #[test]
    fn invalid_endpoint_is_reported_by_its_variable_only() {
        for endpoint in ["hunter2", "host:4318", "grpc://hunter2@host", "http://", ""] {
            let error = base(endpoint).unwrap_err();
            assert!(error.contains(ENDPOINT), "{endpoint}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn unsupported_protocol_is_refused() {
        for protocol in [None, Some(""), Some("http/protobuf")] {
            assert!(check_protocol(protocol).is_ok());
        }
        let error = check_protocol(Some("grpc")).unwrap_err().to_string();
        assert!(error.contains(PROTOCOL), "{error}");
    }
}
