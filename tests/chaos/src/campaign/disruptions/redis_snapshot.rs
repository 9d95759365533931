//! SIGKILL of Redis, then a server with a snapshot from some claims before.

use std::time::Duration;

use async_trait::async_trait;
use jetline_testkit::redis::RedisServer;
use tokio::time::sleep;

use super::Disruption;
use crate::campaign::{injector::Instance, plan::Plan, run::Run};

/// The age of the snapshot when the server is killed and loads it.
const SNAPSHOT_AGE: Duration = Duration::from_millis(120);

pub(crate) struct RedisSnapshot;

#[async_trait]
impl Disruption for RedisSnapshot {
    fn name(&self) -> String {
        "Redis: killed, an old snapshot afterwards".to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        let slot = run.slot().clone();
        slot.redis(|redis| redis.save())?;
        run.later.spawn(async move {
            sleep(SNAPSHOT_AGE).await;
            slot.redis(RedisServer::restart)
        });
        Ok(())
    }

    fn prepare(&self, plan: &mut Plan) {
        plan.dedup = true;
    }
}
