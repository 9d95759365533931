//! A full disk under NATS for a while, then space and SIGKILL.

use async_trait::async_trait;
use jetline_testkit::nats::NatsServer;
use tokio::time::sleep;

use super::{DURATION, Disruption};
use crate::campaign::{injector::Instance, run::Run};

pub(crate) struct NatsDiskFull;

#[async_trait]
impl Disruption for NatsDiskFull {
    fn name(&self) -> String {
        "NATS: disk full for a while".to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        let slot = run.slot().clone();
        slot.disk.fill()?;
        run.later.spawn(async move {
            sleep(DURATION).await;
            slot.disk.free()?;
            // It does not write again by itself when there is space.
            slot.nats(NatsServer::restart)
        });
        Ok(())
    }
}
