//! Faults of the servers, and of objects in S3 while they are read.

use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use jetline_testkit::{
    nats::{NatsDamage, NatsServer},
    postgres::PostgresServer,
    redis::RedisServer,
};
use tokio::time::sleep;

use super::{DURATION, Disruption};
use crate::campaign::{
    injector::Instance,
    plan::{Mode, Plan},
    run::{Run, bucket, put},
    step::Step,
};

/// The age of Redis's snapshot when the server is killed and loads it.
const SNAPSHOT_AGE: Duration = Duration::from_millis(120);

/// How long Redis is split: enough for some changes of the epoch, whose delays grow.
const SPLIT: Duration = Duration::from_secs(3);

/// A fault of Redis.
pub(crate) enum Redis {
    /// FLUSHALL.
    Flushed,
    /// SIGKILL, then an empty server.
    Lost,
    /// SIGKILL, then a server with a snapshot from some claims before.
    Snapshot,
    /// Half of the writers use another server for a while: a partial failover.
    Split,
}

#[async_trait]
impl Disruption for Redis {
    fn name(&self) -> String {
        let name = match self {
            Self::Flushed => "Redis: FLUSHALL",
            Self::Lost => "Redis: killed, empty afterwards",
            Self::Snapshot => "Redis: killed, an old snapshot afterwards",
            Self::Split => "Redis: half of the writers at another server",
        };
        name.to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        let slot = run.slot().clone();
        match self {
            Self::Flushed => slot.redis(|redis| redis.flush_all())?,
            Self::Lost => slot.redis(RedisServer::restart_empty)?,
            Self::Snapshot => {
                slot.redis(|redis| redis.save())?;
                run.later.spawn(async move {
                    sleep(SNAPSHOT_AGE).await;
                    slot.redis(RedisServer::restart)
                });
            }
            Self::Split => {
                slot.split_redis(true)?;
                run.later.spawn(async move {
                    sleep(SPLIT).await;
                    slot.split_redis(false)
                });
            }
        }
        Ok(())
    }

    fn prepare(&self, plan: &mut Plan) {
        plan.dedup = true;
        if matches!(self, Self::Split) {
            plan.writers = plan.writers.max(2);
        }
    }
}

/// A fault of NATS.
pub(crate) enum Nats {
    /// SIGKILL, then the server with its store.
    Crashed,
    /// SIGKILL, then a server with an empty store.
    Wiped,
    /// A full disk for a while, then space and SIGKILL.
    DiskFull,
    /// The server is stopped, bytes of its messages are changed, then it is started.
    MessagesDamaged,
    /// The server is stopped, bytes of its consumers' state are changed, then it is started.
    ConsumersDamaged,
    /// The stream is deleted.
    StreamDeleted,
    /// All consumers of the stream are deleted.
    ConsumersDeleted,
}

#[async_trait]
impl Disruption for Nats {
    fn name(&self) -> String {
        let name = match self {
            Self::Crashed => "NATS: killed and started",
            Self::Wiped => "NATS: killed, its store wiped",
            Self::DiskFull => "NATS: disk full for a while",
            Self::MessagesDamaged => "NATS: messages in its store damaged",
            Self::ConsumersDamaged => "NATS: consumers' state damaged",
            Self::StreamDeleted => "NATS: stream deleted",
            Self::ConsumersDeleted => "NATS: consumer deleted",
        };
        name.to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        let slot = run.slot().clone();
        match self {
            Self::Crashed => slot.nats(NatsServer::restart)?,
            Self::Wiped => slot.nats(NatsServer::wipe_and_restart)?,
            Self::DiskFull => {
                slot.disk.fill()?;
                run.later.spawn(async move {
                    sleep(DURATION).await;
                    slot.disk.free()?;
                    // It does not write again by itself when there is space.
                    slot.nats(NatsServer::restart)
                });
            }
            Self::MessagesDamaged => {
                slot.nats(|nats| nats.damage_and_restart(NatsDamage::Messages))?;
            }
            Self::ConsumersDamaged => {
                slot.nats(|nats| nats.damage_and_restart(NatsDamage::Consumers))?;
            }
            Self::StreamDeleted => slot.delete_stream(&run.site.stream).await?,
            Self::ConsumersDeleted => slot.delete_consumers(&run.site.stream).await?,
        }
        Ok(())
    }
}

/// A fault of PostgreSQL.
pub(crate) enum Postgres {
    /// A fast shutdown, then a start.
    Restarted,
    /// An immediate shutdown, then recovery from the WAL.
    Crashed,
    /// SIGKILL of one backend: the server ends all others and recovers, with the same start time.
    BackendKilled,
    /// All connections to the database are terminated.
    BackendsTerminated,
}

#[async_trait]
impl Disruption for Postgres {
    fn name(&self) -> String {
        let name = match self {
            Self::Restarted => "PostgreSQL: restarted",
            Self::Crashed => "PostgreSQL: crashed, recovered",
            Self::BackendKilled => "PostgreSQL: a backend killed, recovered",
            Self::BackendsTerminated => "PostgreSQL: all connections terminated",
        };
        name.to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        match self {
            Self::Restarted => run.slot().postgres(PostgresServer::restart)?,
            Self::Crashed => run.slot().postgres(PostgresServer::crash)?,
            Self::BackendKilled => {
                let own = run.ledger.texts("SELECT pg_backend_pid()::text AS text").await?;
                let pid = own.first().context("no backend")?.parse()?;
                run.slot().postgres(|postgres| postgres.kill_backend(pid))?;
            }
            Self::BackendsTerminated => {
                let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE datname = current_database() AND pid <> pg_backend_pid()";
                run.ledger.run(sql).await?;
            }
        }
        Ok(())
    }
}

/// A change of an object of which a part was read.
pub(crate) enum Object {
    Overwritten,
    Deleted,
}

#[async_trait]
impl Disruption for Object {
    fn name(&self) -> String {
        let name = match self {
            Self::Overwritten => "object overwritten while it is read",
            Self::Deleted => "object deleted while it is read",
        };
        name.to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        let (slot, plan) = (run.slot(), &run.site.plan);
        let changing = plan.changing.as_ref().context("a plan without a changing object")?;
        match self {
            Self::Overwritten => put(slot, &bucket(plan), &changing.new, plan.files.len()).await,
            Self::Deleted => slot.s3.delete(&bucket(plan), &changing.new.key),
        }
        Ok(())
    }

    fn steps(&self, mode: Mode) -> &'static [Step] {
        mode.steps_of_reading()
    }

    fn changes_an_object(&self) -> bool {
        true
    }
}
