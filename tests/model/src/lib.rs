//! The order rule as a model: the result of a load does not depend on the order of events, nor on what the stream and the
//! dedup store lose.
//!
//! A [`Scenario`] is a small deployment: a few files, writers, and the events that may happen. [`System`] has all of its states, and
//! [`stateright`] visits them. What the project decides in Rust is called as it is: the verdict on a claim, the change of a
//! row, what of a batch is claimed, what an epoch trusts, what an object waits for, how counts are amended. What it
//! decides in Lua or SQL stands here in Rust ([`ledger`], `store`); tests compare both on real servers.
//!
//! [`Rule`]s can be taken out; [`ablation`] finds for each a shortest run that ends wrong without it.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the sizes of a model are small"
)]
#![expect(clippy::trivially_copy_pass_by_ref, reason = "how small a type is may change")]
#![expect(clippy::similar_names, reason = "state and stale")]

pub mod ablation;
mod expected;
mod input;
pub mod ledger;
mod rule;
pub mod scenarios;
pub mod schedules;
mod store;
mod system;

pub use input::{Content, Fault, File, Line, Scenario, file};
pub use rule::Rule;
pub use system::{Action, State, System};

/// The rules that are in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    without: Option<Rule>,
    mode: Mode,
}

/// How writers use dedup: [`jetline_core::Mode`], with a default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// With a store that all share.
    #[default]
    Shared,
    /// Without one.
    Off,
    /// One process that commits in the order of the lines.
    InOrder,
}

impl Rules {
    /// All rules.
    #[must_use]
    pub const fn all() -> Self {
        Self { without: None, mode: Mode::Shared }
    }

    /// All rules but one.
    #[must_use]
    pub const fn without(rule: Rule) -> Self {
        Self { without: Some(rule), mode: Mode::Shared }
    }

    /// These rules in another mode.
    #[must_use]
    pub const fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..self }
    }

    /// Whether writers have a dedup store.
    #[must_use]
    pub fn is_shared(self) -> bool {
        self.mode == Mode::Shared
    }

    /// Whether a rule is in force.
    #[must_use]
    pub fn has(self, rule: Rule) -> bool {
        self.without != Some(rule)
    }
}
