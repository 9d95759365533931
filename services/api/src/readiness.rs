//! Whether requests would be answered: the database is asked what they ask it.

use std::{sync::Arc, time::Duration};

use jetline_store::{pooler, read};
use tokio::{
    sync::{Mutex, OnceCell},
    time::timeout,
};

use crate::database::{Error, Reads, refused, told};

/// After so long the connection of a check is given up, which nothing may come from any more.
const STUCK: Duration = Duration::from_mins(1);

/// Asks the database, one check at a time.
pub(crate) struct Readiness {
    reads: Reads,
    /// Set when nothing between us and the database mixes sessions up.
    pooler: OnceCell<()>,
    turn: Arc<Mutex<()>>,
}

impl Readiness {
    pub(crate) fn new(reads: Reads) -> Self {
        Self {
            reads,
            pooler: OnceCell::new(),
            turn: Arc::default(),
        }
    }

    /// Why requests would fail, if they would.
    ///
    /// A check of a table that is locked keeps its connection until the lock is gone, whoever asked for it and gave up, so
    /// those who ask meanwhile wait for it, rather than for one more.
    pub(crate) async fn check(self: Arc<Self>) -> Result<(), String> {
        let turn = self.turn.clone().lock_owned().await;
        let checked = tokio::spawn(async move {
            let _turn = turn;
            self.asked().await
        });
        checked
            .await
            .unwrap_or_else(|_| Err("the check crashed".to_owned()))
    }

    async fn asked(&self) -> Result<(), String> {
        let db = self.reads.connection();
        let checked = self.pooler.get_or_try_init(|| pooler::check(db)).await;
        checked.map_err(|error| refused(&error))?;
        let Ok(answer) = timeout(STUCK, read::ready(db)).await else {
            return Err(Error::Away.to_string());
        };
        told(answer).map_err(|error| match error {
            Error::Failed => "the database cannot be read: has `jetline-migrate` been run, and may this user read? \
                              The log tells more"
                .to_owned(),
            error => error.to_string(),
        })
    }
}
