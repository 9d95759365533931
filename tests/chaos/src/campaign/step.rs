//! The steps of fetchers and writers. A fault can happen before and after each.

use serde::{Deserialize, Serialize};

/// The service of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Role {
    Fetcher,
    Writer,
}

impl Role {
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Fetcher => "jetline-fetcher",
            Self::Writer => "jetline-writer",
        }
    }
}

/// How a step is executed, and so how its faults are injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// A call of a port, with a decorator.
    Port,
    /// A statement that contains all of these texts, with the statement proxy.
    Statement(&'static [&'static str]),
    /// The COMMIT of a transaction in which the statement of another step was executed.
    CommitAfter(Step),
}

macro_rules! steps {
    ($($step:ident: $role:ident, $name:literal, $via:expr;)*) => {
        /// A step, with its name in reports.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub(crate) enum Step { $($step),* }

        impl Step {
            pub(crate) const ALL: &[Self] = &[$(Self::$step),*];

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$step => $name),* }
            }

            pub(crate) fn role(self) -> Role {
                match self { $(Self::$step => Role::$role),* }
            }

            pub(crate) fn via(self) -> Via {
                match self { $(Self::$step => $via),* }
            }
        }
    };
}

steps! {
    List: Fetcher, "list", Via::Port;
    Register: Fetcher, "register", Via::Statement(&["INSERT INTO \"objects\""]);
    CommitRegister: Fetcher, "register: commit", Via::CommitAfter(Step::Register);
    Lease: Fetcher, "lease", Via::Statement(&["UPDATE objects", "SKIP LOCKED"]);
    Renew: Fetcher, "renew lease", Via::Statement(&["UPDATE objects SET lease_until"]);
    Gaps: Fetcher, "find gaps", Via::Statement(&["SELECT start_offset, end_offset"]);
    Read: Fetcher, "read", Via::Port;
    Publish: Fetcher, "publish", Via::Port;
    Published: Fetcher, "wait until published", Via::Port;
    Finish: Fetcher, "finish read", Via::Statement(&["UPDATE objects SET state = 'loading', lease_owner"]);
    Loading: Fetcher, "list loading objects", Via::Statement(&["AS committed_bytes"]);
    Done: Fetcher, "end objects", Via::Statement(&["UPDATE objects SET done_at"]);
    Fold: Fetcher, "fold chunks", Via::Statement(&["UPDATE objects AS o SET inserted"]);
    Unfold: Fetcher, "remove folded chunks", Via::Statement(&["DELETE FROM chunks"]);
    CommitEnds: Fetcher, "end objects: commit", Via::CommitAfter(Step::Done);
    Pending: Fetcher, "count pending", Via::Port;
    Reread: Fetcher, "reopen for lost chunks", Via::Statement(&["UPDATE objects SET state = 'registered' WHERE id"]);
    SeeEpoch: Writer, "read epoch", Via::Statement(&["SELECT id, base, recovery"]);
    BeginStore: Writer, "begin epoch in the dedup store", Via::Port;
    BeginEpoch: Writer, "begin epoch", Via::Statement(&["INSERT INTO epoch"]);
    Forget: Writer, "forget chunks", Via::Statement(&["UPDATE chunks SET state = 'forgotten'"]);
    CommitEpoch: Writer, "begin epoch: commit", Via::CommitAfter(Step::BeginEpoch);
    ListEpochs: Writer, "list old epochs", Via::Port;
    Sweep: Writer, "remove old epochs", Via::Port;
    Receive: Writer, "receive", Via::Port;
    Suspect: Writer, "record suspect", Via::Statement(&["INSERT INTO chunks", "'suspect'"]);
    Admit: Writer, "admit", Via::Statement(&["AS known_as"]);
    Claim: Writer, "claim", Via::Port;
    Check: Writer, "check epoch", Via::Statement(&["AS same_server", "AS complete"]);
    Known: Writer, "find ledger entries", Via::Statement(&["FROM \"chunks\""]);
    Look: Writer, "find rows", Via::Statement(&["AS version", "= ANY($1)"]);
    Rows: Writer, "upsert rows", Via::Statement(&["WITH new AS (", "AS raised"]);
    Rejects: Writer, "insert rejected lines", Via::Statement(&["INSERT INTO \"rejected_lines\""]);
    Entries: Writer, "insert ledger entries", Via::Statement(&["INSERT INTO \"chunks\""]);
    CommitChunks: Writer, "commit", Via::CommitAfter(Step::Entries);
    Progress: Writer, "report progress", Via::Port;
    Ack: Writer, "ack", Via::Port;
}

impl Step {
    /// The step of a statement, if it is one.
    pub(crate) fn of_statement(sql: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|step| match step.via() {
            Via::Statement(words) => words.iter().all(|word| sql.contains(word)),
            _ => false,
        })
    }

    /// The step of a COMMIT, given the last step in the transaction.
    pub(crate) fn of_commit(last: Self) -> Option<Self> {
        let ends = |step: &Self| match step.via() {
            Via::CommitAfter(Self::Done) => {
                matches!(last, Self::Done | Self::Fold | Self::Unfold)
            }
            Via::CommitAfter(Self::BeginEpoch) => matches!(last, Self::BeginEpoch | Self::Forget),
            Via::CommitAfter(step) => step == last,
            _ => false,
        };
        Self::ALL.iter().copied().find(ends)
    }

    pub(crate) fn is_port(self) -> bool {
        self.via() == Via::Port
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statement_belongs_to_its_step() {
        let ends = "UPDATE objects SET done_at = $1, state = 'done'";
        assert_eq!(Step::of_statement(ends), Some(Step::Done));
        assert_eq!(Step::of_statement("SELECT 1"), None);
        assert_eq!(Step::of_commit(Step::Fold), Some(Step::CommitEnds));
        assert_eq!(Step::of_commit(Step::Entries), Some(Step::CommitChunks));
        assert_eq!(Step::of_commit(Step::Admit), None);
    }
}
