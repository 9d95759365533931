//! Decides at each step whether something goes wrong now, and notes that it did.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{mpsc, oneshot};

use super::{
    fault::{Blow, DELAY, Fault, Kind},
    step::Step,
};

/// Makes the faults of one run happen. Clones are the same.
#[derive(Clone)]
pub(crate) struct Injector {
    state: Arc<Mutex<State>>,
    blows: mpsc::Sender<Request>,
}

/// Something is to break while a step is held.
pub(crate) struct Request {
    pub(crate) blow: Blow,
    pub(crate) by: Instance,
    /// Told when it is broken, and the step may go on.
    pub(crate) broken: oneshot::Sender<()>,
}

/// The number of a service's instance in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Instance(pub(crate) usize);

#[derive(Default)]
struct State {
    left: Vec<Fault>,
    /// How often each step was begun, and came to its end.
    begun: BTreeMap<Step, u32>,
    ended: BTreeMap<Step, u32>,
    fired: Vec<Fault>,
}

impl Injector {
    /// For the faults of a plan; what breaks outside is asked for in the channel.
    pub(crate) fn new(faults: &[Fault], blows: mpsc::Sender<Request>) -> Self {
        let state = State {
            left: faults.to_vec(),
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            blows,
        }
    }

    /// Before a step: what goes wrong with it, other than afterwards. Delays and blows are over when this returns.
    pub(crate) async fn before(&self, step: Step, by: Instance) -> Option<Kind> {
        let kind = self.next(step, false)?;
        match kind {
            Kind::Delay => {
                tokio::time::sleep(DELAY).await;
                None
            }
            Kind::Blow(blow) => {
                self.strike(blow, by).await;
                None
            }
            kind => Some(kind),
        }
    }

    /// After a step.
    pub(crate) fn after(&self, step: Step) -> Option<Kind> {
        self.next(step, true)
    }

    /// How often each step was begun.
    pub(crate) fn begun(&self) -> BTreeMap<Step, u32> {
        self.lock().begun.clone()
    }

    /// How often steps were taken that bring a run on.
    pub(crate) fn progress(&self) -> u32 {
        let begun = &self.lock().begun;
        let steps = [
            Step::Gaps,
            Step::Published,
            Step::Entries,
            Step::Finish,
            Step::Done,
        ];
        steps.iter().filter_map(|step| begun.get(step)).sum()
    }

    /// The faults that have happened.
    pub(crate) fn fired(&self) -> Vec<Fault> {
        self.lock().fired.clone()
    }

    fn next(&self, step: Step, after: bool) -> Option<Kind> {
        let mut state = self.lock();
        let taken = if after {
            &mut state.ended
        } else {
            &mut state.begun
        };
        let nth = taken.entry(step).or_default();
        *nth += 1;
        let nth = *nth;
        let is_due = |fault: &Fault| {
            fault.step == step && fault.nth <= nth && fault.kind.is_after() == after
        };
        let due = state.left.iter().position(is_due)?;
        let fault = state.left.remove(due);
        state.fired.push(Fault { nth, ..fault });
        Some(fault.kind)
    }

    async fn strike(&self, blow: Blow, by: Instance) {
        let (broken, done) = oneshot::channel();
        let request = Request { blow, by, broken };
        // Errors mean that the run is over.
        if self.blows.send(request).await.is_ok() {
            let _ = done.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
