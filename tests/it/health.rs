//! What a container engine or an orchestrator asks: is it alive, is it ready, does it end when it is told to.

use std::net::{Ipv4Addr, SocketAddr};

use jetline_testkit::{
    nats,
    postgres::{Database, PostgresServer},
    process::{Process, Signal, free_port},
    redis,
};

use crate::{
    deployment::{Deployment, finish},
    http::try_get,
    patience::until,
};

/// The services, and the setting that says where each of them is asked.
const SERVICES: [(&str, &str); 3] = [
    ("jetline-fetcher", "--observe-listen"),
    ("jetline-writer", "--observe-listen"),
    ("jetline-api", "--listen"),
];

/// An address that listens everywhere, as in a container.
fn everywhere() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, free_port().unwrap()).into()
}

/// Whether the service at an address says of itself that it is well, and its words.
fn healthcheck(deployment: &Deployment, name: &str, flag: &str, at: SocketAddr) -> (bool, String) {
    finish(deployment.start_with(name, &[flag, &at.to_string(), "healthcheck"]))
}

#[tokio::test]
async fn service_is_well_from_its_start_until_its_database_is_away() {
    let mut postgres = PostgresServer::start().unwrap();
    let database = Database::create_on(&postgres).await;
    let mut deployment =
        Deployment::of("health", &nats::shared(), &redis::shared(), database).await;
    deployment.set("WATCH", "1h");
    let started: Vec<(&str, &str, SocketAddr, Process)> = SERVICES
        .into_iter()
        .map(|(name, flag)| {
            let at = everywhere();
            let (well, words) = healthcheck(&deployment, name, flag, at);
            assert!(!well, "{name} is well before it is started");
            assert!(words.contains("nothing listens there"), "{name}: {words}");
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
async fn service_that_waits_for_a_server_is_alive_and_ends_when_it_is_told_to() {
    let mut deployment = Deployment::shared("waits").await;
    let away = format!("postgres://127.0.0.1:{}/x", free_port().unwrap());
    deployment.set("DATABASE_URL", &away);
    for (name, flag) in [
        ("jetline-fetcher", Some("--observe-listen")),
        ("jetline-writer", Some("--observe-listen")),
        ("jetline-migrate", None),
    ] {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
        let listen = at.to_string();
        let flags: Vec<&str> = flag.into_iter().flat_map(|flag| [flag, &listen]).collect();
        let process = deployment.start_with(name, &flags);
        until("it waits for the database", async || {
            process
                .output()
                .contains("waiting for a server")
                .then_some(())
        })
        .await;
        if flag.is_some() {
            assert_eq!(try_get(at, "/healthz", &[]).unwrap().status, 200, "{name}");
            let ready = try_get(at, "/readyz", &[]).unwrap();
            assert_eq!(ready.status, 503, "{name}");
            assert!(ready.body.contains("starting"), "{name}: {}", ready.body);
        }
        process.signal(Signal::TERM);
        let (content, output) = finish(process);
        assert!(!content, "{name}: {output}");
        assert!(output.contains("asked to end before"), "{name}: {output}");
        assert!(!output.contains("cannot start without"), "{name}: {output}");
    }
}

#[tokio::test]
async fn health_that_nobody_serves_is_told_apart_from_bad_health() {
    let deployment = Deployment::shared("unwatched").await;
    for name in ["jetline-fetcher", "jetline-writer"] {
        let (well, words) = finish(deployment.start_with(name, &["healthcheck"]));
        assert!(!well, "{words}");
        assert!(words.contains("OBSERVE_LISTEN is not set"), "{words}");
    }
}

#[tokio::test]
async fn variable_that_is_set_to_nothing_is_not_set() {
    let mut deployment = Deployment::shared("nothing").await;
    for name in ["WATCH", "OBSERVE_LISTEN", "NATS_CREDENTIALS", "LOG_FORMAT"] {
        deployment.set(name, "");
    }
    let (complete, output) = deployment.load();
    assert!(complete, "{output}");
    deployment.set("NATS_URL", "");
    let (content, output) = finish(deployment.start("jetline-writer"));
    assert!(!content, "{output}");
    assert!(output.contains("NATS_URL is not set"), "{output}");
}
