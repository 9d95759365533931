//! Readiness: runs the statements of the requests.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, OnceCell},
    time::timeout,
};

use crate::database::{Error, ReadPool, classify, not_ready};

/// Timeout of a check, after which its connection is dropped, as it may be dead.
const CHECK_TIMEOUT: Duration = Duration::from_mins(1);

/// Checks the database, with one check at a time.
pub(crate) struct Readiness {
    pool: ReadPool,
    /// Set when the check for an unusable pooler has passed.
    pooler: OnceCell<()>,
    checking: Arc<Mutex<()>>,
}

impl Readiness {
    pub(crate) fn new(pool: ReadPool) -> Self {
        Self { pool, pooler: OnceCell::new(), checking: Arc::default() }
    }

    /// Checks whether requests would succeed; an error says why not.
    ///
    /// A check that waits for a locked table keeps its connection, even when its caller was cancelled. Further callers
    /// wait for the same check instead of using one more connection each.
    pub(crate) async fn check(self: Arc<Self>) -> Result<(), String> {
        let checking = self.checking.clone().lock_owned().await;
        let checked = tokio::spawn(async move {
            let _checking = checking;
            self.run().await
        });
        checked.await.unwrap_or_else(|_| Err("the check panicked".to_owned()))
    }

    async fn run(&self) -> Result<(), String> {
        let checked = self.pooler.get_or_try_init(|| self.pool.database().check_pooler()).await;
        checked.map_err(|error| not_ready(&error))?;
        let check = async {
            let datasets = self.pool.database().datasets().await?;
            self.pool.catalog().check(&datasets).await
        };
        let Ok(result) = timeout(CHECK_TIMEOUT, check).await else {
            return Err(Error::Unavailable.to_string());
        };
        classify(result).map_err(|error| match error {
            Error::Failed => "the database cannot be read: has `jetline-migrate` been run, and has this user the \
                              privilege SELECT? See the log"
                .to_owned(),
            error => error.to_string(),
        })
    }
}
