//! What goes wrong, and where.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::step::{Role, Step};

/// Something that goes wrong at the nth time that a step is taken in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) step: Step,
    pub(crate) nth: u32,
    pub(crate) kind: Kind,
}

/// What goes wrong at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// It is not taken, and fails.
    Error,
    /// It is taken, and fails all the same: the reply is lost.
    LostReply,
    /// It takes its time.
    Delay,
    /// It is taken twice.
    Twice,
    /// Whoever takes it crashes before.
    CrashBefore,
    /// Whoever takes it crashes after.
    CrashAfter,
    /// Something else breaks while it is held.
    Blow(Blow),
}

/// What breaks outside of the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Blow {
    /// FLUSHALL.
    RedisFlushed,
    /// SIGKILL, and an empty server again.
    RedisLost,
    /// SIGKILL, and a server with the snapshot that was taken at this moment some claims ago.
    RedisSnapshot,
    /// SIGKILL, and the server again with its store.
    NatsCrashed,
    /// SIGKILL, and a server with an empty store.
    NatsWiped,
    /// No room for a while, then room and SIGKILL.
    NatsDiskFull,
    /// No room for the file that is the database, for a while.
    DatabaseDiskFull,
    StreamDeleted,
    ConsumerDeleted,
    /// SIGKILL, bytes of its messages or of its consumers' state changed, and the server again.
    NatsMessagesDamaged,
    NatsConsumersDamaged,
    /// Half of the writers reach another server for a while: half of a failover.
    RedisSplit,
    /// A fast shutdown and a start.
    PostgresRestarted,
    /// An immediate shutdown, and recovery from the log.
    PostgresCrashed,
    BackendsTerminated,
    /// The network between a service and a server.
    Network(Role, Part, Trouble),
    /// The next answers of S3.
    S3(Answer),
    /// An object of which a part was read.
    ObjectOverwritten,
    ObjectDeleted,
    /// SIGSTOP of a program until its chunks are delivered to others, and SIGCONT.
    Stopped,
    /// SIGSTOP of a fetcher beyond its lease, and SIGCONT: it goes on with an object that another one reads.
    ReaderStopped,
    /// Everything that all services hold in memory: SIGKILL of all of them.
    AllKilled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Part {
    Postgres,
    Nats,
    Redis,
    S3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Trouble {
    /// All connections are reset.
    Cut,
    /// Nobody can connect for a while.
    Refused,
    /// Nothing passes for a while, and nobody is told.
    Stalled,
    /// Everything is late for a while.
    Slow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Answer {
    Status500,
    Status503,
    Truncated,
    Reset,
    Late,
    Trickle,
    /// The credentials have expired.
    Expired,
}

/// How long a step takes that is delayed: longer than most intervals of the services.
pub(crate) const DELAY: Duration = Duration::from_millis(700);

impl Kind {
    /// How a report calls it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Error => "error".to_owned(),
            Self::LostReply => "lost reply".to_owned(),
            Self::Delay => "delay".to_owned(),
            Self::Twice => "done twice".to_owned(),
            Self::CrashBefore => "crash before".to_owned(),
            Self::CrashAfter => "crash after".to_owned(),
            Self::Blow(blow) => blow.name(),
        }
    }

    /// Whether it falls after the step was taken.
    pub(crate) fn is_after(self) -> bool {
        matches!(self, Self::LostReply | Self::CrashAfter)
    }
}

impl Blow {
    /// All that can break, in a fixed order.
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
            let troubles = [
                Trouble::Cut,
                Trouble::Refused,
                Trouble::Stalled,
                Trouble::Slow,
            ];
            troubles.map(|trouble| Self::Network(*role, *part, trouble))
        }));
        all.extend(
            [
                Answer::Status500,
                Answer::Status503,
                Answer::Truncated,
                Answer::Reset,
                Answer::Late,
                Answer::Trickle,
                Answer::Expired,
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
            Self::Network(role, part, trouble) => {
                format!("network {role:?}–{part:?}: {trouble:?}").to_lowercase()
            }
            Self::S3(answer) => format!("S3 answers: {}", answer.name()),
            Self::ObjectOverwritten => "object overwritten while it is read".to_owned(),
            Self::ObjectDeleted => "object deleted while it is read".to_owned(),
            Self::Stopped => "SIGSTOP longer than the acknowledgement wait".to_owned(),
            Self::ReaderStopped => "SIGSTOP of a fetcher longer than its lease".to_owned(),
            Self::AllKilled => "SIGKILL of all services at once".to_owned(),
        }
    }
}

impl Answer {
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

/// Who talks to whom.
pub(crate) const LINKS: [(Role, Part); 6] = [
    (Role::Fetcher, Part::S3),
    (Role::Fetcher, Part::Nats),
    (Role::Fetcher, Part::Postgres),
    (Role::Writer, Part::Nats),
    (Role::Writer, Part::Redis),
    (Role::Writer, Part::Postgres),
];
