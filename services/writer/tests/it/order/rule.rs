//! The rules that make the order hold, each of which can be taken out from outside.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use async_trait::async_trait;
use jetline_dedup::{Claim, Claimed, Dedup, Error};
use jetline_records::{EpochId, Mode, ObjectId, Verdict};

/// A rule to do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// An equal entry is trusted at a settled position only.
    Settled,
    /// Only what a settled line said is stored: an equal line that is written is not yet.
    Stored,
    /// A write raises the position of an equal row.
    Strict,
    /// A commit is of the epoch in force.
    Epoch,
    /// A new epoch forgets what was committed from its base on.
    Forget,
    /// A chunk below the epoch's base claims nothing.
    Base,
    /// Nothing is trusted until what the epoch reads again is settled.
    Recovery,
    /// A lower rank than the entry's is superseded.
    Superseded,
    /// A claim is one step.
    Atomic,
    /// A restored database begins a new epoch.
    Restart,
    /// An epoch's id is never given twice.
    Unique,
    /// A chunk whose object is not registered any more claims nothing.
    Registered,
    /// An object does not end while a line of it was outdone by one that is not committed.
    Outdone,
    /// A record that the database refuses after its claim ends the epoch.
    Refusal,
    /// A replay reads again whatever was registered after the object, too.
    Behind,
}

/// A dedup store without a rule.
pub(crate) struct Tampered {
    inner: Arc<dyn Dedup>,
    without: Rule,
    claims: AtomicI64,
}

impl Tampered {
    pub(crate) fn new(inner: Arc<dyn Dedup>, without: Rule) -> Self {
        Self {
            inner,
            without,
            claims: AtomicI64::new(1),
        }
    }

    /// Claims whose ranks are above all that is held, so that none is superseded.
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
impl Dedup for Tampered {
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
                let judged = claim(trusted, claims).await?;
                // Whatever is noted now counts as settled, which makes it stored for the next claim.
                claim(ObjectId::MAX, claims).await?;
                Ok(judged)
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

    async fn forget(&self, ended: &[EpochId]) -> Result<u64, Error> {
        self.inner.forget(ended).await
    }
}

fn lenient(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Write => Verdict::WriteIfChanged,
        verdict => verdict,
    }
}
