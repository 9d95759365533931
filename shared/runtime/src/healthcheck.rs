//! `healthcheck`: checks a process on this machine, for container engines, so that the image needs no other program.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, client::conn::http1::handshake, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The timeout of the request: longer than that of the readiness check itself.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(4);

/// The command that every service has.
#[derive(clap::Subcommand, Clone, Copy, Debug)]
pub enum HealthCommand {
    /// Check whether the service that runs with the same settings is ready; exit status 0 if it is
    Healthcheck,
}

/// Requests `/readyz` of the process that listens on `listen`; an error says why it is not ready.
pub async fn healthcheck(listen: SocketAddr) -> anyhow::Result<ExitCode> {
    let address = reachable(listen);
    let checked = tokio::time::timeout(RESPONSE_TIMEOUT, request(address)).await;
    checked
        .map_err(|_| anyhow::anyhow!("no response within {RESPONSE_TIMEOUT:?}"))
        .flatten()
        .with_context(|| format!("http://{address}/readyz"))
        .map(|()| ExitCode::SUCCESS)
}

/// The address to connect to: loopback for a process that listens on every address.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn request(address: SocketAddr) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).await.context("no process listens there")?;
    let (mut requests, connection) = handshake(TokioIo::new(stream)).await?;
    let request =
        Request::get("/readyz").header(HOST, address.to_string()).body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = requests.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::Ok((status, body))
    };
    tokio::pin!(connection);
    let (status, body) = tokio::select! {
        response = exchange => response?,
        ended = &mut connection => {
            ended?;
            bail!("the connection was closed without a response");
        }
    };
    if status.is_success() {
        return Ok(());
    }
    bail!("not ready ({status}): {}", detail(&body))
}

/// The detail of a problem document, or the whole body of another one.
fn detail(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let problem: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    let detail = problem.and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()));
    detail.unwrap_or_else(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::{Shutdown, observe};

    /// The result of a health check of a process whose readiness is `ready`.
    async fn check(ready: Result<(), String>) -> Result<(), String> {
        let shutdown = Shutdown::new();
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let ready = move || std::future::ready(ready.clone());
        let bound = observe::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = bound.address();
        let serving = tokio::spawn(bound.serve(ready, metrics, shutdown.clone()));
        let checked = healthcheck(address).await;
        shutdown.soft.cancel();
        serving.await.unwrap();
        checked.map(drop).map_err(|error| format!("{error:#}"))
    }

    #[tokio::test]
    async fn ready_process_is_healthy() {
        assert_eq!(check(Ok(())).await, Ok(()));
    }

    #[tokio::test]
    async fn process_that_is_not_ready_is_unhealthy_with_its_reason() {
        let error = check(Err("the database is unavailable".to_owned())).await.unwrap_err();
        assert!(error.contains("503"), "{error}");
        assert!(error.ends_with("the database is unavailable"), "{error}");
    }

    #[tokio::test]
    async fn missing_process_is_unhealthy() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = format!("{:#}", healthcheck(address).await.unwrap_err());
        assert!(error.contains("no process listens there"), "{error}");
        assert!(error.contains(&address.to_string()), "{error}");
    }

    #[test]
    fn process_that_listens_on_every_address_is_checked_at_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:9090", "127.0.0.1:9090"),
            ("[::]:9090", "[::1]:9090"),
            ("10.0.0.7:80", "10.0.0.7:80"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
