//! A fast shutdown of PostgreSQL, then a start.

use async_trait::async_trait;
use jetline_testkit::postgres::PostgresServer;

use super::Disruption;
use crate::campaign::{injector::Instance, run::Run};

pub(crate) struct PostgresRestarted;

#[async_trait]
impl Disruption for PostgresRestarted {
    fn name(&self) -> String {
        "PostgreSQL: restarted".to_owned()
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        run.slot().postgres(PostgresServer::restart)
    }
}
