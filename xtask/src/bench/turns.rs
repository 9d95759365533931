//! Both sides of a comparison in turns, so that a machine that drifts is the same for both.

use anyhow::{Context, ensure};

use super::{
    Bench, SideKind,
    report::{Case, Run},
};

/// One way of doing the work, and how to measure it.
pub(super) struct Side<'a> {
    name: String,
    kind: SideKind,
    beside: Option<String>,
    measure: Box<dyn FnMut() -> anyhow::Result<Run> + 'a>,
}

impl<'a> Side<'a> {
    /// Ours.
    pub(super) fn jetline(
        name: impl Into<String>,
        measure: impl FnMut() -> anyhow::Result<Run> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            kind: SideKind::Jetline,
            beside: None,
            measure: Box::new(measure),
        }
    }

    /// What ours is compared with.
    pub(super) fn yardstick(
        name: impl Into<String>,
        measure: impl FnMut() -> anyhow::Result<Run> + 'a,
    ) -> Self {
        Self {
            kind: SideKind::Yardstick,
            ..Self::jetline(name, measure)
        }
    }

    /// Compares it with another side.
    pub(super) fn beside(self, name: impl Into<String>) -> Self {
        Self {
            beside: Some(name.into()),
            ..self
        }
    }
}

/// Measures all sides that are wanted, one after the other, as often as is wanted.
pub(super) fn in_turns(bench: &Bench, sides: Vec<Side>) -> anyhow::Result<Vec<Case>> {
    let wanted = |side: &Side| bench.arguments.only.is_none_or(|only| only == side.kind);
    let mut measured: Vec<(Side, Vec<Run>)> = sides
        .into_iter()
        .filter(wanted)
        .map(|side| (side, Vec::new()))
        .collect();
    ensure!(!measured.is_empty(), "this benchmark has no such side");
    for number in 1..=bench.arguments.runs.get() {
        for (side, runs) in &mut measured {
            bench.interrupt.check()?;
            let run = (side.measure)().with_context(|| format!("run {number}, {}", side.name))?;
            println!(
                "run {number}, {}: {:.2} s",
                side.name,
                run.time.as_secs_f64()
            );
            runs.push(run);
        }
    }
    let cases = measured.into_iter().map(|(side, runs)| Case {
        name: side.name,
        beside: side.beside,
        runs,
    });
    Ok(cases.collect())
}
