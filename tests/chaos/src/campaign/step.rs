//! The steps of fetchers, writers and couriers. A fault can happen before and after each.

/// The service of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    ($($step:ident: $role:ident, $name:literal, $nth:literal, $via:expr;)*) => {
        /// A step, with its name in reports.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum Step { $($step),* }

        impl Step {
            pub(crate) const ALL: &[Self] = &[$(Self::$step),*];

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$step => $name),* }
            }

            pub(crate) fn role(self) -> Role {
                match self { $(Self::$step => Role::$role),* }
            }

            /// The last execution at which a fault is planned: some steps are executed once or twice in a run, others for
            /// each chunk.
            pub(crate) fn max_nth(self) -> u32 {
                match self { $(Self::$step => $nth),* }
            }

            pub(crate) fn via(self) -> Via {
                match self { $(Self::$step => $via),* }
            }
        }
    };
}

steps! {
    List: Fetcher, "list", 1, Via::Port;
    Register: Fetcher, "register", 1, Via::Statement("register objects");
    CommitRegister: Fetcher, "register: commit", 1, Via::CommitAfter(Step::Register);
    Lease: Fetcher, "lease", 1, Via::Statement("lease objects");
    Renew: Fetcher, "renew lease", 1, Via::Statement("renew leases");
    Gaps: Fetcher, "find gaps", 1, Via::Statement("read the chunks of objects");
    Read: Fetcher, "read", 20, Via::Port;
    Publish: Fetcher, "publish", 20, Via::Port;
    Published: Fetcher, "wait until published", 20, Via::Port;
    Finish: Fetcher, "finish read", 1, Via::Statement("finish objects");
    Loading: Fetcher, "list loading objects", 3, Via::Statement("read the loading objects");
    Done: Fetcher, "end objects", 1, Via::Statement("end objects");
    Fold: Fetcher, "fold chunks", 1, Via::Statement("fold chunks");
    Unfold: Fetcher, "remove folded chunks", 1, Via::Statement("remove folded chunks");
    CommitEnds: Fetcher, "end objects: commit", 1, Via::CommitAfter(Step::Done);
    Pending: Fetcher, "count pending", 1, Via::Port;
    Reread: Fetcher, "reopen for lost chunks", 1, Via::Statement("have objects read again");
    SeeEpoch: Writer, "read epoch", 1, Via::Statement("read the epoch");
    BeginStore: Writer, "begin epoch in the dedup store", 1, Via::Port;
    BeginEpoch: Writer, "begin epoch", 1, Via::Statement("write the epoch");
    Forget: Writer, "forget chunks", 1, Via::Statement("forget chunks");
    CommitEpoch: Writer, "begin epoch: commit", 1, Via::CommitAfter(Step::BeginEpoch);
    ListEpochs: Writer, "list old epochs", 1, Via::Port;
    Sweep: Writer, "remove old epochs", 1, Via::Port;
    Receive: Writer, "receive", 8, Via::Port;
    Suspect: Writer, "record suspect", 1, Via::Statement("record a suspected chunk");
    Admit: Writer, "admit", 8, Via::Statement("look up objects");
    Claim: Writer, "claim", 8, Via::Port;
    Check: Writer, "check epoch", 8, Via::Statement("check the epoch");
    Known: Writer, "find ledger entries", 8, Via::Statement("read ledger entries");
    Look: Writer, "find rows", 8, Via::Statement("read rows");
    Copy: Writer, "copy rows", 2, Via::Statement("copy records");
    Rows: Writer, "upsert rows", 8, Via::Statement("upsert records");
    History: Writer, "write history", 8, Via::Statement("write the history");
    Rejects: Writer, "insert rejected lines", 3, Via::Statement("write rejected lines");
    Append: Writer, "append changes", 8, Via::Statement("append changes");
    Entries: Writer, "insert ledger entries", 8, Via::Statement("write ledger entries");
    CommitChunks: Writer, "commit", 8, Via::CommitAfter(Step::Entries);
    Progress: Writer, "report progress", 1, Via::Port;
    Ack: Writer, "ack", 20, Via::Port;
    TakeChanges: Courier, "take changes", 3, Via::Statement("take changes");
    FoldChanges: Courier, "fold changes", 3, Via::Statement("write folded deliveries");
    CommitFold: Courier, "fold changes: commit", 3, Via::CommitAfter(Step::FoldChanges);
    FindDue: Courier, "find due deliveries", 3, Via::Statement("lock due deliveries");
    WriteLeases: Courier, "lease deliveries", 3, Via::Statement("write leases");
    CommitLeases: Courier, "lease deliveries: commit", 3, Via::CommitAfter(Step::WriteLeases);
    Send: Courier, "send", 8, Via::Port;
    WriteOutcomes: Courier, "record outcomes", 3, Via::Statement("write outcomes");
    CommitOutcomes: Courier, "record outcomes: commit", 3, Via::CommitAfter(Step::WriteOutcomes);
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

    /// Whether it is a step of a writer with a dedup store only.
    pub(crate) fn needs_dedup(self) -> bool {
        matches!(self, Self::Claim | Self::BeginStore | Self::ListEpochs | Self::Sweep | Self::Copy)
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
