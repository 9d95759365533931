//! The faults.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::step::{Role, Step};

/// Defines an enum. `NAMES` has its variants, except for those after `and`, with their names in reports.
macro_rules! named {
    ($(#[$of:meta])* $enum:ident { $($(#[$doc:meta])* $variant:ident: $name:literal,)* }
     and { $($(#[$more_doc:meta])* $more:ident($($field:ty),*),)* }) => {
        $(#[$of])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub(crate) enum $enum {
            $($(#[$doc])* $variant,)*
            $($(#[$more_doc])* $more($($field),*),)*
        }

        impl $enum {
            const NAMES: &[(Self, &str)] = &[$((Self::$variant, $name)),*];
        }
    };
}

fn name_of<T: Copy + PartialEq>(names: &[(T, &'static str)], variant: T) -> String {
    let name = names.iter().find(|(named, _)| *named == variant);
    name.map(|(_, name)| (*name).to_owned()).unwrap_or_default()
}

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

named! {
    /// A fault outside the services.
    Disruption {
        /// FLUSHALL.
        RedisFlushed: "Redis: FLUSHALL",
        /// SIGKILL, then an empty server.
        RedisLost: "Redis: killed, empty afterwards",
        /// SIGKILL, then a server with a snapshot from some claims before.
        RedisSnapshot: "Redis: killed, an old snapshot afterwards",
        /// SIGKILL, then the server with its store.
        NatsCrashed: "NATS: killed and started",
        /// SIGKILL, then a server with an empty store.
        NatsWiped: "NATS: killed, its store wiped",
        /// A full disk for a while, then space and SIGKILL.
        NatsDiskFull: "NATS: disk full for a while",
        /// A full disk under the SQLite database for a while.
        DatabaseDiskFull: "SQLite: disk full for a while",
        StreamDeleted: "NATS: stream deleted",
        ConsumerDeleted: "NATS: consumer deleted",
        /// Stopped, bytes of its messages or consumer state changed, then started.
        NatsMessagesDamaged: "NATS: messages in its store damaged",
        NatsConsumersDamaged: "NATS: consumers' state damaged",
        /// Half of the writers use another server for a while: a partial failover.
        RedisSplit: "Redis: half of the writers at another server",
        /// A fast shutdown, then a start.
        PostgresRestarted: "PostgreSQL: restarted",
        /// An immediate shutdown, then recovery from the WAL.
        PostgresCrashed: "PostgreSQL: crashed, recovered",
        BackendsTerminated: "PostgreSQL: all connections terminated",
        /// An object of which a part was read.
        ObjectOverwritten: "object overwritten while it is read",
        ObjectDeleted: "object deleted while it is read",
        /// SIGSTOP of a program until its chunks are redelivered to others, then SIGCONT.
        Stopped: "SIGSTOP longer than the acknowledgement wait",
        /// SIGSTOP of a fetcher beyond its lease, then SIGCONT: it continues with an object that another one reads.
        ReaderStopped: "SIGSTOP of a fetcher longer than its lease",
        /// SIGKILL of all services at once.
        AllKilled: "SIGKILL of all services at once",
    }
    and {
        /// A fault of the network between a service and a server.
        Network(Role, Part, NetworkFault),
        /// A fault of the next responses of S3.
        S3(S3Response),
    }
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

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum,
)]
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

named! {
    /// A wrong response of S3.
    S3Response {
        Status500: "500",
        Status503: "503",
        Truncated: "truncated body",
        Reset: "connection reset",
        Late: "late",
        Trickle: "a trickle",
        /// The credentials have expired.
        Expired: "expired credentials",
    }
    and {}
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
        let mut all: Vec<Self> = Self::NAMES.iter().map(|(disruption, _)| *disruption).collect();
        all.extend(LINKS.iter().flat_map(|(role, part)| {
            let faults = NetworkFault::value_variants().iter();
            faults.map(|fault| Self::Network(*role, *part, *fault))
        }));
        all.extend(S3Response::NAMES.iter().map(|(response, _)| Self::S3(*response)));
        all
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Network(role, part, fault) => {
                format!("network {role:?}–{part:?}: {fault:?}").to_lowercase()
            }
            Self::S3(response) => {
                format!("S3 responses: {}", name_of(S3Response::NAMES, response))
            }
            named => name_of(Self::NAMES, named),
        }
    }
}

/// The connections between services and servers.
pub(crate) const LINKS: [(Role, Part); 8] = [
    (Role::Fetcher, Part::S3),
    (Role::Fetcher, Part::Nats),
    (Role::Fetcher, Part::Postgres),
    (Role::Writer, Part::Nats),
    (Role::Writer, Part::Redis),
    (Role::Writer, Part::Postgres),
    (Role::Courier, Part::Nats),
    (Role::Courier, Part::Postgres),
];
