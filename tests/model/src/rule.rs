//! The rules on which the result depends. Each can be taken out, to show that it is needed.

/// A rule, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// An entry is trusted for *unchanged* only if its object is settled.
    Settled,
    /// An entry counts as stored only if its line was unchanged.
    Stored,
    /// A line that was not unchanged raises the rank of a row with its content.
    Raise,
    /// A line whose rank is below that of the entry is superseded.
    Superseded,
    /// A claim reads and stores entries in one step.
    Atomic,
    /// A line does not replace a row of a higher rank.
    Guard,
    /// Rows and ledger entry of a chunk are committed together.
    Transaction,
    /// A chunk that is committed is not committed again.
    Once,
    /// Where a chunk of a batch was committed before, the others are claimed again without it.
    Repeated,
    /// A commit has to belong to the epoch in force.
    Epoch,
    /// The id of an epoch is never given again.
    Unique,
    /// A new epoch reads everything again from its base on.
    Forget,
    /// A chunk below the base of its epoch claims nothing.
    Base,
    /// Nothing is trusted until everything is settled that was registered before the epoch.
    Recovery,
    /// A database that was restored, or restarted, begins a new epoch.
    Restored,
    /// A store that was flushed is noticed by its missing key.
    Flushed,
    /// A store that restarted is noticed by its missing script.
    Restarted,
    /// A store that failed over is noticed by its replication id.
    FailedOver,
    /// A chunk of another incarnation of its object is not claimed.
    Admission,
    /// A dead chunk is not claimed.
    DeadNotClaimed,
    /// A chunk of another incarnation of its object is not committed.
    Incarnation,
    /// No object ends while a line of it is superseded by one that is not committed.
    Waiting,
    /// So it is with a line of its own in a dead chunk.
    WaitingForOwn,
    /// Where that line will never be committed, the epoch ends.
    LostClaim,
    /// A chunk that was dead before the epoch began has no claims in it.
    Unclaimed,
    /// An object without all of its chunks ends only when everything below it has.
    AtWatermark,
    /// With such an object, the epoch ends.
    FailedEndsEpoch,
    /// A record that the database refuses after its claim ends the epoch, and its dataset is written without claims.
    Refusal,
    /// An object that a new epoch reads again does not fail because of its rejected lines before that.
    ForgottenStays,
    /// A chunk that is tried alone is still to be committed again.
    SuspectStaysForgotten,
    /// A replay also reads everything again that was registered later.
    Later,
    /// A replay ends the epoch.
    ReplayEndsEpoch,
    /// A deleted row stays in the table, with the rank of the delete.
    Tombstone,
    /// In order: while a lower object is to be read, a row with the same content takes the new rank.
    OutOfOrder,
    /// In order: after its epoch ended, a process raises the rank of rows with the same content.
    Restarting,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 35] = [
        Self::Settled,
        Self::Stored,
        Self::Raise,
        Self::Superseded,
        Self::Atomic,
        Self::Guard,
        Self::Transaction,
        Self::Once,
        Self::Repeated,
        Self::Epoch,
        Self::Unique,
        Self::Forget,
        Self::Base,
        Self::Recovery,
        Self::Restored,
        Self::Flushed,
        Self::Restarted,
        Self::FailedOver,
        Self::Admission,
        Self::DeadNotClaimed,
        Self::Incarnation,
        Self::Waiting,
        Self::WaitingForOwn,
        Self::LostClaim,
        Self::Unclaimed,
        Self::AtWatermark,
        Self::FailedEndsEpoch,
        Self::Refusal,
        Self::ForgottenStays,
        Self::SuspectStaysForgotten,
        Self::Later,
        Self::ReplayEndsEpoch,
        Self::Tombstone,
        Self::OutOfOrder,
        Self::Restarting,
    ];

    /// The rule, in words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Settled => "an entry is trusted for unchanged only if its object is settled",
            Self::Stored => "an entry counts as stored only if its line was unchanged",
            Self::Raise => {
                "a line that was not unchanged raises the rank of a row with its content"
            }
            Self::Superseded => "a line whose rank is below that of the entry is superseded",
            Self::Atomic => "a claim reads and stores entries in one step",
            Self::Guard => "a line does not replace a row of a higher rank",
            Self::Transaction => "rows and ledger entry of a chunk are committed together",
            Self::Once => "a chunk that is committed is not committed again",
            Self::Repeated => {
                "where a chunk of a batch was committed before, the others are claimed again without it"
            }
            Self::Epoch => "a commit has to belong to the epoch in force",
            Self::Unique => "the id of an epoch is never given again",
            Self::Forget => "a new epoch reads everything again from its base on",
            Self::Base => "a chunk below the base of its epoch claims nothing",
            Self::Recovery => {
                "nothing is trusted until everything is settled that was registered before the epoch"
            }
            Self::Restored => {
                "a database that was restored, restarted or crashed begins a new epoch"
            }
            Self::Flushed => "a store that was flushed is noticed by its missing key",
            Self::Restarted => "a store that restarted is noticed by its missing script",
            Self::FailedOver => "a store that failed over is noticed by its replication id",
            Self::Admission => "a chunk of another incarnation of its object is not claimed",
            Self::DeadNotClaimed => "a dead chunk is not claimed",
            Self::Incarnation => "a chunk of another incarnation of its object is not committed",
            Self::Waiting => {
                "no object ends while a line of it is superseded by one that is not committed"
            }
            Self::WaitingForOwn => {
                "no object ends while a line of it is superseded by one of its own in a dead chunk"
            }
            Self::LostClaim => {
                "where a line is superseded by one that will never be committed, the epoch ends"
            }
            Self::Unclaimed => "a chunk that was dead before the epoch began has no claims in it",
            Self::AtWatermark => {
                "an object without all of its chunks ends only when everything below it has"
            }
            Self::FailedEndsEpoch => "the epoch ends when an object ends without all of its chunks",
            Self::Refusal => {
                "a record that the database refuses after its claim ends the epoch, and its dataset is written without claims"
            }
            Self::ForgottenStays => {
                "an object that a new epoch reads again does not fail because of its rejected lines before that"
            }
            Self::SuspectStaysForgotten => {
                "a chunk that is tried alone is still to be committed again"
            }
            Self::Later => "a replay also reads everything again that was registered later",
            Self::ReplayEndsEpoch => "a replay ends the epoch",
            Self::Tombstone => "a deleted row stays in the table, with the rank of the delete",
            Self::OutOfOrder => {
                "In order: while a lower object is to be read, a row with the same content takes the new rank"
            }
            Self::Restarting => {
                "In order: after its epoch ended, a process raises the rank of rows with the same content"
            }
        }
    }
}
