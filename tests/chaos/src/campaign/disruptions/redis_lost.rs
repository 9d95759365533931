//! SIGKILL of Redis, then an empty server.

use async_trait::async_trait;
use jetline_testkit::redis::RedisServer;

use super::Disruption;
use crate::campaign::{injector::Instance, plan::Plan, run::Run};

pub(crate) struct RedisLost;

#[async_trait]
impl Disruption for RedisLost {
    fn name(&self) -> String {
        "Redis: killed, empty afterwards".to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        run.slot().redis(RedisServer::restart_empty)
    }

    fn prepare(&self, plan: &mut Plan) {
        plan.dedup = true;
    }
}
