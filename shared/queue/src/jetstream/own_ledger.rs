//! The ledger whose chunks are published and received here.
//!
//! Its database may be made anew while this process runs. So before chunks of another ledger are given up, and when the
//! fetcher looks for chunks that are lost, it is asked again who it is.

use std::fmt;

use futures::future::BoxFuture;
use jetline_records::LedgerIdentity;
use tokio::{
    sync::{Mutex, watch},
    time::{Duration, Instant},
};
use tracing::warn;

/// What a ledger said counts for so long.
const FRESH: Duration = Duration::from_secs(1);

type Ask = dyn Fn() -> BoxFuture<'static, Option<LedgerIdentity>> + Send + Sync;

/// Knows who the ledger is, and how to ask it again.
pub struct OwnLedger {
    identity: watch::Sender<LedgerIdentity>,
    /// When it said so.
    told: Mutex<Option<Instant>>,
    ask: Box<Ask>,
}

impl OwnLedger {
    /// A ledger that was `identity`; `ask` says who it is now, or nothing where that cannot be found out.
    pub fn new(
        identity: LedgerIdentity,
        ask: impl Fn() -> BoxFuture<'static, Option<LedgerIdentity>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            identity: watch::Sender::new(identity),
            told: Mutex::default(),
            ask: Box::new(ask),
        }
    }

    pub(super) fn identity(&self) -> LedgerIdentity {
        self.identity.borrow().clone()
    }

    /// Who it is now, or nothing where it does not say.
    pub(super) async fn ask(&self) -> Option<LedgerIdentity> {
        let mut told = self.told.lock().await;
        if told.is_none_or(|told| told.elapsed() >= FRESH) {
            let now = (self.ask)().await?;
            *told = Some(Instant::now());
            let before = self.identity.send_replace(now.clone());
            if before != now {
                warn!(%before, %now, "the database was made anew: this process works for the new ledger from now on");
            }
        }
        Some(self.identity())
    }
}

impl fmt::Debug for OwnLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnLedger").field(&self.identity()).finish()
    }
}
