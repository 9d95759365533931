//! An immediate shutdown of PostgreSQL, then recovery from the WAL.

use async_trait::async_trait;
use jetline_testkit::postgres::PostgresServer;

use super::Disruption;
use crate::campaign::{injector::Instance, run::Run};

pub(crate) struct PostgresCrashed;

#[async_trait]
impl Disruption for PostgresCrashed {
    fn name(&self) -> String {
        "PostgreSQL: crashed, recovered".to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        run.slot().postgres(PostgresServer::crash)
    }
}
