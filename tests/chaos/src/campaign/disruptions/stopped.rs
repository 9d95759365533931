//! SIGSTOP of a program until its chunks are redelivered to others, then SIGCONT.

use async_trait::async_trait;

use super::Disruption;
use crate::campaign::{assembly::ACK_WAIT, injector::Instance, plan::Mode, run::Run, step::Step};

pub(crate) struct Stopped;

#[async_trait]
impl Disruption for Stopped {
    fn name(&self) -> String {
        "SIGSTOP longer than the acknowledgement wait".to_owned()
    }

    async fn happen(&self, run: &mut Run, by: Instance) -> anyhow::Result<()> {
        run.stop_for_a_while(by, ACK_WAIT * 2);
        Ok(())
    }

    /// A courier that continues after its lease has expired may send an older content, which only its receiver can tell.
    fn steps(&self, _mode: Mode) -> &'static [Step] {
        &[Step::Admit, Step::Check, Step::Rows, Step::Entries, Step::CommitChunks]
    }

    fn is_of_programs(&self) -> bool {
        true
    }
}
