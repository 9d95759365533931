//! Half of the writers use another Redis for a while: a partial failover.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use super::Disruption;
use crate::campaign::{injector::Instance, plan::Plan, run::Run};

/// Enough for some changes of the epoch, whose delays grow.
const SPLIT: Duration = Duration::from_secs(3);

pub(crate) struct RedisSplit;

#[async_trait]
impl Disruption for RedisSplit {
    fn name(&self) -> String {
        "Redis: half of the writers at another server".to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        let slot = run.slot().clone();
        slot.split_redis(true)?;
        run.later.spawn(async move {
            sleep(SPLIT).await;
            slot.split_redis(false)
        });
        Ok(())
    }

    fn prepare(&self, plan: &mut Plan) {
        plan.dedup = true;
        plan.writers = plan.writers.max(2);
    }
}
