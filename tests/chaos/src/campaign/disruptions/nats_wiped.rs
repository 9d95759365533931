//! SIGKILL of NATS, then a server with an empty store.

use async_trait::async_trait;
use jetline_testkit::nats::NatsServer;

use super::Disruption;
use crate::campaign::{injector::Instance, run::Run};

pub(crate) struct NatsWiped;

#[async_trait]
impl Disruption for NatsWiped {
    fn name(&self) -> String {
        "NATS: killed, its store wiped".to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        run.slot().nats(NatsServer::wipe_and_restart)
    }
}
