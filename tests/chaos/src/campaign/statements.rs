//! Faults between a service and PostgreSQL, at statements within a transaction and at its COMMIT.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use jetline_testkit::postgres::statements::{Action, StatementHook};

use super::{fault::Kind, ports::Breaker, step::Step};

/// The statement hook of one instance.
pub(crate) struct FaultyDatabase {
    breaker: Breaker,
    /// The last step of the open transaction of each connection.
    transactions: Mutex<HashMap<u64, Step>>,
}

impl FaultyDatabase {
    pub(crate) fn new(breaker: Breaker) -> Self {
        Self { breaker, transactions: Mutex::default() }
    }

    /// The step of a statement.
    fn step(&self, connection: u64, sql: &str) -> Option<Step> {
        let mut open = self.transactions.lock();
        let open = open.as_mut().unwrap_or_else(|poisoned| PoisonError::get_mut(poisoned));
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
impl StatementHook for FaultyDatabase {
    async fn before(&self, connection: u64, sql: &str) -> Action {
        let Some(step) = self.step(connection, sql) else {
            return Action::Pass;
        };
        let breaker = &self.breaker;
        match breaker.injector.before(step, breaker.instance).await {
            Some(Kind::CrashBefore) => breaker.crash.now().await,
            Some(_) => Action::Reset,
            None => Action::Pass,
        }
    }

    async fn after(&self, connection: u64, sql: &str) -> Action {
        let Some(step) = self.step(connection, sql) else {
            return Action::Pass;
        };
        let breaker = &self.breaker;
        match breaker.injector.after(step) {
            Some(Kind::CrashAfter) => breaker.crash.now().await,
            Some(_) => Action::Reset,
            None => Action::Pass,
        }
    }
}
