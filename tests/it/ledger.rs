//! Compares a database with the expected result.

use std::collections::BTreeMap;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, FromQueryResult, Statement,
    TransactionTrait,
};

use jetline_oracle::{
    Expected, Product,
    database_state::{DatabaseState, Difference, Object},
};

/// A database for the tests to inspect.
#[derive(Clone)]
pub(crate) struct Ledger(pub(crate) DatabaseConnection);

#[derive(FromQueryResult)]
struct Text {
    text: String,
}

impl Ledger {
    /// Connects to a database, with as many connections as a test needs.
    pub(crate) async fn connect(url: &str) -> Self {
        let mut options = sea_orm::ConnectOptions::new(url);
        options.max_connections(4).sqlx_logging(false);
        Self(sea_orm::Database::connect(options).await.unwrap())
    }

    /// All objects in the order of their numbers.
    pub(crate) async fn objects(&self) -> Vec<Object> {
        self.try_objects().await.unwrap()
    }

    /// Like `objects`, for a database that may be unavailable.
    pub(crate) async fn try_objects(&self) -> Result<Vec<Object>, DbErr> {
        Object::all(&self.0).await
    }

    /// How many lines are committed.
    pub(crate) async fn lines(&self) -> i64 {
        self.objects().await.iter().map(Object::lines).sum()
    }

    /// The id of the current epoch; empty before the first.
    pub(crate) async fn epoch(&self) -> String {
        self.texts("SELECT id AS text FROM epoch").await.concat()
    }

    /// The column `text` of a query.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let found: Vec<Text> = self.read(sql).await.unwrap();
        found.into_iter().map(|row| row.text).collect()
    }

    /// How many statements wait for a lock in PostgreSQL.
    pub(crate) async fn waiting(&self) -> usize {
        let sql = "SELECT CAST(pid AS TEXT) AS text FROM pg_stat_activity
             WHERE wait_event_type = 'Lock' AND datname = current_database()";
        self.read::<Text>(sql).await.unwrap().len()
    }

    /// Locks the table against writers until the transaction ends.
    pub(crate) async fn close_products(&self) -> DatabaseTransaction {
        let gate = self.0.begin().await.unwrap();
        gate.execute_unprepared("LOCK TABLE products IN SHARE ROW EXCLUSIVE MODE").await.unwrap();
        gate
    }

    /// Drops everything that the migrations created.
    pub(crate) async fn remove_all_tables(&self) {
        let sql = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
        self.0.execute_unprepared(sql).await.unwrap();
    }

    /// Runs statements.
    pub(crate) async fn run(&self, sql: &str) {
        self.0.execute_unprepared(sql).await.unwrap();
    }

    /// Asserts that rows, rejected lines and counts are as expected, and that every object is done.
    pub(crate) async fn assert_holds(&self, expected: &Expected) {
        nothing_of(self.database_state().await.differences(expected));
    }

    /// Like `assert_holds`, after a replay, which finds the rows of the first commit.
    pub(crate) async fn assert_replayed(&self, expected: &Expected) {
        let state = self.database_state().await;
        nothing_of(state.not_done(|_| false));
        nothing_of(state.not_accounted_for(expected, |_| false));
    }

    /// Like `assert_holds`, with failed objects.
    pub(crate) async fn assert_agrees(&self, expected: &Expected) {
        let state = self.database_state().await;
        nothing_of(state.not_accounted_for(expected, |_| false));
        nothing_of(state.not_inserted());
    }

    /// Asserts that the rows are as expected.
    pub(crate) async fn assert_rows(&self, expected: &BTreeMap<i64, Product>) {
        nothing_of(self.database_state().await.wrong_rows(expected));
    }

    async fn database_state(&self) -> DatabaseState {
        DatabaseState::read(&self.0).await.unwrap()
    }

    pub(crate) async fn read<T: FromQueryResult>(&self, sql: &str) -> Result<Vec<T>, DbErr> {
        let statement = Statement::from_string(self.0.get_database_backend(), sql);
        T::find_by_statement(statement).all(&self.0).await
    }
}

fn nothing_of(differences: impl IntoIterator<Item = Difference>) {
    let mut differences = differences.into_iter();
    if let Some(first) = differences.next() {
        panic!("{first}, and {} more", differences.count());
    }
}
