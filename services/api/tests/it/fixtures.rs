//! An API on the test's own database.

use std::{convert::Infallible, num::NonZeroU32, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};
use jetline_api::{
    Actions, ApiSettings, App, Changes, IntakeMode, IntakeParts, IntakeSettings, ObjectsWakeup,
    RequestedReplay,
    auth::{Rights, Users, hash_password},
};
use jetline_core::{ChunkRange, Mode, ObjectVersion, Position};
use jetline_datasets::{Datasets, PRODUCTS, UnknownFields};
use jetline_migrations::Migrator;
use jetline_runtime::{PrometheusHandle, Shutdown};
use jetline_source::S3Config;
use jetline_store::{
    ChunkRows, CommitOutcome, Database, DeclarationFile, KeyClaim, Ledger, UpsertRow,
    objects::NewObject,
};
use jetline_testkit::postgres::TemporaryDatabase;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use poem::{
    Response,
    endpoint::BoxEndpoint,
    test::{TestClient, TestResponse},
};
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, Statement, Value};
use sea_orm_migration::MigratorTrait;
use serde_json::value::RawValue;
use tempfile::TempDir;

/// A client of an API, with its database.
#[derive(Clone)]
pub(crate) struct TestApi {
    pub(crate) db: DatabaseConnection,
    client: Arc<TestClient<BoxEndpoint<'static, Response>>>,
    sqlite: Arc<Option<TempDir>>,
    _postgres: Arc<Option<TemporaryDatabase>>,
}

impl TestApi {
    /// One on each of the databases.
    pub(crate) async fn both() -> [Self; 2] {
        Self::both_with(&settings()).await
    }

    pub(crate) async fn both_with(settings: &ApiSettings) -> [Self; 2] {
        [Self::sqlite_with(settings).await, Self::postgres_with(settings).await]
    }

    pub(crate) async fn sqlite() -> Self {
        Self::sqlite_with(&settings()).await
    }

    pub(crate) async fn sqlite_with(settings: &ApiSettings) -> Self {
        Self::on_sqlite(None, settings).await
    }

    /// With authentication.
    pub(crate) async fn guarded(users: Users) -> Self {
        Self::guarded_with(users, &settings()).await
    }

    pub(crate) async fn guarded_with(users: Users, settings: &ApiSettings) -> Self {
        Self::on_sqlite(Some(users), settings).await
    }

    async fn on_sqlite(users: Option<Users>, settings: &ApiSettings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("test.db");
        let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", file.display()));
        options.sqlx_logging(false);
        let db = sea_orm::Database::connect(options).await.unwrap();
        Migrator::up(&db, None).await.unwrap();
        Self {
            client: Arc::new(client_with(db.clone(), users, settings)),
            db,
            sqlite: Arc::new(Some(directory)),
            _postgres: Arc::new(None),
        }
    }

    /// On SQLite, with an intake for everybody that writes into a directory.
    pub(crate) async fn with_intake() -> Self {
        let mut base = Self::sqlite().await;
        let mut open = settings();
        open.intake.intake = IntakeMode::Open;
        let directory = base.sqlite.as_ref().as_ref().unwrap().path().join("intake");
        let location = directory.to_str().unwrap().parse().unwrap();
        let store = jetline_source::open_store(&location, &S3Config::default()).await.unwrap();
        let wakeup = ObjectsWakeup::default();
        let intake = IntakeParts { store, database: base.database(), wakeup, redact_key: None };
        base.client = Arc::new(client_of(base.db.clone(), Some(intake), None, &open));
        base
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = self.client.post(path).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request.send().await).await
    }

    pub(crate) fn database(&self) -> Database {
        self.db.clone().into()
    }

    pub(crate) async fn postgres() -> Self {
        Self::postgres_with(&settings()).await
    }

    pub(crate) async fn postgres_with(settings: &ApiSettings) -> Self {
        let database = TemporaryDatabase::create("api").await;
        let db = database.connect().await;
        Self {
            client: Arc::new(client_with(db.clone(), None, settings)),
            db,
            sqlite: Arc::new(None),
            _postgres: Arc::new(Some(database)),
        }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        self.sqlite.is_none()
    }

    /// The URL of its SQLite database.
    pub(crate) fn url(&self) -> String {
        let directory = self.sqlite.as_ref().as_ref().unwrap();
        format!("sqlite://{}", directory.path().join("test.db").display())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.client.get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = Answer::of(request.send().await).await;
        Answer { path: path.split('?').next().unwrap().to_owned(), ..answer }
    }

    pub(crate) async fn get_as(&self, path: &str, authorization: &str) -> Answer {
        self.get_with(path, &[("authorization", authorization)]).await
    }

    /// The pages of a list, from the first one on.
    pub(crate) async fn pages(&self, first: &str) -> Vec<Answer> {
        let mut path = Some(first.to_owned());
        let mut pages = Vec::new();
        while let Some(page) = path {
            let answer = self.get(&page).await;
            assert_eq!(answer.status, 200, "{page}: {}", answer.body);
            path = answer.next();
            pages.push(answer);
        }
        pages
    }

    /// One field of the entries of each page.
    pub(crate) async fn columns(&self, first: &str, field: &str) -> Vec<Vec<serde_json::Value>> {
        self.pages(first).await.iter().map(|page| page.column(field)).collect()
    }

    pub(crate) fn client(&self) -> &TestClient<BoxEndpoint<'static, Response>> {
        &self.client
    }

    /// Stores a product as a writer does, and returns its tag.
    pub(crate) async fn store(&self, id: i64, price: &str, at: DateTime<Utc>) -> String {
        let datasets = datasets();
        let products = datasets.get("products").unwrap();
        let row = products.parse_json(product(id, price).as_bytes()).unwrap();
        let text = |at: usize| Value::from(row.values[at].to_text());
        let price = match self.db.get_database_backend() {
            DbBackend::Sqlite => "$3",
            _ => "$3::text::numeric",
        };
        let fingerprint = row.fingerprint.as_bytes().to_vec();
        let values = [id.into(), text(1), text(2), fingerprint.into(), at.into()];
        let sql = format!(
            "INSERT INTO products \
             (id, title, price, category, brand, url, description, jetline_fingerprint, jetline_position, jetline_changed_at) \
             VALUES ($1, $2, {price}, 'c', 'b', 'u', 'd', $4, 1, $5)"
        );
        self.execute(&sql, values).await;
        format!("{}-1", row.fingerprint)
    }

    /// Declares a dataset, which creates or extends its table.
    pub(crate) async fn declare(&self, name: &str, text: &str) {
        let products = DeclarationFile::new("products", "products.toml", PRODUCTS).unwrap();
        let file = DeclarationFile::new(name, "declaration", text).unwrap();
        self.database().declare(&[products, file]).await.unwrap();
    }

    /// Loads an object with these records, each with another id, as fetcher and writer do.
    pub(crate) async fn load(&self, dataset: &str, records: &[String]) {
        let database = self.database();
        let ledger = Ledger::new(&database, Utc::now);
        let object = ledger.objects.next().await.unwrap();
        ledger.objects.register(&[listed(dataset, object.get())]).await.unwrap();
        let id = format!("{:016x}", object.get()).parse().unwrap();
        let ready = async { Ok::<(), Infallible>(()) };
        let epoch = ledger.epochs.begin(Mode::Shared, None, id, ready).await.unwrap();
        let datasets = database.datasets().await.unwrap();
        let dataset = datasets.get(dataset).unwrap();
        let rows = (1..).zip(records).map(|(line, record)| UpsertRow {
            row: dataset.parse_json(record.as_bytes()).unwrap(),
            position: Position::new(object, line),
            if_changed: false,
            claim: KeyClaim::None,
        });
        let rows: Vec<UpsertRow> = rows.collect();
        let history = if dataset.has_history { rows.clone() } else { Vec::new() };
        let lines = u32::try_from(rows.len()).unwrap();
        let range = ChunkRange {
            object,
            incarnation: "r".to_owned(),
            start: 0,
            end: u64::from(lines),
            first_line: 1,
            lines,
        };
        let chunk = ChunkRows {
            range,
            rows,
            unchanged: 0,
            superseded: 0,
            replacements: Vec::new(),
            history,
            rejected: Vec::new(),
            blank: 0,
            superseded_by: Vec::new(),
            unknown: UnknownFields::default(),
        };
        let outcome = ledger.chunks.commit(epoch.id, dataset, vec![chunk]).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
    }

    pub(crate) async fn execute(&self, sql: &str, values: impl IntoIterator<Item = Value>) {
        let backend = self.db.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, values);
        self.db.execute_raw(statement).await.unwrap();
    }
}

fn listed(dataset: &str, number: i64) -> NewObject {
    NewObject {
        incarnation: "r".to_owned(),
        dataset: dataset.to_owned(),
        is_posted: false,
        version: ObjectVersion {
            root: "s3://bucket".to_owned(),
            key: format!("{number}.jsonl"),
            etag: "e".to_owned(),
            size: 1_000,
            last_modified: DateTime::from_timestamp(number, 0).unwrap(),
        },
        chunk_bytes: 100,
        chunk_lines: NonZeroU32::MIN,
        max_line_bytes: 100,
    }
}

pub(crate) fn datasets() -> Datasets {
    Datasets::built_in().unwrap()
}

/// The JSON of a product.
pub(crate) fn product(id: i64, price: &str) -> String {
    format!(
        r#"{{"id":{id},"title":"title {id}","price":{price},"category":"c","brand":"b","url":"u","description":"d"}}"#
    )
}

pub(crate) fn settings() -> ApiSettings {
    ApiSettings {
        listen: ([127, 0, 0, 1], 0).into(),
        request_timeout: Duration::from_mins(1),
        max_body_bytes: 1_000,
        max_header_bytes: 2_000,
        header_timeout: Duration::from_mins(1),
        idle_timeout: Duration::from_mins(1),
        api_connections: 100,
        cache_time: Duration::ZERO,
        cache_bytes: 1 << 20,
        answer_bytes: 64 << 20,
        users_file: None,
        api_keys: false,
        rate_limit: None,
        trusted_proxies: Vec::new(),
        intake: IntakeSettings {
            intake: IntakeMode::Off,
            intake_max_bytes: 100 << 20,
            intake_memory: 64 << 20,
        },
        cors_origins: Vec::new(),
    }
}

/// Users with these names and passwords, and rights as their lines in the file have them, such as `:read:orders`.
pub(crate) fn users(users: &[(&str, &str, &str)]) -> Users {
    let lines = users.iter().map(|(name, password, rights)| {
        let line = hash_password(name, password, &Rights::default(), &mut rand::rng()).unwrap();
        format!("{line}{rights}\n")
    });
    Users::parse(&lines.collect::<String>()).unwrap()
}

/// The header by which a user authenticates, with credentials such as `ann:sesame`.
pub(crate) fn basic(credentials: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(credentials))
}

pub(crate) fn metrics() -> PrometheusHandle {
    PrometheusBuilder::new().build_recorder().handle()
}

/// The value of a metric of the products.
pub(crate) fn metric_of_products(recorder: &PrometheusRecorder, name: &str) -> u32 {
    let text = recorder.handle().render();
    let start = format!("{name}{{dataset=\"products\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&start));
    value.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

pub(crate) fn client_with(
    database: impl Into<Database>,
    users: Option<Users>,
    settings: &ApiSettings,
) -> TestClient<BoxEndpoint<'static, Response>> {
    client_of(database, None, users, settings)
}

fn client_of(
    database: impl Into<Database>,
    intake: Option<IntakeParts>,
    users: Option<Users>,
    settings: &ApiSettings,
) -> TestClient<BoxEndpoint<'static, Response>> {
    let database: Database = database.into();
    let actions = users.is_some().then(|| {
        let replay =
            RequestedReplay { database: database.clone(), timeout: Duration::from_secs(5) };
        Actions { database: database.clone(), replay: Some(Arc::new(replay)) }
    });
    let app = App {
        database,
        changes: Changes { intake, actions },
        metrics: metrics(),
        users,
        shutdown: Shutdown::new(),
    };
    TestClient::new(app.endpoint(settings, &mut rand::rng()))
}

/// A response.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    headers: poem::http::HeaderMap,
    /// The path that was asked for, without its query.
    path: String,
}

impl Answer {
    pub(crate) async fn of(response: TestResponse) -> Self {
        let response = response.0;
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.into_body().into_string().await.unwrap(),
            path: String::new(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn headers(&self) -> &poem::http::HeaderMap {
        &self.headers
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The raw JSON text of a field.
    pub(crate) fn raw(&self, field: &str) -> String {
        let fields: std::collections::HashMap<String, Box<RawValue>> =
            serde_json::from_str(&self.body).unwrap();
        fields[field].get().to_owned()
    }

    /// One field of every entry of a list.
    pub(crate) fn column(&self, field: &str) -> Vec<serde_json::Value> {
        let json = self.json();
        let entries = json.as_array().unwrap_or_else(|| panic!("no list: {json}"));
        entries.iter().map(|entry| entry[field].clone()).collect()
    }

    /// The detail of a problem; asserts its status.
    pub(crate) fn problem(&self, status: u16) -> String {
        let json = self.json();
        assert_eq!(self.status, status, "{json}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{json}");
        assert_eq!(json["status"], status, "{json}");
        assert!(json["title"].is_string() && json["type"].is_string(), "{json}");
        assert_eq!(json["request_id"].as_str(), self.header("x-request-id"), "{json}");
        assert!(self.body.ends_with("}\n"), "{json}");
        json["detail"].as_str().unwrap().to_owned()
    }

    /// The path of the next page.
    pub(crate) fn next(&self) -> Option<String> {
        let link = self.header("link")?;
        let query = link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"")?;
        // Relative to this page.
        assert!(query.starts_with('?'), "{link}");
        Some(format!("{}{query}", self.path))
    }
}
