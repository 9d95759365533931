//! PgBouncer for tests.

use std::{fs, process::Command};

use anyhow::Context;
use tempfile::TempDir;
use url::Url;

use super::account::Account;
use crate::process::{Process, free_port, program};

/// A PgBouncer on a port of 127.0.0.1, stopped when it is dropped.
pub struct PgBouncer {
    // Declared before the directory: it must be stopped before its files are removed.
    _process: Process,
    _directory: TempDir,
    url: Url,
}

impl PgBouncer {
    /// Starts one for the database of a URL, with settings of `pgbouncer.ini` such as
    /// `("pool_mode", "session")`.
    pub fn start(database: &str, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut url: Url = database.parse().context("not the URL of a database")?;
        let directory = tempfile::Builder::new().prefix("jetline-pgbouncer-").tempdir()?;
        let users = directory.path().join("users");
        let password = url.password().unwrap_or_default();
        fs::write(&users, format!("\"{}\" \"{password}\"\n", url.username()))?;
        let name = url.path().trim_start_matches('/');
        let host = url.host_str().unwrap_or("127.0.0.1");
        let server = url.port().unwrap_or(5432);
        let port = free_port()?;
        let ours: Vec<String> =
            settings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let file = directory.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n{name} = host={host} port={server} dbname={name}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\n{}\n",
            users.display(),
            ours.join("\n")
        );
        fs::write(&file, text)?;
        let mut command = Command::new(program("pgbouncer")?);
        command.arg(&file).current_dir(directory.path());
        if let Some(account) = Account::instead_of_root()? {
            for file in [directory.path(), &file, &users] {
                account.own(file)?;
            }
            account.run(&mut command);
        }
        let mut process = Process::start(command, &directory.path().join("log"))?;
        process.wait_for_port(port)?;
        url.set_port(Some(port)).map_err(|()| anyhow::anyhow!("a URL without a host"))?;
        Ok(Self { _process: process, _directory: directory, url })
    }

    /// The URL of the database through it.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.to_string()
    }
}
