//! All consumers of the stream are deleted.

use async_trait::async_trait;

use super::Disruption;
use crate::campaign::{injector::Instance, run::Run};

pub(crate) struct ConsumerDeleted;

#[async_trait]
impl Disruption for ConsumerDeleted {
    fn name(&self) -> String {
        "NATS: consumer deleted".to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        run.slot().delete_consumers(&run.site.stream).await
    }
}
