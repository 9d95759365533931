//! NATS is stopped, bytes of its messages are changed, then it is started.

use async_trait::async_trait;
use jetline_testkit::nats::NatsDamage;

use super::Disruption;
use crate::campaign::{injector::Instance, run::Run};

pub(crate) struct NatsMessagesDamaged;

#[async_trait]
impl Disruption for NatsMessagesDamaged {
    fn name(&self) -> String {
        "NATS: messages in its store damaged".to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        run.slot().nats(|nats| nats.damage_and_restart(NatsDamage::Messages))
    }
}
