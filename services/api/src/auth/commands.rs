//! The commands about API keys.

use anyhow::ensure;
use chrono::{SecondsFormat, Utc};
use clap::{Args, Subcommand};
use jetline_store::{ApiKey, Database};

use super::{
    caller::{Rights, Role},
    keys,
};

/// Creates and revokes API keys. Running apis notice it within 5 seconds.
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// Create a key and print it; it cannot be shown again
    Create {
        /// The name by which it is listed and revoked
        name: String,
        #[command(flatten)]
        rights: RightsArgs,
    },
    /// Revoke a key
    Revoke {
        /// Its name
        name: String,
    },
    /// Print the names of the keys and what they allow
    List,
}

/// What somebody may do.
#[derive(Args, Clone, Debug)]
pub struct RightsArgs {
    /// What is allowed
    #[arg(long, value_enum, default_value_t)]
    role: Role,
    /// The datasets that are allowed, separated by commas; all of them unless it is given
    #[arg(long, value_name = "DATASET", value_delimiter = ',')]
    of: Option<Vec<String>>,
}

impl RightsArgs {
    /// The rights, checked.
    pub(crate) fn rights(&self) -> anyhow::Result<Rights> {
        let names = self.of.as_ref();
        let datasets = names.map(|names| Rights::checked(names.iter().map(String::as_str)));
        Ok(Rights { role: self.role, datasets: datasets.transpose()? })
    }
}

impl KeyCommand {
    /// Runs the command; returns what it prints.
    pub async fn run(&self, database: &Database) -> anyhow::Result<String> {
        match self {
            Self::Create { name, rights } => {
                let is_name = !name.is_empty() && !name.contains(char::is_control);
                ensure!(is_name, "a name is not empty and has no control characters");
                let rights = rights.rights()?;
                let (text, key) = keys::create(name, &rights, Utc::now(), &mut rand::rng());
                let is_new = database.create_api_key(&key).await?;
                ensure!(is_new, "there is a key {name} already: revoke it, or choose another name");
                Ok(text)
            }
            Self::Revoke { name } => {
                let was_there = database.revoke_api_key(name).await?;
                ensure!(was_there, "there is no key {name}; `keys list` prints the names");
                Ok(format!("{name} is revoked."))
            }
            Self::List => {
                let keys = database.api_keys().await?;
                let lines: Vec<String> = keys.iter().map(line).collect();
                Ok(if lines.is_empty() { "No keys.".to_owned() } else { lines.join("\n") })
            }
        }
    }
}

fn line(key: &ApiKey) -> String {
    let datasets = key.datasets.as_ref().map_or("all datasets".to_owned(), |names| names.join(","));
    let created = key.created_at.to_rfc3339_opts(SecondsFormat::Secs, true);
    format!("{}  {}  {datasets}  {created}", key.name, key.role)
}
