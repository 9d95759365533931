//! The monitoring endpoints of a process: `/healthz`, `/readyz` and `/metrics`.

use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Duration,
};

use clap::Args;
use metrics_exporter_prometheus::PrometheusHandle;
use poem::{
    Endpoint, EndpointExt, IntoResponse, Response, Route, endpoint::make, http::StatusCode,
};

use futures::future::BoxFuture;

use crate::{
    ConnectionLimits, Shutdown,
    healthcheck::healthcheck,
    serving::{self, Listening},
    settings::{address, required},
};

/// The timeout of a readiness check; then the process is not ready.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// Limits for few clients with short requests.
const LIMITS: ConnectionLimits = ConnectionLimits {
    connections: 64,
    header_bytes: 16 << 10,
    header_time: Duration::from_secs(10),
    idle_time: Duration::from_secs(75),
    stall_time: Duration::from_secs(10),
};

/// The monitoring address of a process without an API.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Observation")]
pub struct ObserveSettings {
    /// Address of `/healthz`, `/readyz` and `/metrics`, as in `0.0.0.0:9090`; not served when not set.
    #[arg(long, env, value_name = "ADDRESS", value_parser = address)]
    pub observe_listen: Option<SocketAddr>,
}

impl ObserveSettings {
    /// Checks whether the process that serves on the address is ready.
    pub async fn healthcheck(&self) -> anyhow::Result<ExitCode> {
        let purpose = "the monitoring address of the process to check";
        healthcheck(required(self.observe_listen, "OBSERVE_LISTEN", purpose)?).await
    }
}

/// A readiness check; an error says why the process is not ready.
type ReadinessCheck = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Health and metrics of a process, served in the background if `OBSERVE_LISTEN` is set: it is alive at once, and ready
/// once it is connected and while its check succeeds.
pub struct Observation {
    check: Arc<OnceLock<ReadinessCheck>>,
}

impl Observation {
    /// Starts to serve, before anything is connected.
    pub async fn start(
        settings: &ObserveSettings,
        metrics: PrometheusHandle,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let check = Arc::new(OnceLock::<ReadinessCheck>::new());
        if let Some(listen) = settings.observe_listen {
            let bound = bind(listen).await?;
            let watched = check.clone();
            let ready = move || {
                let watched = watched.clone();
                async move {
                    let check = watched.get().ok_or("starting: not connected yet")?;
                    check().await
                }
            };
            tokio::spawn(bound.serve(ready, metrics, shutdown.clone()));
        }
        Ok(Self { check })
    }

    /// Marks the process as connected: from now on it is ready while `check` succeeds.
    pub fn connected<Fut>(&self, check: impl Fn() -> Fut + Send + Sync + 'static)
    where
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        // Only the first call counts: a process connects once.
        self.check.get_or_init(|| Box::new(move || Box::pin(check())));
    }
}

/// Binds the port, so that a port in use is detected before anything else.
pub async fn bind(listen: SocketAddr) -> anyhow::Result<Bound> {
    let listening = serving::listen(listen, "OBSERVE_LISTEN").await?;
    Ok(Bound { listening })
}

/// The bound port, not served yet.
pub struct Bound {
    listening: Listening,
}

impl Bound {
    /// The bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listening.address()
    }

    /// Serves the endpoints until the soft shutdown. `ready` returns why the process is not ready.
    pub async fn serve<F, Fut>(self, ready: F, metrics: PrometheusHandle, shutdown: Shutdown)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        tracing::info!(address = %self.address(), "serving health and metrics");
        let routes = routes(ready, metrics);
        self.listening.serve(routes, LIMITS, &shutdown).await;
    }
}

/// The three endpoints as routes.
pub fn routes<F, Fut>(ready: F, metrics: PrometheusHandle) -> Route
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), String>> + Send + 'static,
{
    Route::new()
        .at("/healthz", poem::get(healthz()))
        .at("/readyz", poem::get(readyz(ready)))
        .at("/metrics", poem::get(exposition(metrics)))
}

/// Liveness: always 200.
#[must_use]
pub fn healthz() -> impl Endpoint + 'static {
    make(async |_| "alive\n")
}

/// Readiness: 200, or 503 with the reason, within a bounded time.
pub fn readyz<F, Fut>(ready: F) -> impl Endpoint + 'static
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), String>> + Send + 'static,
{
    let ready = Arc::new(ready);
    make(move |_| {
        let ready = ready.clone();
        async move {
            match checked(ready()).await {
                Ok(()) => "ready\n".into_response(),
                Err(reason) => not_ready(&reason),
            }
        }
    })
    .map_to_response()
}

/// The result of a readiness check, within a bounded time.
pub async fn checked(check: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let checked = tokio::time::timeout(READY_TIMEOUT, check).await;
    checked.unwrap_or_else(|_| Err(format!("no response within {READY_TIMEOUT:?}")))
}

fn not_ready(reason: &str) -> Response {
    let problem = serde_json::json!({
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": reason,
    });
    Response::builder()
        .status(StatusCode::SERVICE_UNAVAILABLE)
        .content_type("application/problem+json")
        .body(format!("{problem}\n"))
}

/// The metrics in Prometheus' text format.
#[must_use]
pub fn exposition(metrics: PrometheusHandle) -> impl Endpoint + 'static {
    make(move |_| {
        let text = metrics.render();
        async move { text.with_content_type("text/plain; version=0.0.4; charset=utf-8") }
    })
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use poem::test::TestClient;

    use super::*;

    fn client<F, Fut>(ready: F) -> TestClient<Route>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let recorder = PrometheusBuilder::new().build_recorder();
        TestClient::new(routes(ready, recorder.handle()))
    }

    #[tokio::test]
    async fn ready_process_serves_all_endpoints() {
        let client = client(async || Ok(()));
        for path in ["/healthz", "/readyz", "/metrics"] {
            client.get(path).send().await.assert_status_is_ok();
        }
    }

    #[tokio::test]
    async fn process_that_is_not_ready_is_alive_and_reports_the_reason() {
        let client = client(async || Err("the database is unavailable".to_owned()));
        client.get("/healthz").send().await.assert_status_is_ok();
        let response = client.get("/readyz").send().await;
        response.assert_status(StatusCode::SERVICE_UNAVAILABLE);
        response.assert_content_type("application/problem+json");
        let body = response.0.into_body().into_string().await.unwrap();
        assert!(body.contains("the database is unavailable"), "{body}");
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_check_that_hangs_times_out() {
        let client = client(std::future::pending::<Result<(), String>>);
        let response = client.get("/readyz").send().await;
        response.assert_status(StatusCode::SERVICE_UNAVAILABLE);
    }
}
