//! Faults outside the services. To add one: write a file with a type that implements [`Disruption`], and list it in [`all`].
//! Plans then contain it. A campaign of 1,000 runs fails if it never happens, and so do ten with `--fault` and its name. With another
//! fault, a seed has another plan.

mod all_killed;
mod backend_killed;
mod backends_terminated;
mod consumer_deleted;
mod nats_consumers_damaged;
mod nats_crashed;
mod nats_disk_full;
mod nats_messages_damaged;
mod nats_wiped;
mod network;
mod object_deleted;
mod object_overwritten;
mod postgres_crashed;
mod postgres_restarted;
mod reader_stopped;
mod redis_flushed;
mod redis_lost;
mod redis_snapshot;
mod redis_split;
mod s3_response;
mod stopped;
mod stream_deleted;

use std::{
    fmt::{self, Debug, Formatter},
    hash::{Hash, Hasher},
    time::Duration,
};

use async_trait::async_trait;

use self::s3_response::S3Response;
pub(super) use self::{
    network::Network, postgres_crashed::PostgresCrashed, redis_flushed::RedisFlushed,
    stream_deleted::StreamDeleted,
};
use super::{
    injector::Instance,
    plan::{Mode, Plan},
    run::Run,
    slot::Slot,
    step::Step,
};

/// All disruptions, with those that have parameters once for each value.
pub(super) fn all() -> Vec<&'static dyn Disruption> {
    let mut all: Vec<&'static dyn Disruption> = vec![
        &redis_flushed::RedisFlushed,
        &redis_lost::RedisLost,
        &redis_snapshot::RedisSnapshot,
        &redis_split::RedisSplit,
        &nats_crashed::NatsCrashed,
        &nats_wiped::NatsWiped,
        &nats_disk_full::NatsDiskFull,
        &nats_messages_damaged::NatsMessagesDamaged,
        &nats_consumers_damaged::NatsConsumersDamaged,
        &stream_deleted::StreamDeleted,
        &consumer_deleted::ConsumerDeleted,
        &postgres_restarted::PostgresRestarted,
        &postgres_crashed::PostgresCrashed,
        &backend_killed::BackendKilled,
        &backends_terminated::BackendsTerminated,
        &object_overwritten::ObjectOverwritten,
        &object_deleted::ObjectDeleted,
        &stopped::Stopped,
        &reader_stopped::ReaderStopped,
        &all_killed::AllKilled,
    ];
    all.extend(Network::all().iter().map(|fault| fault as &dyn Disruption));
    all.extend(S3Response::ALL.iter().map(|fault| fault as &dyn Disruption));
    all
}

/// How long a temporary disruption lasts: longer than the services' timeouts.
const DURATION: Duration = Duration::from_millis(1300);

/// A fault outside the services, which happens while a step is held.
#[async_trait]
pub(crate) trait Disruption: Send + Sync {
    /// Its name in reports, which no other one has.
    fn name(&self) -> String;

    /// Lets it happen, while a step of the instance is held. What takes time, or ends it, is spawned in `run.later`: the run waits
    /// for this method.
    async fn happen(&self, run: &mut Run, by: Instance) -> anyhow::Result<()>;

    /// The steps at which it is planned; empty for the usual ones.
    fn steps(&self, _mode: Mode) -> &'static [Step] {
        &[]
    }

    /// Whether it is planned only where services are processes.
    fn is_of_programs(&self) -> bool {
        false
    }

    /// Changes the plan of a run so that it can happen.
    fn prepare(&self, _plan: &mut Plan) {}

    /// Whether it changes an object while it is read: the plan then has one that may change.
    fn changes_an_object(&self) -> bool {
        false
    }

    /// How often it has had an effect so far, where it can happen without one.
    fn effects(&self, _slot: &Slot) -> Option<u64> {
        None
    }
}

impl Debug for dyn Disruption {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name())
    }
}

impl PartialEq for dyn Disruption {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for dyn Disruption {}

impl Hash for dyn Disruption {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_disruptions_have_one_name() {
        let names: Vec<String> = all().iter().map(|disruption| disruption.name()).collect();
        let unique: HashSet<&String> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
    }
}
