//! The stream is deleted.

use async_trait::async_trait;

use super::Disruption;
use crate::campaign::{injector::Instance, run::Run};

pub(crate) struct StreamDeleted;

#[async_trait]
impl Disruption for StreamDeleted {
    fn name(&self) -> String {
        "NATS: stream deleted".to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        run.slot().delete_stream(&run.site.stream).await
    }
}
