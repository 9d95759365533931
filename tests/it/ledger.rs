//! What stands in a database, compared with what must.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, FromQueryResult, Statement,
    TransactionTrait,
};

use jetline_oracle::{Expected, Product, Reject};

/// An object of the ledger.
#[derive(Clone, Debug, FromQueryResult)]
pub(crate) struct Object {
    pub(crate) key: String,
    pub(crate) state: String,
    pub(crate) error: Option<String>,
    pub(crate) readings: i64,
    pub(crate) total_lines: Option<i64>,
    pub(crate) inserted: i64,
    pub(crate) updated: i64,
    pub(crate) unchanged: i64,
    pub(crate) superseded: i64,
    pub(crate) rejected: i64,
}

impl Object {
    /// The lines whose fate is known.
    pub(crate) fn lines(&self) -> i64 {
        self.inserted + self.updated + self.unchanged + self.superseded + self.rejected
    }
}

/// A database that the tests look into.
#[derive(Clone)]
pub(crate) struct Ledger(pub(crate) DatabaseConnection);

#[derive(FromQueryResult)]
struct Row {
    id: i64,
    title: String,
    price: String,
    category: String,
    brand: String,
    url: String,
    description: String,
}

#[derive(FromQueryResult)]
struct RejectedLine {
    object_id: i64,
    line: i64,
    byte_offset: i64,
    reason: String,
    message: String,
    raw: Vec<u8>,
}

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
        let counts = ["inserted", "updated", "unchanged", "superseded", "rejected"].map(|count| {
            format!(
                ", CAST(o.{count} + COALESCE((SELECT SUM(c.{count}) FROM chunks c \
                 WHERE c.object_id = o.id AND c.state <> 'suspect'), 0) AS BIGINT) AS {count}"
            )
        });
        let sql = format!(
            "SELECT key, state, error, readings, total_lines{} FROM objects o ORDER BY id",
            counts.concat()
        );
        self.read(&sql).await
    }

    /// How many lines have met their fate.
    pub(crate) async fn lines(&self) -> i64 {
        self.objects().await.iter().map(Object::lines).sum()
    }

    /// The id of the epoch in force, empty before the first.
    pub(crate) async fn epoch(&self) -> String {
        let found: Vec<Text> = self.read("SELECT id AS text FROM epoch").await.unwrap();
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

    /// Asserts that every object is done and rows, rejects and counts are as they must be after a replay, which finds rows
    /// where the first commit made them.
    pub(crate) async fn assert_replayed(&self, expected: &Expected) {
        for object in self.objects().await {
            assert_eq!(object.state, "done", "{object:?}");
        }
        self.assert_accounted_for(expected).await;
    }

    /// Asserts that rows, rejects and counts are as they must be, and that every object is done.
    pub(crate) async fn assert_holds(&self, expected: &Expected) {
        for object in self.objects().await {
            assert_eq!(object.state, "done", "{object:?}");
        }
        self.assert_agrees(expected).await;
    }

    /// The same where objects have failed.
    pub(crate) async fn assert_agrees(&self, expected: &Expected) {
        self.assert_accounted_for(expected).await;
        let objects = self.objects().await;
        let inserted: i64 = objects.iter().map(|object| object.inserted).sum();
        assert_eq!(usize::try_from(inserted).unwrap(), expected.rows.len());
    }

    async fn assert_accounted_for(&self, expected: &Expected) {
        self.assert_rows(&expected.rows).await;
        self.assert_rejects(&expected.rejects).await;
        let objects = self.objects().await;
        let lines: Vec<i64> = objects.iter().map(Object::lines).collect();
        assert_eq!(lines, expected.lines, "{objects:?}");
        let all_lines: Vec<i64> = objects
            .iter()
            .map(|object| object.total_lines.unwrap_or(0))
            .collect();
        assert_eq!(all_lines, expected.all_lines, "{objects:?}");
    }

    pub(crate) async fn assert_rows(&self, expected: &BTreeMap<i64, Product>) {
        let sql = "SELECT id, title, CAST(price AS TEXT) AS price, category, brand, url, description FROM products";
        let rows: Vec<Row> = self.read(sql).await.unwrap();
        let rows: BTreeMap<i64, Product> = rows.into_iter().map(Row::product).collect();
        let missing = expected.keys().filter(|id| !rows.contains_key(id)).count();
        assert_eq!(missing, 0, "rows are missing");
        for (id, row) in &rows {
            assert_eq!(Some(row), expected.get(id), "row {id} is not the last line");
        }
    }

    async fn assert_rejects(&self, expected: &BTreeSet<Reject>) {
        let sql = "SELECT * FROM rejected_lines";
        let lines: Vec<RejectedLine> = self.read(sql).await.unwrap();
        assert!(lines.iter().all(|line| !line.message.is_empty()));
        let rejects: BTreeSet<Reject> = lines.into_iter().map(RejectedLine::reject).collect();
        if let Some(reject) = rejects.symmetric_difference(expected).next() {
            let side = if expected.contains(reject) {
                "missing"
            } else {
                "unexpected"
            };
            let raw = String::from_utf8_lossy(&reject.raw);
            panic!("{side} reject {reject:?}: {raw}");
        }
    }

    pub(crate) async fn read<T: FromQueryResult>(&self, sql: &str) -> Result<Vec<T>, DbErr> {
        let statement = Statement::from_string(self.0.get_database_backend(), sql);
        T::find_by_statement(statement).all(&self.0).await
    }
}

impl Row {
    fn product(self) -> (i64, Product) {
        let product = Product {
            id: self.id,
            title: self.title,
            price: self.price,
            category: self.category,
            brand: self.brand,
            url: self.url,
            description: self.description,
        };
        (self.id, product)
    }
}

impl RejectedLine {
    fn reject(self) -> Reject {
        Reject {
            object: self.object_id,
            line: self.line,
            offset: self.byte_offset,
            reason: self.reason,
            raw: self.raw,
        }
    }
}
