//! The keys with which programs authenticate at the API. The database has their hashes only.

use chrono::{DateTime, Utc};
use sea_orm::{FromQueryResult, Value};

use crate::{
    Database, Error,
    statement::{execute, query},
};

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its name.
    pub name: String,
    /// The hash of the key.
    pub hash: Vec<u8>,
    /// What it allows.
    pub role: String,
    /// The datasets that it allows; all without any.
    pub datasets: Option<Vec<String>>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
}

#[derive(FromQueryResult)]
struct KeyRow {
    name: String,
    hash: Vec<u8>,
    role: String,
    datasets: Option<String>,
    created_at: i64,
}

/// Between the names of datasets, which have none.
const SEPARATOR: char = ',';

impl Database {
    /// All keys, by name.
    pub async fn api_keys(&self) -> Result<Vec<ApiKey>, Error> {
        let sql = "SELECT name, hash, role, datasets, created_at FROM api_keys ORDER BY name";
        let rows: Vec<KeyRow> = query(self.connection(), "read api keys", sql, []).await?;
        Ok(rows.into_iter().map(ApiKey::from).collect())
    }

    /// Stores a key; returns whether its name is new.
    pub async fn create_api_key(&self, key: &ApiKey) -> Result<bool, Error> {
        let sql = "INSERT INTO api_keys (name, hash, role, datasets, created_at)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING";
        let datasets = key.datasets.as_ref().map(|names| names.join(&SEPARATOR.to_string()));
        let values: [Value; 5] = [
            key.name.as_str().into(),
            key.hash.clone().into(),
            key.role.as_str().into(),
            datasets.into(),
            key.created_at.timestamp_micros().into(),
        ];
        execute(self.connection(), "create api key", sql, values).await.map(|rows| rows == 1)
    }

    /// Removes a key; returns whether there was one of this name.
    pub async fn revoke_api_key(&self, name: &str) -> Result<bool, Error> {
        let sql = "DELETE FROM api_keys WHERE name = $1";
        let removed = execute(self.connection(), "revoke api key", sql, [name.into()]).await?;
        Ok(removed == 1)
    }
}

impl From<KeyRow> for ApiKey {
    fn from(row: KeyRow) -> Self {
        let names = |text: String| text.split(SEPARATOR).map(str::to_owned).collect();
        Self {
            name: row.name,
            hash: row.hash,
            role: row.role,
            datasets: row.datasets.map(names),
            created_at: DateTime::from_timestamp_micros(row.created_at).unwrap_or_default(),
        }
    }
}
