//! Faults outside the services. To add one: add a variant to a type that implements [`Disruption`], or write such a
//! type, and list it in [`all`]. Plans then contain it. A campaign of 1,000 runs fails if it never happens, and so do
//! ten with `--fault` and its name. With another fault, a seed has another plan.

mod network;
mod s3_response;
mod servers;
mod services;

use std::{
    fmt::{self, Debug, Formatter},
    hash::{Hash, Hasher},
    time::Duration,
};

use async_trait::async_trait;

pub(super) use self::{
    network::Network,
    servers::{Nats, Postgres, Redis},
};
use self::{s3_response::S3Response, servers::Object, services::Services};
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
        &Redis::Flushed,
        &Redis::Lost,
        &Redis::Snapshot,
        &Redis::Split,
        &Nats::Crashed,
        &Nats::Wiped,
        &Nats::DiskFull,
        &Nats::MessagesDamaged,
        &Nats::ConsumersDamaged,
        &Nats::StreamDeleted,
        &Nats::ConsumersDeleted,
        &Postgres::Restarted,
        &Postgres::Crashed,
        &Postgres::BackendKilled,
        &Postgres::BackendsTerminated,
        &Object::Overwritten,
        &Object::Deleted,
        &Services::Stopped,
        &Services::ReaderStopped,
        &Services::AllKilled,
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
