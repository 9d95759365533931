//! All connections to the database are terminated.

use async_trait::async_trait;

use super::Disruption;
use crate::campaign::{injector::Instance, run::Run};

pub(crate) struct BackendsTerminated;

#[async_trait]
impl Disruption for BackendsTerminated {
    fn name(&self) -> String {
        "PostgreSQL: all connections terminated".to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()";
        Ok(run.ledger.run(sql).await?)
    }
}
