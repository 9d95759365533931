//! Decides at each step whether a fault happens, and records those that did.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{mpsc, oneshot};

use super::{
    disruptions::Disruption,
    fault::{DELAY, Fault, Kind},
    step::Step,
};

/// Injects the faults of one run. Clones share their state.
#[derive(Clone)]
pub(crate) struct Injector {
    state: Arc<Mutex<State>>,
    disruptions: mpsc::Sender<Request>,
}

/// A request for a disruption while a step is held.
pub(crate) struct Request {
    pub(crate) disruption: &'static dyn Disruption,
    pub(crate) by: Instance,
    /// Notified when the disruption has happened, and the step may continue.
    pub(crate) broken: oneshot::Sender<()>,
}

/// The number of a service's instance in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Instance(pub(crate) usize);

#[derive(Default)]
struct State {
    left: Vec<Fault>,
    /// How often each step was begun and completed.
    begun: BTreeMap<Step, u32>,
    ended: BTreeMap<Step, u32>,
    fired: Vec<Fault>,
}

impl Injector {
    /// An injector for the faults of a plan; disruptions are requested through the channel.
    pub(crate) fn new(faults: &[Fault], disruptions: mpsc::Sender<Request>) -> Self {
        let state = State { left: faults.to_vec(), ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), disruptions }
    }

    /// To be called before a step: returns its fault, unless that is one after the step. Waits for delays and disruptions.
    pub(crate) async fn before(&self, step: Step, by: Instance) -> Option<Kind> {
        let fault = self.next(step, false)?;
        match fault.kind {
            Kind::Delay => {
                tokio::time::sleep(DELAY).await;
                None
            }
            Kind::Disruption(disruption) => {
                if self.disrupt(disruption, by).await {
                    self.lock().fired.push(fault);
                }
                None
            }
            kind => Some(kind),
        }
    }

    /// To be called after a step: returns its fault.
    pub(crate) fn after(&self, step: Step) -> Option<Kind> {
        self.next(step, true).map(|fault| fault.kind)
    }

    /// How often each step was begun.
    pub(crate) fn begun(&self) -> BTreeMap<Step, u32> {
        self.lock().begun.clone()
    }

    /// How often steps were completed that make progress.
    pub(crate) fn progress(&self) -> u32 {
        let begun = &self.lock().begun;
        let steps = [
            Step::Gaps,
            Step::Published,
            Step::Entries,
            Step::Finish,
            Step::Done,
            Step::FoldChanges,
            Step::WriteOutcomes,
        ];
        steps.iter().filter_map(|step| begun.get(step)).sum()
    }

    /// The faults that happened.
    pub(crate) fn fired(&self) -> Vec<Fault> {
        self.lock().fired.clone()
    }

    /// The fault that is due. A disruption has happened only when it was executed.
    fn next(&self, step: Step, after: bool) -> Option<Fault> {
        let mut state = self.lock();
        let taken = if after { &mut state.ended } else { &mut state.begun };
        let nth = taken.entry(step).or_default();
        *nth += 1;
        let nth = *nth;
        let is_due = |fault: &Fault| {
            fault.step == step && fault.nth <= nth && fault.kind.is_after() == after
        };
        let due = state.left.iter().position(is_due)?;
        let fault = state.left.remove(due);
        let fault = Fault { nth, ..fault };
        if !matches!(fault.kind, Kind::Disruption(_)) {
            state.fired.push(fault);
        }
        Some(fault)
    }

    /// Whether it happened: not where the run has ended.
    async fn disrupt(&self, disruption: &'static dyn Disruption, by: Instance) -> bool {
        let (broken, done) = oneshot::channel();
        let request = Request { disruption, by, broken };
        self.disruptions.send(request).await.is_ok() && done.await.is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
