//! A separate database for a test, with all migrations.

use std::{collections::BTreeMap, thread};

use jetline_migrations::Migrator;
use sea_orm::{ConnectOptions, ConnectionTrait, DatabaseConnection, DbErr};
use sea_orm_migration::MigratorTrait;
use tokio::sync::Mutex;
use url::Url;

use super::PostgresServer;
use crate::process::server;

/// The migrated database that this process copies, by server. Copying excludes other users of the copied one, so
/// the lock is held meanwhile.
static TEMPLATES: Mutex<BTreeMap<String, String>> = Mutex::const_new(BTreeMap::new());

/// A new database with all migrations, dropped with this.
pub struct TemporaryDatabase {
    server: String,
    name: String,
    drop_it: bool,
}

impl TemporaryDatabase {
    /// Creates one on the server of `JETLINE_TEST_POSTGRES`. The hint becomes part of its name.
    pub async fn create(name_hint: &str) -> Self {
        Self::create_at(&server("JETLINE_TEST_POSTGRES"), name_hint).await
    }

    /// Creates one in which texts are in the order of English words, as in many installations: with `a` before `B`.
    pub async fn create_in_english(name_hint: &str) -> Self {
        let (server, name) = (server("JETLINE_TEST_POSTGRES"), unique_name(name_hint));
        let options = "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'";
        create_migrated(&server, &name, options).await;
        Self { server, name, drop_it: true }
    }

    /// Creates one on the server of a superuser's URL.
    pub async fn create_at(server: &str, name_hint: &str) -> Self {
        let mut database = Self::copy_template(server, name_hint).await;
        database.drop_it = true;
        database
    }

    /// Creates one on a private server, and does not drop it.
    pub async fn create_on(server: &PostgresServer) -> Self {
        Self::copy_template(server.url(), "private").await
    }

    /// Like `create_on`, with URL parameters such as `sslcert=…&sslkey=…`.
    pub async fn create_on_as(server: &PostgresServer, parameters: &str) -> Self {
        Self::copy_template(&format!("{}?{parameters}", server.url()), "private").await
    }

    async fn copy_template(server: &str, name_hint: &str) -> Self {
        let name = unique_name(name_hint);
        let mut templates = TEMPLATES.lock().await;
        let template = if let Some(template) = templates.get(server) {
            template.clone()
        } else {
            let template = unique_name("template");
            create_migrated(server, &template, "").await;
            templates.insert(server.to_owned(), template.clone());
            template
        };
        administer(server, &format!("CREATE DATABASE {name} TEMPLATE {template}"))
            .await
            .unwrap_or_else(|error| panic!("cannot create the database {name}: {error}"));
        Self { server: server.to_owned(), name, drop_it: false }
    }

    /// Its name on its server.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its URL, with user and password.
    #[must_use]
    pub fn url(&self) -> String {
        named(&self.server, &self.name)
    }

    /// A pool of up to ten connections.
    pub async fn connect(&self) -> DatabaseConnection {
        connect(&self.url(), 10)
            .await
            .unwrap_or_else(|error| panic!("cannot connect to the database {}: {error}", self.name))
    }
}

impl Drop for TemporaryDatabase {
    /// Drops the database: hundreds of them would fill the disk. An error is ignored: the server may have stopped.
    fn drop(&mut self) {
        if !self.drop_it {
            return;
        }
        let server = self.server.clone();
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let dropping = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(administer(&server, &sql)).map_err(std::io::Error::other)
        });
        let _ = dropping.join();
    }
}

fn unique_name(hint: &str) -> String {
    let hint: String = hint
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .take(30)
        .collect();
    format!("jetline_{hint}_{:016x}", rand::random::<u64>())
}

async fn create_migrated(server: &str, name: &str, options: &str) {
    let migrated = async {
        administer(server, &format!("CREATE DATABASE {name} {options}")).await?;
        let database = connect(&named(server, name), 1).await?;
        Migrator::up(&database, None).await?;
        database.close().await
    };
    migrated.await.unwrap_or_else(|error| panic!("cannot create the database {name}: {error}"));
}

async fn administer(server: &str, sql: &str) -> Result<(), DbErr> {
    let connection = connect(server, 1).await?;
    connection.execute_unprepared(sql).await?;
    connection.close().await
}

async fn connect(url: &str, connections: u32) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(connections).sqlx_logging(false);
    sea_orm::Database::connect(options).await
}

fn named(server: &str, database: &str) -> String {
    let mut url = Url::parse(server)
        .unwrap_or_else(|error| panic!("JETLINE_TEST_POSTGRES is not a URL: {error}"));
    url.set_path(database);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_need_no_quotes() {
        let name = unique_name("Chunk twice; then WIPED, and many more words");
        assert!(name.starts_with("jetline_chunk_twice__then_wiped__and_m"));
        assert!(name.len() <= 63);
        assert_ne!(name, unique_name("Chunk twice; then WIPED, and many more words"));
    }
}
