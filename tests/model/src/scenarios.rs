//! The scenarios: for each rule a smallest one in which it matters.

use crate::{
    Mode,
    input::{Fault, Scenario},
    rule::Rule,
};
use Fault::{
    Crash, CrashInBegin, Dead, FailOver, Flush, LoseStream, Redeliver, Replay, Restart, Restore,
    Suspect, Vanish,
};

/// All scenarios, each of which is visited completely.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let mut scenarios = vec![
        in_order("two processes", &["xA xB", "xA"], &[Crash], 1),
        Scenario::new("crash in begin", &["xA xB"], &[CrashInBegin, Flush], 2),
        Scenario::new("overwritten", &["xA xB", "xA"], &[LoseStream, Vanish], 2),
    ];
    for rule in Rule::ALL {
        let of_rule = of(rule);
        if scenarios.iter().all(|one| one.name != of_rule.name) {
            scenarios.push(of_rule);
        }
    }
    scenarios
}

/// Larger ones, for the night.
#[must_use]
pub fn large() -> Vec<Scenario> {
    vec![
        Scenario::new("large order", &["xA xB", "xA xB"], &[Crash, Redeliver, LoseStream], 2),
        Scenario::new("large losses", &["xA xB", "xA"], &[Flush, Restart, FailOver, Crash], 3),
        Scenario::new("large restore", &["xA xB", "xA"], &[Restore], 1),
        Scenario::new("large refusals", &["xA xR", "xR xA"], &[Crash, Redeliver, Flush], 2),
        Scenario::new("large failures", &["xA xB", "xA"], &[Crash, Dead, Vanish, Flush], 3),
        Scenario::new("large replays", &["xA xB", "xA"], &[Replay, Flush], 1),
    ]
}

/// A scenario in which a rule matters.
#[must_use]
pub fn of(rule: Rule) -> Scenario {
    match rule {
        Rule::Settled | Rule::Stored => Scenario::new("repeated content", &["xA xA"], &[Crash], 1),
        Rule::Raise | Rule::Guard => {
            Scenario::new("order", &["xA xB xA"], &[Crash, Redeliver, LoseStream], 2)
        }
        Rule::Superseded | Rule::Atomic => {
            Scenario::new("superseded", &["xA xB", "xA"], &[Crash], 1)
        }
        Rule::Transaction | Rule::Once => Scenario {
            counts: true,
            ..Scenario::new("counts", &["xA xB", "xB"], &[Crash, Redeliver, Flush], 2)
        },
        Rule::Repeated => Scenario {
            batch: 2,
            ..Scenario::new("refused in a batch", &["xA xR"], &[Redeliver, Crash], 1)
        },
        Rule::Epoch | Rule::Flushed => {
            Scenario::new("flush", &["xA xB xA"], &[Flush, Redeliver], 2)
        }
        Rule::Restarted => Scenario::new("restart", &["xA xB xA"], &[Restart], 1),
        Rule::FailedOver => Scenario::new("fail over", &["xA xB xA"], &[FailOver], 1),
        Rule::Unique => Scenario::new("number given twice", &["xA xB xA"], &[Restore], 1),
        Rule::Forget => Scenario::new("two losses", &["xA", "xB xA"], &[Flush], 2),
        Rule::Base => Scenario::new("late duplicate", &["xA xB", "xA"], &[Redeliver, Flush], 2),
        Rule::Recovery => Scenario::new("ahead", &["xA", "xB", "xA"], &[Flush], 1),
        Rule::Restored => Scenario::new("restore", &["xA", "xA"], &[Restore], 1),
        Rule::Admission => Scenario {
            any_order: true,
            writers: 1,
            ..Scenario::new("another object", &["xA,xA", "xB"], &[Restore, Crash], 2)
        },
        Rule::DeadNotClaimed => Scenario {
            batch: 2,
            writers: 2,
            ..Scenario::new("dead and delivered", &["xA xB"], &[Dead, Redeliver], 2)
        },
        Rule::Incarnation => Scenario {
            any_order: true,
            mode: Mode::Off,
            ..Scenario::new("another object, off", &["xA", "xB"], &[Restore], 1)
        },
        Rule::Waiting | Rule::Refusal => Scenario::new("refused", &["xA", "xR"], &[Crash], 1),
        Rule::WaitingForOwn | Rule::LostClaim => {
            Scenario::new("dead", &["xA xB"], &[Crash, Dead], 2)
        }
        Rule::Unclaimed => Scenario {
            writers: 1,
            ..Scenario::new("dead between", &["xA,yA", "xB zB yB"], &[Crash, Dead], 3)
        },
        Rule::AtWatermark => {
            Scenario::new("dead above", &["xA", "xB xA"], &[Crash, Dead, Flush], 3)
        }
        Rule::FailedEndsEpoch => Scenario::new("dead claim", &["xA xB", "xB"], &[Crash, Dead], 2),
        Rule::ForgottenStays => Scenario {
            max_rejects: Some(0),
            ..Scenario::new("reject limit", &["xA", "y! xB xA"], &[Flush], 2)
        },
        Rule::SuspectStaysForgotten => Scenario {
            max_rejects: Some(0),
            writers: 1,
            ..Scenario::new("reject limit, tried alone", &["xA", "y! xB xA"], &[Flush, Suspect], 2)
        },
        Rule::Later => {
            Scenario { counts: true, ..Scenario::new("replay", &["xA", "xB"], &[Replay], 1) }
        }
        Rule::ReplayEndsEpoch => Scenario {
            writers: 1,
            ..Scenario::new("replay of a dead chunk", &["xA", "yB"], &[Dead, Replay], 2)
        },
        Rule::Tombstone => Scenario::new("delete", &["xD2", "xA1"], &[Flush, Redeliver], 2),
        Rule::Restarting => in_order("restored in order", &["xA xB xA"], &[Restore], 1),
        Rule::OutOfOrder => {
            Scenario { own_files: 2, ..in_order("two sources", &["xA", "xB", "xA"], &[Crash], 1) }
        }
    }
}

fn in_order(name: &'static str, files: &[&str], faults: &[Fault], limit: u8) -> Scenario {
    Scenario { mode: Mode::InOrder, ..Scenario::new(name, files, faults, limit) }
}
