//! Servers that are unavailable when a program starts.

use std::net::Ipv4Addr;

use jetline_oracle::{catalogue::lines, fold};
use jetline_testkit::{
    nats::NatsServer,
    postgres::{PostgresServer, TemporaryDatabase},
    process::free_port,
    redis::RedisServer,
};
use tokio::net::TcpListener;

use crate::{
    deployment::{Deployment, failed, finish, succeeded},
    wait::until,
};

#[tokio::test]
async fn unavailable_server_is_named_by_its_setting_without_credentials() {
    let mut deployment = Deployment::shared("unavailable").await;
    deployment.set("STARTUP_TIMEOUT", "1s");
    for (setting, scheme, programs) in [
        ("NATS_URL", "nats://", &["jetline-fetcher", "jetline-writer", "jetline"][..]),
        ("REDIS_URL", "redis://", &["jetline-writer", "jetline"]),
        (
            "DATABASE_URL",
            "postgres://",
            &["jetline-fetcher", "jetline-writer", "jetline-migrate", "jetline"],
        ),
    ] {
        let url = format!("{scheme}ann:hunter2@127.0.0.1:{}/x", free_port().unwrap());
        let right = deployment.set(setting, &url);
        let started: Vec<_> = programs.iter().map(|name| (name, deployment.start(name))).collect();
        for (name, process) in started {
            let (content, output) = finish(process);
            assert!(!content, "{name} without {setting}: {output}");
            assert!(output.contains("cannot start without"), "{name}: {output}");
            assert!(output.contains(&format!("({setting})")), "{name}: {output}");
            assert!(!output.contains("hunter2"), "{name}: {output}");
        }
        deployment.set(setting, &right);
    }
}

#[tokio::test]
async fn servers_may_start_after_the_programs() {
    let (mut nats, mut redis) = (NatsServer::start().unwrap(), RedisServer::start().unwrap());
    let mut postgres = PostgresServer::start().unwrap();
    let database = TemporaryDatabase::create_on(&postgres).await;
    let deployment = Deployment::of("late", &nats.url(), &redis.url(), database).await;
    let content = lines(1, 100, 50);
    deployment.put("a.jsonl", 0, &content);
    postgres.stop().unwrap();
    nats.stop();
    redis.stop();
    let writer = deployment.start("jetline-writer");
    let fetcher = deployment.start("jetline-fetcher");
    until("both retry a server", async || {
        let waits = |output: String| output.contains("connect failed, retrying");
        (waits(writer.output()) && waits(fetcher.output())).then_some(())
    })
    .await;
    postgres.start_again().unwrap();
    nats.restart().unwrap();
    redis.restart().unwrap();
    succeeded(finish(fetcher));
    deployment.ledger.assert_holds(&fold(&[&content])).await;
}

#[tokio::test]
async fn database_without_migrations_is_reported() {
    let deployment = Deployment::shared("unmigrated").await;
    deployment.ledger.remove_all_tables().await.unwrap();
    for name in ["jetline-fetcher", "jetline-writer"] {
        let output = failed(finish(deployment.start(name)));
        assert!(output.contains("jetline-migrate"), "{output}");
        assert!(output.contains("run jetline-migrate"), "{output}");
    }
}

#[tokio::test]
async fn port_in_use_ends_the_program_before_anything_is_read() {
    let deployment = Deployment::shared("port").await;
    deployment.put("a.jsonl", 0, &lines(1, 10, 10));
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for name in ["jetline", "jetline-api"] {
        let output = failed(finish(deployment.start_with(name, &["--listen", &address])));
        let message = format!("cannot listen on {address} (LISTEN)");
        assert!(output.contains(&message), "{output}");
    }
    assert_eq!((deployment.s3.lists(), deployment.s3.gets()), (0, 0));
    assert!(deployment.ledger.objects().await.unwrap().is_empty());
}

#[tokio::test]
async fn standalone_program_runs_with_servers_too() {
    let deployment = Deployment::shared("real_parts").await;
    let content = lines(1, 200, 50);
    deployment.put("a.jsonl", 0, &content);
    succeeded(finish(deployment.start_with("jetline", &["--exit", "--listen", "127.0.0.1:0"])));
    deployment.ledger.assert_holds(&fold(&[&content])).await;
}
