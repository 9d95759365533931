//! `drop`: removes a dataset.

use std::{
    io::{BufRead, IsTerminal, Write, stderr, stdin},
    thread,
};

use anyhow::{Context, bail, ensure};
use jetline_store::Database;
use tokio::sync::oneshot;

/// The dataset to drop.
#[derive(Clone, Debug, clap::Args)]
pub struct DropSettings {
    /// The name of the dataset
    #[arg(value_name = "DATASET")]
    pub name: String,

    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// Removes a dataset with its table, after a confirmation; returns what was done.
pub(crate) async fn drop_dataset(
    args: &DropSettings,
    database: &Database,
) -> anyhow::Result<String> {
    let name = &args.name;
    let Some(objects) = database.objects_of(name).await? else {
        bail!("there is no dataset {name}; there are: {}", database.datasets().await?.names());
    };
    ensure!(args.yes || confirm(name, objects).await?, "nothing was dropped");
    ensure!(database.drop_dataset(name).await?, "there is no dataset {name} any more");
    Ok(format!(
        "Dataset {name} is dropped; objects: {objects}. The files of its sources are as they were. Where a declaration of it \
         is left, as in datasets/{name}.toml, the next start declares it again and reads them again."
    ))
}

async fn confirm(name: &str, objects: u64) -> anyhow::Result<bool> {
    ensure!(
        stdin().is_terminal(),
        "dropping {name} removes its table: add --yes, as there is no terminal to ask"
    );
    let mut terminal = stderr();
    write!(
        terminal,
        "Drop the dataset {name}, with its table and what the ledger has of its objects ({objects})? [y/N] "
    )?;
    terminal.flush()?;
    let answer = read_line().await.context("cannot read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// A line of the standard input. It is read in a thread of its own: unlike a task, that does not keep a program from
/// ending.
async fn read_line() -> anyhow::Result<String> {
    let (sender, read) = oneshot::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let result = stdin().lock().read_line(&mut line);
        _ = sender.send(result.map(|_| line));
    });
    Ok(read.await??)
}
