//! Liveness, readiness and shutdown, as container engines and orchestrators use them.

use std::net::{Ipv4Addr, SocketAddr};

use jetline_testkit::{
    http, nats,
    postgres::{PostgresServer, TemporaryDatabase},
    process::{Process, free_port},
    programs::{PROGRAMS, Program},
    redis,
};

use crate::{
    deployment::{Deployment, failed, finish, succeeded, terminate},
    wait::{logs, until},
};

/// The services that listen, and the option of their address.
fn services() -> impl Iterator<Item = (&'static str, &'static str)> {
    let services = PROGRAMS.into_iter().filter(|program| program.name != "jetline");
    services.filter_map(|service| Some((service.name, service.listen?)))
}

/// An address that listens on all interfaces, as in a container.
fn everywhere() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, free_port().unwrap()).into()
}

/// The status and output of the health check of a service.
fn healthcheck(deployment: &Deployment, name: &str, flag: &str, at: SocketAddr) -> (bool, String) {
    finish(deployment.start_with(name, &[flag, &at.to_string(), "healthcheck"]))
}

#[tokio::test]
async fn service_is_healthy_until_its_database_is_unavailable() {
    let mut postgres = PostgresServer::start().unwrap();
    let database = TemporaryDatabase::create_on(&postgres).await;
    let mut deployment =
        Deployment::of("health", &nats::shared(), &redis::shared(), database).await;
    deployment.set("WATCH", "1h");
    let started: Vec<(&str, &str, SocketAddr, Process)> = services()
        .map(|(name, flag)| {
            let at = everywhere();
            let (well, words) = healthcheck(&deployment, name, flag, at);
            assert!(!well, "{name} is well before it is started");
            assert!(words.contains("no process listens there"), "{name}: {words}");
            let process = deployment.start_with(name, &[flag, &at.to_string()]);
            (name, flag, at, process)
        })
        .collect();
    for (name, flag, at, _) in &started {
        until("the service is well", async || {
            healthcheck(&deployment, name, flag, *at).0.then_some(())
        })
        .await;
    }
    postgres.stop().unwrap();
    for (name, flag, at, _) in &started {
        let words = until("the service is not well", async || {
            let (well, words) = healthcheck(&deployment, name, flag, *at);
            (!well).then_some(words)
        })
        .await;
        assert!(words.contains("not ready (503"), "{name}: {words}");
    }
    postgres.start_again().unwrap();
    for (name, flag, at, process) in &started {
        until("the service is well again", async || {
            healthcheck(&deployment, name, flag, *at).0.then_some(())
        })
        .await;
        let log = process.output();
        let asked = log.lines().filter(|line| line.contains("/readyz"));
        let routine = asked.filter(|line| line.contains("status=200")).count();
        assert_eq!(routine, 0, "{name} logs that nothing is wrong: {log}");
    }
}

#[tokio::test]
async fn service_that_retries_a_server_is_alive_and_ends_at_a_signal() {
    let mut deployment = Deployment::shared("waits").await;
    let unavailable = format!("postgres://127.0.0.1:{}/x", free_port().unwrap());
    deployment.set("DATABASE_URL", &unavailable);
    let connects_when_used = ["jetline", "jetline-api"];
    for Program { name, listen: flag } in PROGRAMS {
        if connects_when_used.contains(&name) {
            continue;
        }
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
        let listen = at.to_string();
        let flags: Vec<&str> = flag.into_iter().flat_map(|flag| [flag, &listen]).collect();
        let process = deployment.start_with(name, &flags);
        logs(&process, "connect failed, retrying").await;
        if flag.is_some() {
            assert_eq!(http::get(at, "/healthz", &[]).await.unwrap().status, 200, "{name}");
            let ready = http::get(at, "/readyz", &[]).await.unwrap();
            assert_eq!(ready.status, 503, "{name}");
            assert!(ready.body.contains("starting"), "{name}: {}", ready.body);
        }
        let (content, output) = terminate(process);
        assert!(!content, "{name}: {output}");
        assert!(output.contains("shutdown before the start"), "{name}: {output}");
        assert!(!output.contains("cannot start without"), "{name}: {output}");
    }
}

#[tokio::test]
async fn health_that_is_not_served_differs_from_unhealthy() {
    let deployment = Deployment::shared("unwatched").await;
    for name in ["jetline-fetcher", "jetline-writer"] {
        let words = failed(finish(deployment.start_with(name, &["healthcheck"])));
        assert!(words.contains("OBSERVE_LISTEN is not set"), "{words}");
    }
}

#[tokio::test]
async fn empty_variable_is_unset() {
    let mut deployment = Deployment::shared("nothing").await;
    for name in ["WATCH", "OBSERVE_LISTEN", "NATS_CREDENTIALS", "LOG_FORMAT"] {
        deployment.set(name, "");
    }
    succeeded(deployment.load());
    deployment.set("NATS_URL", "");
    let output = failed(finish(deployment.start("jetline-writer")));
    assert!(output.contains("NATS_URL is not set"), "{output}");
}
