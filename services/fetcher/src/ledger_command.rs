//! The commands that show what is in the ledger. They need no source and no queue, and change nothing.

use std::process::ExitCode;

use clap::Subcommand;
use jetline_runtime::{Shutdown, StartupSettings};
use jetline_store::{Catalog, Database, DatabaseSettings};

use crate::{
    rejects::{RejectsSettings, rejects},
    report::{StatusSettings, status},
};

/// Shows what is in the ledger.
#[derive(Subcommand)]
pub enum LedgerCommand {
    /// Show the objects with their states and counts; exit status 1 if one has failed and is not dismissed
    Status(StatusSettings),
    /// Show the rejected lines, or write them into a file
    Rejects(RejectsSettings),
}

impl LedgerCommand {
    /// Runs the command on the database as it is.
    pub async fn run(
        &self,
        database: &DatabaseSettings,
        startup: &StartupSettings,
        shutdown: &Shutdown,
    ) -> anyhow::Result<ExitCode> {
        let show = async |database: Database| {
            let catalog = Catalog::new(&database);
            match self {
                Self::Status(args) => status(args, &catalog).await,
                Self::Rejects(args) => rejects(args, &catalog).await.map(|()| ExitCode::SUCCESS),
            }
        };
        database.read_ledger(startup, shutdown, show).await
    }
}
