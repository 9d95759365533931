//! Breaks what is between a service and PostgreSQL, at statements: those within a transaction, and its end, too.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use jetline_testkit::postgres::statements::{Fate, Watch};

use super::{fault::Kind, ports::Breaker, step::Step};

/// Watches the statements of one instance of a service.
pub(crate) struct BrokenDatabase {
    breaker: Breaker,
    /// The last step in the transaction that is open on a connection.
    transactions: Mutex<HashMap<u64, Step>>,
}

impl BrokenDatabase {
    pub(crate) fn new(breaker: Breaker) -> Self {
        Self {
            breaker,
            transactions: Mutex::default(),
        }
    }

    /// The step that a statement is.
    fn step(&self, connection: u64, sql: &str) -> Option<Step> {
        let mut open = self.transactions.lock();
        let open = open
            .as_mut()
            .unwrap_or_else(|poisoned| PoisonError::get_mut(poisoned));
        if sql.starts_with("BEGIN") || sql.starts_with("ROLLBACK") {
            open.remove(&connection);
            return None;
        }
        if sql.starts_with("COMMIT") {
            return open.get(&connection).copied().and_then(Step::of_commit);
        }
        let step = Step::of_statement(sql).filter(|step| step.role() == self.breaker.role)?;
        open.insert(connection, step);
        Some(step)
    }
}

#[async_trait]
impl Watch for BrokenDatabase {
    async fn before(&self, connection: u64, sql: &str) -> Fate {
        let Some(step) = self.step(connection, sql) else {
            return Fate::Pass;
        };
        let breaker = &self.breaker;
        match breaker.injector.before(step, breaker.instance).await {
            Some(Kind::CrashBefore) => breaker.crash.now().await,
            Some(_) => Fate::Cut,
            None => Fate::Pass,
        }
    }

    async fn after(&self, connection: u64, sql: &str) -> Fate {
        let Some(step) = self.step(connection, sql) else {
            return Fate::Pass;
        };
        let breaker = &self.breaker;
        match breaker.injector.after(step) {
            Some(Kind::CrashAfter) => breaker.crash.now().await,
            Some(_) => Fate::Cut,
            None => Fate::Pass,
        }
    }
}
