//! What stands in a database, compared with what must.

use std::collections::BTreeMap;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, FromQueryResult, Statement,
    TransactionTrait,
};

use jetline_oracle::{
    Expected, Product,
    standing::{Difference, Object, Standing},
};

/// A database that the tests look into.
#[derive(Clone)]
pub(crate) struct Ledger(pub(crate) DatabaseConnection);

#[derive(FromQueryResult)]
struct Text {
    text: String,
}

impl Ledger {
    /// Connects to any database, as often as a test looks at once.
    pub(crate) async fn connect(url: &str) -> Self {
        let mut options = sea_orm::ConnectOptions::new(url);
        options.max_connections(4).sqlx_logging(false);
        Self(sea_orm::Database::connect(options).await.unwrap())
    }

    /// All objects in the order of their numbers.
    pub(crate) async fn objects(&self) -> Vec<Object> {
        self.try_objects().await.unwrap()
    }

    /// The same, for a database that may be away.
    pub(crate) async fn try_objects(&self) -> Result<Vec<Object>, DbErr> {
        Object::all(&self.0).await
    }

    /// How many lines have met their fate.
    pub(crate) async fn lines(&self) -> i64 {
        self.objects().await.iter().map(Object::lines).sum()
    }

    /// The id of the epoch in force, empty before the first.
    pub(crate) async fn epoch(&self) -> String {
        self.texts("SELECT id AS text FROM epoch").await.concat()
    }

    /// The texts that a query finds, as `text`.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let found: Vec<Text> = self.read(sql).await.unwrap();
        found.into_iter().map(|row| row.text).collect()
    }

    /// How many statements of others wait for a lock of PostgreSQL.
    pub(crate) async fn waiting(&self) -> usize {
        let sql = "SELECT CAST(pid AS TEXT) AS text FROM pg_stat_activity
             WHERE wait_event_type = 'Lock' AND datname = current_database()";
        self.read::<Text>(sql).await.unwrap().len()
    }

    /// Closes the table to writers until the transaction ends: what they have begun waits, whatever comes next too.
    pub(crate) async fn close_products(&self) -> DatabaseTransaction {
        let gate = self.0.begin().await.unwrap();
        gate.execute_unprepared("LOCK TABLE products IN SHARE ROW EXCLUSIVE MODE")
            .await
            .unwrap();
        gate
    }

    /// Leaves the database as it was before the first migration.
    pub(crate) async fn remove_all_tables(&self) {
        let sql = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
        self.0.execute_unprepared(sql).await.unwrap();
    }

    /// Runs statements.
    pub(crate) async fn run(&self, sql: &str) {
        self.0.execute_unprepared(sql).await.unwrap();
    }

    /// Asserts that rows, rejects and counts are as they must be, and that every object is done.
    pub(crate) async fn assert_holds(&self, expected: &Expected) {
        nothing_of(self.standing().await.differences(expected));
    }

    /// The same after a replay, which finds rows where the first commit made them.
    pub(crate) async fn assert_replayed(&self, expected: &Expected) {
        let standing = self.standing().await;
        nothing_of(standing.not_done(|_| false));
        nothing_of(standing.not_accounted_for(expected, |_| false));
    }

    /// The same where objects have failed.
    pub(crate) async fn assert_agrees(&self, expected: &Expected) {
        let standing = self.standing().await;
        nothing_of(standing.not_accounted_for(expected, |_| false));
        nothing_of(standing.not_inserted());
    }

    /// Asserts that the rows are as they must be.
    pub(crate) async fn assert_rows(&self, expected: &BTreeMap<i64, Product>) {
        nothing_of(self.standing().await.wrong_rows(expected));
    }

    async fn standing(&self) -> Standing {
        Standing::read(&self.0).await.unwrap()
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
