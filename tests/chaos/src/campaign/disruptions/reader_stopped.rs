//! SIGSTOP of a fetcher beyond its lease, then SIGCONT: it continues with an object that another one reads.

use async_trait::async_trait;

use super::Disruption;
use crate::campaign::{assembly::LEASE, injector::Instance, plan::Mode, run::Run, step::Step};

pub(crate) struct ReaderStopped;

#[async_trait]
impl Disruption for ReaderStopped {
    fn name(&self) -> String {
        "SIGSTOP of a fetcher longer than its lease".to_owned()
    }

    async fn happen(&self, run: &mut Run, by: Instance) -> anyhow::Result<()> {
        run.stop_for_a_while(by, LEASE * 3);
        Ok(())
    }

    /// While it holds a lease.
    fn steps(&self, _mode: Mode) -> &'static [Step] {
        &[Step::Gaps, Step::Renew, Step::Finish]
    }

    fn is_of_programs(&self) -> bool {
        true
    }
}
