//! `healthcheck`: whether a process on this machine is ready, for container engines: their images need no other program.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, client::conn::http1::handshake, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long the process may take to answer: longer than it lets a readiness check take.
const ANSWER: Duration = Duration::from_secs(4);

/// The command that every service has besides its own work.
#[derive(clap::Subcommand, Clone, Copy, Debug)]
pub enum HealthCommand {
    /// Ask the service that runs with the same settings whether it is ready; exit status 0 if it is
    Healthcheck,
}

/// Asks the process that listens on `listen` for `/readyz`; an error says why it is not ready.
pub async fn healthcheck(listen: SocketAddr) -> anyhow::Result<()> {
    let address = reachable(listen);
    let asked = tokio::time::timeout(ANSWER, ask(address)).await;
    asked
        .map_err(|_| anyhow::anyhow!("no answer within {ANSWER:?}"))
        .flatten()
        .with_context(|| format!("http://{address}/readyz"))
}

/// A process that listens on every address is asked at the loopback one.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn ask(address: SocketAddr) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address)
        .await
        .context("nothing listens there")?;
    let (mut requests, connection) = handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/readyz")
        .header(HOST, address.to_string())
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let answer = requests.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        anyhow::Ok((status, body))
    };
    tokio::pin!(connection);
    let (status, body) = tokio::select! {
        answered = exchange => answered?,
        ended = &mut connection => {
            ended?;
            bail!("the connection was closed without an answer");
        }
    };
    if status.is_success() {
        return Ok(());
    }
    bail!("not ready ({status}): {}", detail(&body))
}

/// What a problem document says, or the whole body where it is none.
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

    /// The outcome of a health check of a process whose readiness is `ready`.
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
        checked.map_err(|error| format!("{error:#}"))
    }

    #[tokio::test]
    async fn ready_process_is_healthy() {
        assert_eq!(check(Ok(())).await, Ok(()));
    }

    #[tokio::test]
    async fn process_that_is_not_ready_is_unhealthy_for_its_own_reason() {
        let error = check(Err("the database is away".to_owned()))
            .await
            .unwrap_err();
        assert!(error.contains("503"), "{error}");
        assert!(error.ends_with("the database is away"), "{error}");
    }

    #[tokio::test]
    async fn absent_process_is_unhealthy() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = format!("{:#}", healthcheck(address).await.unwrap_err());
        assert!(error.contains("nothing listens there"), "{error}");
        assert!(error.contains(&address.to_string()), "{error}");
    }

    #[test]
    fn process_that_listens_everywhere_is_asked_at_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:9090", "127.0.0.1:9090"),
            ("[::]:9090", "[::1]:9090"),
            ("10.0.0.7:80", "10.0.0.7:80"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
