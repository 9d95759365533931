//! Wrong responses of S3.

use std::time::Duration;

use async_trait::async_trait;
use jetline_testkit::s3::Fault;

use super::{DURATION, Disruption};
use crate::campaign::{injector::Instance, plan::Mode, run::Run, slot::Slot, step::Step};

/// A fault of the next responses with data.
#[derive(Clone, Copy)]
pub(crate) enum S3Response {
    Status500,
    Status503,
    Truncated,
    Reset,
    Late,
    Trickle,
    ExpiredCredentials,
}

impl S3Response {
    pub(super) const ALL: &[Self] = &[
        Self::Status500,
        Self::Status503,
        Self::Truncated,
        Self::Reset,
        Self::Late,
        Self::Trickle,
        Self::ExpiredCredentials,
    ];
}

#[async_trait]
impl Disruption for S3Response {
    fn name(&self) -> String {
        let response = match self {
            Self::Status500 => "500",
            Self::Status503 => "503",
            Self::Truncated => "truncated body",
            Self::Reset => "connection reset",
            Self::Late => "late",
            Self::Trickle => "a trickle",
            Self::ExpiredCredentials => "expired credentials",
        };
        format!("S3 responses: {response}")
    }

    async fn happen(&self, run: &mut Run, _by: Instance) -> anyhow::Result<()> {
        let (times, fault) = match self {
            Self::Status500 => (3, Fault::Status(500)),
            Self::Status503 => (3, Fault::Status(503)),
            Self::Truncated => (3, Fault::CutBody(700)),
            Self::Reset => (3, Fault::Reset),
            Self::Late => (1, Fault::Delay(DURATION)),
            Self::Trickle => (2, Fault::Trickle { block: 400, every: Duration::from_millis(20) }),
            Self::ExpiredCredentials => (3, Fault::refusal(400, "ExpiredToken", "injected fault")),
        };
        run.slot().s3.fail_next_gets(times, &fault);
        Ok(())
    }

    fn effects(&self, slot: &Slot) -> Option<u64> {
        Some(slot.s3.fired().all())
    }

    fn steps(&self, mode: Mode) -> &'static [Step] {
        mode.steps_of_reading()
    }
}
