//! The steps of fetchers, writers and couriers. A fault can happen before and after each.

use serde::{Deserialize, Serialize};

/// The service of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Role {
    Fetcher,
    Writer,
    Courier,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fetcher => "fetcher",
            Self::Writer => "writer",
            Self::Courier => "courier",
        }
    }
}

/// How a step is executed, and so how its faults are injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// A call of a port, with a decorator.
    Port,
    /// The statement with this name, with the statement proxy.
    Statement(&'static str),
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
    Register: Fetcher, "register", Via::Statement("register objects");
    CommitRegister: Fetcher, "register: commit", Via::CommitAfter(Step::Register);
    Lease: Fetcher, "lease", Via::Statement("lease objects");
    Renew: Fetcher, "renew lease", Via::Statement("renew leases");
    Gaps: Fetcher, "find gaps", Via::Statement("read the chunks of objects");
    Read: Fetcher, "read", Via::Port;
    Publish: Fetcher, "publish", Via::Port;
    Published: Fetcher, "wait until published", Via::Port;
    Finish: Fetcher, "finish read", Via::Statement("finish objects");
    Loading: Fetcher, "list loading objects", Via::Statement("read the loading objects");
    Done: Fetcher, "end objects", Via::Statement("end objects");
    Fold: Fetcher, "fold chunks", Via::Statement("fold chunks");
    Unfold: Fetcher, "remove folded chunks", Via::Statement("remove folded chunks");
    CommitEnds: Fetcher, "end objects: commit", Via::CommitAfter(Step::Done);
    Pending: Fetcher, "count pending", Via::Port;
    Reread: Fetcher, "reopen for lost chunks", Via::Statement("have objects read again");
    SeeEpoch: Writer, "read epoch", Via::Statement("read the epoch");
    BeginStore: Writer, "begin epoch in the dedup store", Via::Port;
    BeginEpoch: Writer, "begin epoch", Via::Statement("write the epoch");
    Forget: Writer, "forget chunks", Via::Statement("forget chunks");
    CommitEpoch: Writer, "begin epoch: commit", Via::CommitAfter(Step::BeginEpoch);
    ListEpochs: Writer, "list old epochs", Via::Port;
    Sweep: Writer, "remove old epochs", Via::Port;
    Receive: Writer, "receive", Via::Port;
    Suspect: Writer, "record suspect", Via::Statement("record a suspected chunk");
    Admit: Writer, "admit", Via::Statement("look up objects");
    Claim: Writer, "claim", Via::Port;
    Check: Writer, "check epoch", Via::Statement("check the epoch");
    Known: Writer, "find ledger entries", Via::Statement("read ledger entries");
    Look: Writer, "find rows", Via::Statement("read rows");
    Rows: Writer, "upsert rows", Via::Statement("upsert records");
    History: Writer, "write history", Via::Statement("write the history");
    Rejects: Writer, "insert rejected lines", Via::Statement("write rejected lines");
    Append: Writer, "append changes", Via::Statement("append changes");
    Entries: Writer, "insert ledger entries", Via::Statement("write ledger entries");
    CommitChunks: Writer, "commit", Via::CommitAfter(Step::Entries);
    Progress: Writer, "report progress", Via::Port;
    Ack: Writer, "ack", Via::Port;
    TakeChanges: Courier, "take changes", Via::Statement("take changes");
    FoldChanges: Courier, "fold changes", Via::Statement("write folded deliveries");
    CommitFold: Courier, "fold changes: commit", Via::CommitAfter(Step::FoldChanges);
    FindDue: Courier, "find due deliveries", Via::Statement("lock due deliveries");
    WriteLeases: Courier, "lease deliveries", Via::Statement("write leases");
    CommitLeases: Courier, "lease deliveries: commit", Via::CommitAfter(Step::WriteLeases);
    Send: Courier, "send", Via::Port;
    WriteOutcomes: Courier, "record outcomes", Via::Statement("write outcomes");
    CommitOutcomes: Courier, "record outcomes: commit", Via::CommitAfter(Step::WriteOutcomes);
}

impl Step {
    /// The step of a statement, if it is one.
    pub(crate) fn of_statement(sql: &str) -> Option<Self> {
        let (name, _) = sql.strip_prefix("/* ")?.split_once(" */")?;
        Self::ALL
            .iter()
            .copied()
            .find(|step| matches!(step.via(), Via::Statement(of) if of == name))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statement_belongs_to_its_step() {
        let ends = "/* end objects */ UPDATE objects SET done_at = $1, state = 'done'";
        assert_eq!(Step::of_statement(ends), Some(Step::Done));
        assert_eq!(Step::of_statement("SELECT 1"), None);
        assert_eq!(Step::of_commit(Step::Fold), Some(Step::CommitEnds));
        assert_eq!(Step::of_commit(Step::Entries), Some(Step::CommitChunks));
        assert_eq!(Step::of_commit(Step::Admit), None);
    }
}
