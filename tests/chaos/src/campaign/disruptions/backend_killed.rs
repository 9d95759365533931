//! SIGKILL of one backend: PostgreSQL ends all others and recovers, with the same start time.

use anyhow::Context;
use async_trait::async_trait;

use super::Disruption;
use crate::campaign::{injector::Instance, run::Run};

pub(crate) struct BackendKilled;

#[async_trait]
impl Disruption for BackendKilled {
    fn name(&self) -> String {
        "PostgreSQL: a backend killed, recovered".to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        let own = run.ledger.texts("SELECT pg_backend_pid()::text AS text").await?;
        let pid = own.first().context("no backend")?.parse()?;
        run.slot().postgres(|postgres| postgres.kill_backend(pid))
    }
}
