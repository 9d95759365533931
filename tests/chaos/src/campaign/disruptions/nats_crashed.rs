//! SIGKILL of NATS, then the server with its store.

use async_trait::async_trait;
use jetline_testkit::nats::NatsServer;

use super::Disruption;
use crate::campaign::{injector::Instance, run::Run};

pub(crate) struct NatsCrashed;

#[async_trait]
impl Disruption for NatsCrashed {
    fn name(&self) -> String {
        "NATS: killed and started".to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        run.slot().nats(NatsServer::restart)
    }
}
