//! FLUSHALL.

use async_trait::async_trait;

use super::Disruption;
use crate::campaign::{injector::Instance, plan::Plan, run::Run};

pub(crate) struct RedisFlushed;

#[async_trait]
impl Disruption for RedisFlushed {
    fn name(&self) -> String {
        "Redis: FLUSHALL".to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        run.slot().redis(|redis| redis.flush_all())
    }

    fn prepare(&self, plan: &mut Plan) {
        plan.dedup = true;
    }
}
