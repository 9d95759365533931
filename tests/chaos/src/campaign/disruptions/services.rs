//! Services that are stopped or killed from outside.

use async_trait::async_trait;

use super::Disruption;
use crate::campaign::{
    assembly::{ACK_WAIT, LEASE},
    injector::Instance,
    plan::Mode,
    run::Run,
    service::Service,
    step::Step,
};

/// A signal to services.
pub(crate) enum Services {
    /// SIGSTOP of one until its chunks are redelivered to others, then SIGCONT.
    Stopped,
    /// SIGSTOP of a fetcher beyond its lease, then SIGCONT: it continues with an object that another one reads.
    ReaderStopped,
    /// SIGKILL of all at once.
    AllKilled,
}

#[async_trait]
impl Disruption for Services {
    fn name(&self) -> String {
        let name = match self {
            Self::Stopped => "SIGSTOP longer than the acknowledgement wait",
            Self::ReaderStopped => "SIGSTOP of a fetcher longer than its lease",
            Self::AllKilled => "SIGKILL of all services at once",
        };
        name.to_owned()
    }

    async fn happen(&self, run: &mut Run, by: Instance) -> anyhow::Result<()> {
        match self {
            Self::Stopped => run.stop_for_a_while(by, ACK_WAIT * 2),
            Self::ReaderStopped => run.stop_for_a_while(by, LEASE * 3),
            Self::AllKilled => run.services.iter_mut().for_each(Service::crash),
        }
        Ok(())
    }

    fn steps(&self, _mode: Mode) -> &'static [Step] {
        match self {
            // Not those of a courier: one that continues after its lease has expired may send an older content, which
            // only its receiver can tell.
            Self::Stopped => {
                &[Step::Admit, Step::Check, Step::Rows, Step::Entries, Step::CommitChunks]
            }
            // While it holds a lease.
            Self::ReaderStopped => &[Step::Gaps, Step::Renew, Step::Finish],
            Self::AllKilled => &[],
        }
    }

    fn is_of_programs(&self) -> bool {
        matches!(self, Self::Stopped | Self::ReaderStopped)
    }
}
