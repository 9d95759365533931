//! Faults during a load. Each test verifies that the fault happened while chunks were in flight, and that the result is as
//! without it.

use std::os::unix::process::ExitStatusExt;

use async_nats::jetstream;
use jetline_oracle::{Expected, catalogue::lines_with_bad_ones, database_state::Object, fold};
use jetline_testkit::{
    nats::{self, NatsServer},
    postgres::{PostgresServer, TemporaryDatabase},
    process::{Process, Signal},
    redis::{self, RedisServer},
};
use sea_orm::DatabaseTransaction;
use url::Url;

use crate::{
    deployment::{Deployment, finish, succeeded},
    metrics::value,
    wait::{TIMEOUT, until},
};

/// A deployment with objects of some hundred chunks, and the expected result.
struct Load {
    deployment: Deployment,
    expected: Expected,
}

impl Load {
    async fn shared(name: &str) -> Self {
        Self::of(name, &nats::shared(), &redis::shared()).await
    }

    async fn of(name: &str, nats: &Url, redis: &Url) -> Self {
        let database = TemporaryDatabase::create(name).await;
        Self::on(Deployment::of(name, nats, redis, database).await)
    }

    fn on(deployment: Deployment) -> Self {
        let contents: Vec<Vec<u8>> =
            (1..=3).map(|seed| lines_with_bad_ones(seed, 1200, 700, 50)).collect();
        deployment.put_all(&contents);
        Self { expected: fold(&contents), deployment }
    }

    /// Starts two writers and a fetcher, and holds them as `hold_at` does.
    async fn begin(&self, percent: i64) -> (Vec<Process>, Process, DatabaseTransaction) {
        let writers = self.deployment.writers(2);
        let fetcher = self.deployment.start("jetline-fetcher");
        (writers, fetcher, self.hold_at(percent).await)
    }

    /// Waits until this share of the lines, in percent, is committed, and blocks further commits.
    async fn hold_at(&self, percent: i64) -> DatabaseTransaction {
        let (deployment, total) = (&self.deployment, self.expected.total());
        until("a part of the lines is committed", async || {
            (deployment.ledger.lines().await.unwrap() * 100 >= total * percent).then_some(())
        })
        .await;
        let gate = deployment.ledger.close_products().await.unwrap();
        deployment.blocked().await;
        let committed = deployment.ledger.lines().await.unwrap();
        assert!(0 < committed && committed < total, "{committed} of {total}");
        gate
    }

    /// The job succeeds, and the result is as expected.
    async fn ends_well(&self, fetcher: Process) {
        succeeded(finish(fetcher));
        self.deployment.ledger.assert_holds(&self.expected).await;
    }
}

async fn open(gate: DatabaseTransaction) {
    gate.rollback().await.unwrap();
}

fn kill(mut process: Process) {
    process.signal(Signal::KILL);
    let status = process.wait(TIMEOUT).unwrap();
    assert_eq!(status.signal(), Some(9), "it ended before: {status}");
}

/// How many messages a stream has; `None` if it is missing.
async fn messages(nats: &Url, stream: &str) -> Option<u64> {
    let client = async_nats::connect(nats.as_str()).await.unwrap();
    let stream = jetstream::new(client).get_stream(stream).await.ok()?;
    Some(stream.cached_info().state.messages)
}

fn read_again(objects: &[Object]) -> bool {
    objects.iter().any(|object| object.readings > 1)
}

#[tokio::test]
async fn writers_killed_between_claim_and_commit() {
    let load = Load::shared("claim_and_commit").await;
    let (writers, fetcher, gate) = load.begin(20).await;
    for writer in writers {
        kill(writer);
    }
    open(gate).await;
    let _writers = load.deployment.writers(2);
    load.ends_well(fetcher).await;
}

#[tokio::test]
async fn writer_killed_between_commit_and_ack() {
    let mut nats = NatsServer::start().unwrap();
    let load = Load::of("commit_and_ack", &nats.url(), &redis::shared()).await;
    let deployment = &load.deployment;
    let writer = deployment.start("jetline-writer");
    let fetcher = deployment.start("jetline-fetcher");
    let gate = load.hold_at(20).await;
    let before = deployment.ledger.lines().await.unwrap();
    nats.stop();
    open(gate).await;
    until("chunks are committed that cannot be acked", async || {
        (deployment.ledger.lines().await.unwrap() > before).then_some(())
    })
    .await;
    kill(writer);
    nats.restart().unwrap();
    let (_writer, address) = deployment.serve("jetline-writer").await;
    load.ends_well(fetcher).await;
    // It may be last: its acknowledgement wait continues when everything else is committed.
    until("a committed chunk is redelivered", async || {
        let repeated = value(address, "jetline_chunks_repeated_total").await;
        repeated.filter(|count| *count > 0)
    })
    .await;
}

#[tokio::test]
async fn fetcher_killed_in_the_middle_of_an_object() {
    let mut load = Load::shared("fetcher").await;
    // A full stream stops the fetcher.
    load.deployment.set("NATS_MAX_BYTES", "40000");
    let deployment = &load.deployment;
    let (_writers, fetcher, gate) = load.begin(10).await;
    let objects = deployment.ledger.objects().await.unwrap();
    assert!(
        objects.iter().any(|object| object.state == "reading" && object.lines() > 0),
        "{objects:?}"
    );
    kill(fetcher);
    open(gate).await;
    load.ends_well(deployment.start("jetline-fetcher")).await;
    assert!(read_again(&deployment.ledger.objects().await.unwrap()));
}

#[tokio::test]
async fn writers_replaced_with_a_graceful_shutdown() {
    let load = Load::shared("replaced").await;
    let (writers, fetcher, gate) = load.begin(20).await;
    for writer in &writers {
        writer.signal(Signal::TERM);
    }
    open(gate).await;
    for writer in writers {
        succeeded(finish(writer));
    }
    let committed = load.deployment.ledger.lines().await.unwrap();
    assert!(committed < load.expected.total());
    let _writers = load.deployment.writers(1);
    load.ends_well(fetcher).await;
}

#[tokio::test]
async fn redis_flushed() {
    let redis = RedisServer::start().unwrap();
    let load = Load::of("flushed", &nats::shared(), &redis.url()).await;
    let ledger = &load.deployment.ledger;
    let (_writers, fetcher, gate) = load.begin(30).await;
    let epoch = ledger.epoch().await.unwrap();
    assert!(entries(&redis, &epoch) > 0);
    redis.flush_all().unwrap();
    assert_eq!(entries(&redis, &epoch), 0);
    open(gate).await;
    load.ends_well(fetcher).await;
    assert_ne!(ledger.epoch().await.unwrap(), epoch);
    assert!(read_again(&ledger.objects().await.unwrap()));
}

#[tokio::test]
async fn redis_restarted_from_a_snapshot_of_the_middle() {
    let mut redis = RedisServer::start().unwrap();
    let load = Load::of("snapshot", &nats::shared(), &redis.url()).await;
    let ledger = &load.deployment.ledger;
    let (_writers, fetcher, gate) = load.begin(10).await;
    redis.save().unwrap();
    let epoch = ledger.epoch().await.unwrap();
    let saved = entries(&redis, &epoch);
    open(gate).await;
    let gate = load.hold_at(40).await;
    redis.restart().unwrap();
    assert_eq!(ledger.epoch().await.unwrap(), epoch);
    assert!(saved > 0 && entries(&redis, &epoch) == saved);
    open(gate).await;
    load.ends_well(fetcher).await;
    assert_ne!(ledger.epoch().await.unwrap(), epoch);
    assert!(read_again(&ledger.objects().await.unwrap()));
}

/// How many keys of an epoch Redis has.
fn entries(redis: &RedisServer, epoch: &str) -> usize {
    let mut connection = redis.connection().unwrap();
    let keys: Vec<String> =
        ::redis::cmd("KEYS").arg(format!("*{epoch}*")).query(&mut connection).unwrap();
    keys.len()
}

#[tokio::test]
async fn jetstream_wiped() {
    let mut nats = NatsServer::start().unwrap();
    let load = Load::of("wiped", &nats.url(), &redis::shared()).await;
    let deployment = &load.deployment;
    let (_writers, fetcher, gate) = load.begin(20).await;
    until("every object is read to its end", async || {
        let objects = deployment.ledger.objects().await.unwrap();
        objects.iter().all(|object| object.total_lines.is_some()).then_some(())
    })
    .await;
    assert!(messages(&nats.url(), &deployment.stream).await > Some(0));
    nats.wipe_and_restart().unwrap();
    assert!(messages(&nats.url(), &deployment.stream).await < Some(5));
    open(gate).await;
    load.ends_well(fetcher).await;
    assert!(read_again(&deployment.ledger.objects().await.unwrap()));
}

#[tokio::test]
async fn nats_restarted() {
    let mut nats = NatsServer::start().unwrap();
    let load = Load::of("nats", &nats.url(), &redis::shared()).await;
    let deployment = &load.deployment;
    let (_writers, fetcher, gate) = load.begin(20).await;
    let pid = nats.pid();
    nats.restart().unwrap();
    assert_ne!(nats.pid(), pid);
    assert!(messages(&nats.url(), &deployment.stream).await > Some(0));
    open(gate).await;
    load.ends_well(fetcher).await;
}

#[tokio::test]
async fn postgres_crashed() {
    let mut postgres = PostgresServer::start().unwrap();
    let database = TemporaryDatabase::create_on(&postgres).await;
    let (nats, redis) = (nats::shared(), redis::shared());
    let load = Load::on(Deployment::of("crashed", &nats, &redis, database).await);
    let ledger = &load.deployment.ledger;
    let _writers = load.deployment.writers(2);
    let fetcher = load.deployment.start("jetline-fetcher");
    // The blocking transaction ends with the server.
    let _gate = load.hold_at(20).await;
    let (epoch, pid) = (ledger.epoch().await.unwrap(), postgres.pid());
    postgres.crash().unwrap();
    assert_ne!(postgres.pid(), pid);
    let objects = until("the database responds", async || ledger.objects().await.ok());
    let committed: i64 = objects.await.iter().map(Object::lines).sum();
    assert!(committed < load.expected.total());
    load.ends_well(fetcher).await;
    assert_ne!(ledger.epoch().await.unwrap(), epoch);
}
