//! The faults.

use std::time::Duration;

use super::{disruptions::Disruption, step::Step};

/// A fault at the nth execution of a step in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) step: Step,
    pub(crate) nth: u32,
    pub(crate) kind: Kind,
}

/// The kind of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The step is not executed, and fails.
    Error,
    /// The step is executed and fails: the reply is lost.
    LostReply,
    /// The step is delayed.
    Delay,
    /// The step is executed twice.
    Twice,
    /// The instance crashes before the step.
    CrashBefore,
    /// The instance crashes after the step.
    CrashAfter,
    /// The disk under the database of an embedded run is full for a while.
    DiskFull,
    /// A disruption happens while the step is held.
    Disruption(&'static dyn Disruption),
}

/// The delay of a delayed step: longer than most intervals of the services.
pub(crate) const DELAY: Duration = Duration::from_millis(700);

impl Kind {
    /// Its name in reports.
    pub(crate) fn name(self) -> String {
        let name = match self {
            Self::Error => "error",
            Self::LostReply => "lost reply",
            Self::Delay => "delay",
            Self::Twice => "repeated",
            Self::CrashBefore => "crash before",
            Self::CrashAfter => "crash after",
            Self::DiskFull => "SQLite: disk full for a while",
            Self::Disruption(disruption) => return disruption.name(),
        };
        name.to_owned()
    }

    /// Whether it happens after the step.
    pub(crate) fn is_after(self) -> bool {
        matches!(self, Self::LostReply | Self::CrashAfter)
    }
}
