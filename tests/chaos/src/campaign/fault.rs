//! The faults.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::step::{Role, Step};

/// A fault at the nth execution of a step in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) step: Step,
    pub(crate) nth: u32,
    pub(crate) kind: Kind,
}

/// The kind of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// The step is not executed, and fails.
    Error,
    /// The step is executed and fails: the reply is lost.
    LostReply,
    /// The step is delayed.
    Delay,
    /// The step is executed twice.
    Twice,
    /// The instance crashes before the step.
    CrashBefore,
    /// The instance crashes after the step.
    CrashAfter,
    /// A disruption happens while the step is held.
    Disruption(Disruption),
}

/// A fault outside the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Disruption {
    /// FLUSHALL.
    RedisFlushed,
    /// SIGKILL, then an empty server.
    RedisLost,
    /// SIGKILL, then a server with a snapshot from some claims before.
    RedisSnapshot,
    /// SIGKILL, then the server with its store.
    NatsCrashed,
    /// SIGKILL, then a server with an empty store.
    NatsWiped,
    /// A full disk for a while, then space and SIGKILL.
    NatsDiskFull,
    /// A full disk under the SQLite database for a while.
    DatabaseDiskFull,
    StreamDeleted,
    ConsumerDeleted,
    /// Stopped, bytes of its messages or consumer state changed, then started.
    NatsMessagesDamaged,
    NatsConsumersDamaged,
    /// Half of the writers use another server for a while: a partial failover.
    RedisSplit,
    /// A fast shutdown, then a start.
    PostgresRestarted,
    /// An immediate shutdown, then recovery from the WAL.
    PostgresCrashed,
    BackendsTerminated,
    /// A fault of the network between a service and a server.
    Network(Role, Part, NetworkFault),
    /// A fault of the next responses of S3.
    S3(S3Response),
    /// An object of which a part was read.
    ObjectOverwritten,
    ObjectDeleted,
    /// SIGSTOP of a program until its chunks are redelivered to others, then SIGCONT.
    Stopped,
    /// SIGSTOP of a fetcher beyond its lease, then SIGCONT: it continues with an object that another one reads.
    ReaderStopped,
    /// SIGKILL of all services at once.
    AllKilled,
}

/// A server.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum,
)]
pub(crate) enum Part {
    Postgres,
    Nats,
    Redis,
    S3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum NetworkFault {
    /// All connections are reset.
    Reset,
    /// New connections are refused for a while.
    Refused,
    /// No data is forwarded for a while, without an error.
    Stalled,
    /// Everything is slow for a while.
    Slow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum S3Response {
    Status500,
    Status503,
    Truncated,
    Reset,
    Late,
    Trickle,
    /// The credentials have expired.
    Expired,
}

/// The delay of a delayed step: longer than most intervals of the services.
pub(crate) const DELAY: Duration = Duration::from_millis(700);

impl Kind {
    /// Its name in reports.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Error => "error".to_owned(),
            Self::LostReply => "lost reply".to_owned(),
            Self::Delay => "delay".to_owned(),
            Self::Twice => "repeated".to_owned(),
            Self::CrashBefore => "crash before".to_owned(),
            Self::CrashAfter => "crash after".to_owned(),
            Self::Disruption(disruption) => disruption.name(),
        }
    }

    /// Whether it happens after the step.
    pub(crate) fn is_after(self) -> bool {
        matches!(self, Self::LostReply | Self::CrashAfter)
    }
}

impl Disruption {
    /// All disruptions, in a fixed order.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![
            Self::RedisFlushed,
            Self::RedisLost,
            Self::RedisSnapshot,
            Self::NatsCrashed,
            Self::NatsWiped,
            Self::NatsDiskFull,
            Self::DatabaseDiskFull,
            Self::StreamDeleted,
            Self::ConsumerDeleted,
            Self::NatsMessagesDamaged,
            Self::NatsConsumersDamaged,
            Self::RedisSplit,
            Self::PostgresRestarted,
            Self::PostgresCrashed,
            Self::BackendsTerminated,
            Self::ObjectOverwritten,
            Self::ObjectDeleted,
            Self::Stopped,
            Self::ReaderStopped,
            Self::AllKilled,
        ];
        all.extend(LINKS.iter().flat_map(|(role, part)| {
            let faults = [
                NetworkFault::Reset,
                NetworkFault::Refused,
                NetworkFault::Stalled,
                NetworkFault::Slow,
            ];
            faults.map(|fault| Self::Network(*role, *part, fault))
        }));
        all.extend(
            [
                S3Response::Status500,
                S3Response::Status503,
                S3Response::Truncated,
                S3Response::Reset,
                S3Response::Late,
                S3Response::Trickle,
                S3Response::Expired,
            ]
            .map(Self::S3),
        );
        all
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::RedisFlushed => "Redis: FLUSHALL".to_owned(),
            Self::RedisLost => "Redis: killed, empty afterwards".to_owned(),
            Self::RedisSnapshot => "Redis: killed, an old snapshot afterwards".to_owned(),
            Self::NatsCrashed => "NATS: killed and started".to_owned(),
            Self::NatsWiped => "NATS: killed, its store wiped".to_owned(),
            Self::NatsDiskFull => "NATS: disk full for a while".to_owned(),
            Self::DatabaseDiskFull => "SQLite: disk full for a while".to_owned(),
            Self::StreamDeleted => "NATS: stream deleted".to_owned(),
            Self::ConsumerDeleted => "NATS: consumer deleted".to_owned(),
            Self::NatsMessagesDamaged => "NATS: messages in its store damaged".to_owned(),
            Self::NatsConsumersDamaged => "NATS: consumers' state damaged".to_owned(),
            Self::RedisSplit => "Redis: half of the writers at another server".to_owned(),
            Self::PostgresRestarted => "PostgreSQL: restarted".to_owned(),
            Self::PostgresCrashed => "PostgreSQL: crashed, recovered".to_owned(),
            Self::BackendsTerminated => "PostgreSQL: all connections terminated".to_owned(),
            Self::Network(role, part, fault) => {
                format!("network {role:?}–{part:?}: {fault:?}").to_lowercase()
            }
            Self::S3(response) => format!("S3 responses: {}", response.name()),
            Self::ObjectOverwritten => "object overwritten while it is read".to_owned(),
            Self::ObjectDeleted => "object deleted while it is read".to_owned(),
            Self::Stopped => "SIGSTOP longer than the acknowledgement wait".to_owned(),
            Self::ReaderStopped => "SIGSTOP of a fetcher longer than its lease".to_owned(),
            Self::AllKilled => "SIGKILL of all services at once".to_owned(),
        }
    }
}

impl S3Response {
    fn name(self) -> &'static str {
        match self {
            Self::Status500 => "500",
            Self::Status503 => "503",
            Self::Truncated => "truncated body",
            Self::Reset => "connection reset",
            Self::Late => "late",
            Self::Trickle => "a trickle",
            Self::Expired => "expired credentials",
        }
    }
}

/// The connections between services and servers.
pub(crate) const LINKS: [(Role, Part); 6] = [
    (Role::Fetcher, Part::S3),
    (Role::Fetcher, Part::Nats),
    (Role::Fetcher, Part::Postgres),
    (Role::Writer, Part::Nats),
    (Role::Writer, Part::Redis),
    (Role::Writer, Part::Postgres),
];
