//! Faults of the network between a service and a server.

use std::{sync::LazyLock, time::Duration};

use async_trait::async_trait;
use clap::ValueEnum;
use jetline_testkit::proxy::Toxic;
use tokio::time::sleep;

use super::{DURATION, Disruption};
use crate::campaign::{
    injector::Instance,
    plan::{Mode, Plan},
    run::Run,
    slot::{LINKS, Link, Part, Slot},
    step::{Role, Step},
};

/// A fault of one of the connections.
pub(crate) struct Network {
    link: Link,
    fault: NetworkFault,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum NetworkFault {
    /// All connections are reset.
    Reset,
    /// New connections are refused for a while.
    Refused,
    /// No data is forwarded for a while, without an error.
    Stalled,
    /// Everything is slow for a while.
    Slow,
}

impl Network {
    /// The fetcher waits for data longer than its lease lasts.
    pub(crate) const S3_STALLED: &Self =
        &Self { link: (Role::Fetcher, Part::S3), fault: NetworkFault::Stalled };

    /// All faults of all connections.
    pub(super) fn all() -> &'static [Self] {
        static ALL: LazyLock<Vec<Network>> = LazyLock::new(|| {
            let faults = NetworkFault::value_variants();
            let of = |link| faults.iter().map(move |fault| Network { link, fault: *fault });
            LINKS.into_iter().flat_map(of).collect()
        });
        &ALL
    }
}

#[async_trait]
impl Disruption for Network {
    fn name(&self) -> String {
        let Self { link: (role, part), fault } = self;
        format!("network {role:?}–{part:?}: {fault:?}").to_lowercase()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        let (slot, link) = (run.slot().clone(), self.link);
        let toxic = match self.fault {
            NetworkFault::Reset => {
                slot.link(link).reset_connections();
                return Ok(());
            }
            NetworkFault::Refused => Toxic::Refuse,
            NetworkFault::Stalled => Toxic::Stall,
            NetworkFault::Slow => {
                Toxic::Slow { delay: Duration::from_millis(15), bytes_per_second: 200_000 }
            }
        };
        slot.link(link).set(toxic);
        run.later.spawn(async move {
            sleep(DURATION).await;
            slot.link(link).set(Toxic::None);
            Ok(())
        });
        Ok(())
    }

    fn steps(&self, mode: Mode) -> &'static [Step] {
        match self.link {
            (_, Part::S3) => mode.steps_of_reading(),
            (Role::Courier, _) => &[Step::FindDue, Step::WriteLeases, Step::WriteOutcomes],
            _ => &[],
        }
    }

    fn prepare(&self, plan: &mut Plan) {
        plan.dedup |= self.link.1 == Part::Redis;
    }

    /// It has one where it meets a connection, a byte or a caller.
    fn effects(&self, slot: &Slot) -> Option<u64> {
        Some(slot.link(self.link).faults())
    }
}
