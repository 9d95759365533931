//! For each rule, a shortest run that ends wrong without it.

use std::fmt::Write as _;

use stateright::{Checker, HasDiscoveries, Model};

use crate::{Rule, Rules, System, scenarios};

/// A run that ends wrong.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// The steps.
    pub steps: Vec<String>,
    /// What is wrong if the rest follows in order and without further events.
    pub why: String,
}

/// A shortest run that ends wrong without a rule, in the scenario of the rule.
#[must_use]
pub fn counterexample(rule: Rule) -> Option<Counterexample> {
    first_wrong(System::new(scenarios::of(rule), Rules::without(rule)), 1).1
}

/// Visits the states in the order of their distance from the first one until one is wrong. Returns how many it visited,
/// and the run to the wrong one, which is a shortest one if there is one thread.
#[must_use]
pub fn first_wrong(system: System, threads: usize) -> (usize, Option<Counterexample>) {
    let checker = system.checker().threads(threads).finish_when(HasDiscoveries::Any);
    let checker = checker.spawn_bfs().join();
    (checker.unique_state_count(), wrong(&checker))
}

fn wrong(checker: &impl Checker<System>) -> Option<Counterexample> {
    let path = checker.discoveries().into_values().next()?.into_vec();
    let system = checker.model();
    let why = path.last().and_then(|(state, _)| system.verify(state).err());
    let steps = path
        .iter()
        .filter_map(|(state, action)| action.map(|action| system.describe(state, action)));
    Some(Counterexample { steps: steps.collect(), why: why.unwrap_or_default() })
}

/// A counterexample of each rule, as a table in Markdown.
#[must_use]
pub fn table() -> String {
    let mut table =
        "| without this rule | files | a shortest run | ends with |\n| --- | --- | --- | --- |\n"
            .to_owned();
    for rule in Rule::ALL {
        let files = scenarios::of(rule).files_text();
        let (steps, why) = match counterexample(rule) {
            Some(Counterexample { steps, why }) if steps.is_empty() => {
                ("(no step)".to_owned(), why)
            }
            Some(Counterexample { steps, why }) => (steps.join("; "), why),
            None => Default::default(),
        };
        let _ = writeln!(table, "| {} | {files} | {steps} | {why} |", rule.text());
    }
    table
}
