//! The rules on which the order of lines depends. Each can be disabled, to show that it is needed.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use async_trait::async_trait;
use jetline_core::{EpochId, Mode, ObjectId, Verdict};
use jetline_dedup::{Claim, Claimed, Dedup, Error};

/// A rule that can be disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// An equal entry is trusted only at a settled position.
    Settled,
    /// The stored content of an entry is that of a settled line, not of an equal line that is being written.
    Stored,
    /// A write raises the position of an equal row.
    Strict,
    /// A commit has to belong to the epoch in force.
    Epoch,
    /// A new epoch forgets the commits from its base on.
    Forget,
    /// A chunk below the epoch's base claims nothing.
    Base,
    /// No entry is trusted until the objects that the epoch reads again are settled.
    Recovery,
    /// A rank below that of the entry is superseded.
    Superseded,
    /// A claim is atomic.
    Atomic,
    /// A restored database begins a new epoch.
    Restart,
    /// An epoch's id is never used twice.
    Unique,
    /// A chunk of another incarnation of its object claims nothing.
    Registered,
    /// An object does not end while a line of it is superseded by one that is not committed.
    SupersededBy,
    /// A record that the database refuses after its claim ends the epoch.
    Refusal,
    /// A replay also reads all objects again that were registered after its first.
    Behind,
    /// A deleted row stays in the table, with the rank of the delete.
    Tombstone,
    /// A writer knows the columns of a table that other declarations added before the epoch began.
    Columns,
}

/// A dedup store with a rule disabled.
pub(crate) struct WithoutRule {
    inner: Arc<dyn Dedup>,
    without: Rule,
    claims: AtomicI64,
}

impl WithoutRule {
    pub(crate) fn new(inner: Arc<dyn Dedup>, without: Rule) -> Self {
        Self { inner, without, claims: AtomicI64::new(i64::MAX / 2) }
    }

    /// The claims with ranks above those of all entries, so that none is superseded.
    fn outranking(&self, claims: &[Claim]) -> Vec<Claim> {
        let version = self.claims.fetch_add(1, Ordering::Relaxed);
        let mut claims = claims.to_vec();
        for claim in &mut claims {
            claim.rank.version = version;
        }
        claims
    }
}

#[async_trait]
impl Dedup for WithoutRule {
    fn mode(&self) -> Mode {
        self.inner.mode()
    }

    async fn claim(
        &self,
        epoch: &EpochId,
        trusted: ObjectId,
        dataset: &str,
        claims: &[Claim],
    ) -> Result<Claimed, Error> {
        let claim = |trusted, claims| self.inner.claim(epoch, trusted, dataset, claims);
        match self.without {
            Rule::Settled => claim(ObjectId::MAX, claims).await,
            Rule::Stored => {
                let claimed = claim(trusted, claims).await?;
                // Makes the entries of this claim count as settled, and so as stored for the next claim.
                claim(ObjectId::MAX, claims).await?;
                Ok(claimed)
            }
            Rule::Superseded => claim(trusted, &self.outranking(claims)).await,
            Rule::Strict => Ok(match claim(trusted, claims).await? {
                Claimed::Verdicts(verdicts) => {
                    Claimed::Verdicts(verdicts.into_iter().map(lenient).collect())
                }
                Claimed::Lost => Claimed::Lost,
            }),
            _ => claim(trusted, claims).await,
        }
    }

    async fn begin(&self, epoch: &EpochId) -> Result<(), Error> {
        self.inner.begin(epoch).await
    }

    async fn epochs(&self) -> Result<Vec<EpochId>, Error> {
        self.inner.epochs().await
    }

    async fn remove(&self, ended: &[EpochId]) -> Result<u64, Error> {
        self.inner.remove(ended).await
    }
}

fn lenient(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Write => Verdict::WriteIfChanged,
        verdict => verdict,
    }
}
