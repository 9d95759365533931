//! The identity of the ledger whose chunks are published and received here.
//!
//! The database may be created again while this process runs. So the identity is read again before chunks of another ledger
//! are skipped, and when the fetcher looks for lost chunks.

use std::fmt;

use futures::future::BoxFuture;
use jetline_core::LedgerIdentity;
use tokio::{
    sync::{Mutex, watch},
    time::{Duration, Instant},
};
use tracing::warn;

/// How long an identity is cached.
const CACHE_TIME: Duration = Duration::from_secs(1);

/// Reads the identity of a ledger; `None` if it cannot be read.
pub trait ReadIdentity:
    Fn() -> BoxFuture<'static, Option<LedgerIdentity>> + Send + Sync + 'static
{
}

impl<F> ReadIdentity for F where
    F: Fn() -> BoxFuture<'static, Option<LedgerIdentity>> + Send + Sync + 'static
{
}

/// The cached identity of a ledger.
pub struct OwnLedger {
    identity: watch::Sender<LedgerIdentity>,
    /// When the identity was last read.
    read_at: Mutex<Option<Instant>>,
    read: Box<dyn ReadIdentity>,
}

impl OwnLedger {
    /// A ledger whose identity was `identity`; `read` returns the current one.
    pub fn new(identity: LedgerIdentity, read: impl ReadIdentity) -> Self {
        Self {
            identity: watch::Sender::new(identity),
            read_at: Mutex::default(),
            read: Box::new(read),
        }
    }

    pub(super) fn identity(&self) -> LedgerIdentity {
        self.identity.borrow().clone()
    }

    /// The current identity, or `None` if it cannot be read.
    pub(super) async fn refresh(&self) -> Option<LedgerIdentity> {
        let mut read_at = self.read_at.lock().await;
        if read_at.is_none_or(|at| at.elapsed() >= CACHE_TIME) {
            let now = (self.read)().await?;
            *read_at = Some(Instant::now());
            let before = self.identity.send_replace(now.clone());
            if before != now {
                warn!(%before, %now, "database was created again, switching to the new ledger");
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
