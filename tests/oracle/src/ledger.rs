//! The database of an installation, for tests and reports.

use std::collections::BTreeMap;

use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbErr,
    FromQueryResult, TransactionTrait,
};

use crate::{
    Expected, Key, Row,
    database_state::{DatabaseState, Difference, Object, read},
};

/// A database that is inspected.
#[derive(Clone)]
pub struct Ledger(pub DatabaseConnection);

#[derive(FromQueryResult)]
struct Text {
    text: String,
}

#[expect(clippy::missing_panics_doc, reason = "assertions panic")]
impl Ledger {
    /// Connects to a database, with as many connections as a test needs.
    pub async fn connect(url: &str) -> Result<Self, DbErr> {
        let mut options = ConnectOptions::new(url);
        options.max_connections(4).sqlx_logging(false);
        Ok(Self(Database::connect(options).await?))
    }

    /// Executes statements.
    pub async fn run(&self, sql: &str) -> Result<(), DbErr> {
        self.0.execute_unprepared(sql).await.map(drop)
    }

    /// The rows of a query.
    pub async fn rows<T: FromQueryResult>(&self, sql: &str) -> Result<Vec<T>, DbErr> {
        read(&self.0, sql).await
    }

    /// The column `text` of a query.
    pub async fn texts(&self, sql: &str) -> Result<Vec<String>, DbErr> {
        let found: Vec<Text> = self.rows(sql).await?;
        Ok(found.into_iter().map(|row| row.text).collect())
    }

    /// All objects in the order of their numbers.
    pub async fn objects(&self) -> Result<Vec<Object>, DbErr> {
        Object::all(&self.0).await
    }

    /// How many lines are committed.
    pub async fn lines(&self) -> Result<i64, DbErr> {
        Ok(self.objects().await?.iter().map(Object::lines).sum())
    }

    /// The id of the current epoch; empty before the first.
    pub async fn epoch(&self) -> Result<String, DbErr> {
        Ok(self.texts("SELECT id AS text FROM epoch").await?.concat())
    }

    /// How many deliveries are in a state.
    pub async fn deliveries(&self, state: &str) -> Result<usize, DbErr> {
        let sql = format!("SELECT key AS text FROM deliveries WHERE state = '{state}'");
        Ok(self.texts(&sql).await?.len())
    }

    /// How many deliveries newer ones cancelled.
    pub async fn cancelled_deliveries(&self) -> Result<usize, DbErr> {
        Ok(self.texts("SELECT key AS text FROM delivery_cancellations").await?.len())
    }

    /// How many statements wait for a lock in PostgreSQL.
    pub async fn waiting(&self) -> Result<usize, DbErr> {
        let sql = "SELECT CAST(pid AS TEXT) AS text FROM pg_stat_activity
             WHERE wait_event_type = 'Lock' AND datname = current_database()";
        Ok(self.texts(sql).await?.len())
    }

    /// Locks the table against writers until the transaction ends.
    pub async fn close_products(&self) -> Result<DatabaseTransaction, DbErr> {
        let gate = self.0.begin().await?;
        gate.execute_unprepared("LOCK TABLE products IN SHARE ROW EXCLUSIVE MODE").await?;
        Ok(gate)
    }

    /// Drops everything that the migrations created.
    pub async fn remove_all_tables(&self) -> Result<(), DbErr> {
        self.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await
    }

    /// The whole state. There must be no writers.
    pub async fn state(&self) -> Result<DatabaseState, DbErr> {
        DatabaseState::read(&self.0).await
    }

    /// Asserts that rows, rejected lines and counts are as expected, and that every object is done.
    pub async fn assert_holds(&self, expected: &Expected) {
        nothing_of(self.state().await.unwrap().differences(expected));
    }

    /// Like `assert_holds`, after a replay, which finds the rows of the first commit.
    pub async fn assert_replayed(&self, expected: &Expected) {
        let state = self.state().await.unwrap();
        nothing_of(state.not_done(|_| false));
        nothing_of(state.not_accounted_for(expected, |_| false));
    }

    /// Like `assert_holds`, with failed objects.
    pub async fn assert_agrees(&self, expected: &Expected) {
        let state = self.state().await.unwrap();
        nothing_of(state.not_accounted_for(expected, |_| false));
        nothing_of(state.not_inserted());
    }

    /// Asserts that the rows are as expected.
    pub async fn assert_rows(&self, expected: &BTreeMap<Key, Row>) {
        nothing_of(self.state().await.unwrap().wrong_rows(expected));
    }
}

fn nothing_of(differences: impl IntoIterator<Item = Difference>) {
    let mut differences = differences.into_iter();
    if let Some(first) = differences.next() {
        panic!("{first}, and {} more", differences.count());
    }
}
