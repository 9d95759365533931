//! The commands about deliveries.

use std::time::Duration;

use anyhow::{bail, ensure};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use jetline_datasets::{Dataset, Destination};
use jetline_runtime::settings;
use jetline_store::{Database, Outbox, outbox::Redeliver};

/// Changes what is delivered.
#[derive(Clone, Debug, Subcommand)]
pub enum DeliveryCommand {
    /// Deliver again what was delivered or is dead, with the same ids of messages
    Redeliver(RedeliverSettings),
    /// Deliver all records that a destination was never told of, as new ones: after it was added to a dataset that is loaded
    Backfill(DestinationArgs),
    /// Deliver to a destination again that was disabled, or that answered 410
    Enable(DestinationArgs),
    /// Deliver nothing to a destination until it is enabled; changes wait meanwhile
    Disable(DestinationArgs),
}

/// A destination.
#[derive(Args, Clone, Debug)]
pub struct DestinationArgs {
    /// The name of the destination
    #[arg(value_name = "NAME")]
    name: String,
    /// The dataset, where destinations of several have the name
    #[arg(long, value_name = "DATASET")]
    of: Option<String>,
}

/// Which deliveries are made again.
#[derive(Args, Clone, Debug)]
pub struct RedeliverSettings {
    #[command(flatten)]
    what: DeliverySelection,
    /// Only those to the destination of this name
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
    /// Only those of this dataset
    #[arg(long, value_name = "DATASET")]
    of: Option<String>,
}

#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
struct DeliverySelection {
    /// Those that are dead
    #[arg(long)]
    dead: bool,
    /// Those that were delivered or died since this time, as in 2026-11-27T08:00:00Z, or for so long, as in 2h
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<DateTime<Utc>>,
    /// Those of the records with this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

fn since(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let ago: Duration = settings::duration(text)
        .map_err(|_| "must be a time such as 2026-11-27T08:00:00Z, or a duration such as 2h")?;
    let ago = chrono::Duration::from_std(ago).map_err(|error| error.to_string())?;
    Utc::now().checked_sub_signed(ago).ok_or_else(|| "is too long ago".to_owned())
}

impl DeliveryCommand {
    /// Runs the command; returns what was done.
    pub async fn run(&self, database: &Database) -> anyhow::Result<String> {
        let outbox = Outbox::new(database);
        match self {
            Self::Redeliver(args) => args.run(database, &outbox).await,
            Self::Backfill(args) => {
                let (dataset, at) = args.find(database).await?;
                let destination = &dataset.destinations[at];
                ensure!(
                    destination.wants(jetline_datasets::ChangeKind::Inserted),
                    "{} of {} does not want records that are inserted: `on` is without it",
                    destination.name,
                    dataset.name
                );
                let count = outbox.backfill(&dataset, at).await?;
                Ok(format!("To be delivered to {} of {}: {count}.", destination.name, dataset.name))
            }
            Self::Enable(args) => {
                let (dataset, at) = args.find(database).await?;
                outbox.enable(&dataset.destinations[at]).await?;
                Ok(format!("{} of {} is enabled.", args.name, dataset.name))
            }
            Self::Disable(args) => {
                let (dataset, at) = args.find(database).await?;
                outbox.disable(&dataset.destinations[at], "by command").await?;
                Ok(format!("{} of {} is disabled.", args.name, dataset.name))
            }
        }
    }
}

impl RedeliverSettings {
    async fn run(&self, database: &Database, outbox: &Outbox) -> anyhow::Result<String> {
        let args = match &self.what {
            DeliverySelection { since: Some(time), .. } => {
                Redeliver::Since(time.timestamp_millis())
            }
            DeliverySelection { key: Some(key), .. } => Redeliver::Key(key.clone()),
            DeliverySelection { .. } => Redeliver::Dead,
        };
        let destinations = find(database, self.to.as_deref(), self.of.as_deref()).await?;
        let mut count = 0;
        for (dataset, at) in destinations {
            count += outbox.redeliver(dataset.destinations[at].id, &args).await?;
        }
        Ok(format!("To be delivered again: {count}."))
    }
}

impl DestinationArgs {
    async fn find(&self, database: &Database) -> anyhow::Result<(Dataset, usize)> {
        let mut found = find(database, Some(&self.name), self.of.as_deref()).await?;
        if let [(first, _), (second, _), ..] = &found[..] {
            bail!(
                "{} and {} have a destination {}: name one of them with --of",
                first.name,
                second.name,
                self.name
            );
        }
        Ok(found.remove(0))
    }
}

/// The destinations of this name and dataset, at least one: each as its dataset and its number in it.
async fn find(
    database: &Database,
    name: Option<&str>,
    of: Option<&str>,
) -> anyhow::Result<Vec<(Dataset, usize)>> {
    let (mut found, mut all) = (Vec::new(), Vec::new());
    for dataset in database.datasets().await?.iter() {
        for (at, Destination { name: known, .. }) in dataset.destinations.iter().enumerate() {
            all.push(format!("{known} of {}", dataset.name));
            if name.is_none_or(|name| name == known) && of.is_none_or(|of| of == dataset.name) {
                found.push(((**dataset).clone(), at));
            }
        }
    }
    ensure!(!all.is_empty(), "no dataset has a destination: declare one with [[deliver]]");
    ensure!(!found.is_empty(), "there is no such destination; there are: {}", all.join(", "));
    Ok(found)
}
