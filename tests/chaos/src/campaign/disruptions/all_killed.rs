//! SIGKILL of all services at once.

use async_trait::async_trait;

use super::Disruption;
use crate::campaign::{injector::Instance, run::Run, service::Service};

pub(crate) struct AllKilled;

#[async_trait]
impl Disruption for AllKilled {
    fn name(&self) -> String {
        "SIGKILL of all services at once".to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        run.services.iter_mut().for_each(Service::crash);
        Ok(())
    }
}
