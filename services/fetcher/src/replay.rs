//! `replay`: marks objects to be read again, from one of them on; whoever fetches next does it.

use std::{collections::HashSet, fmt};

use anyhow::{Context, bail};
use jetline_records::{ObjectId, Reason};
use jetline_store::{
    Ledger,
    ledger::{self, Replay, ReplayOutcome, Stored},
};

use crate::{FetcherSettings, Sources, terminal::Escaped};

/// Which objects are read again.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplaySettings {
    /// From the object with this number on, as `/objects` shows it
    #[arg(
        long,
        value_name = "NUMBER",
        required_unless_present = "rejects",
        conflicts_with = "rejects"
    )]
    pub object: Option<u32>,

    /// From the oldest object on that has rejected lines
    #[arg(long)]
    pub rejects: bool,

    /// Only rejected lines of this reason count, as `/rejects` shows it
    #[arg(long, value_name = "CODE", requires = "rejects")]
    pub reason: Option<Reason>,

    /// Write every row, also where it seems to say the same already: mends what others wrote into the dataset's table
    #[arg(long)]
    pub rewrite: bool,

    /// Only say what would be read again
    #[arg(long)]
    pub dry_run: bool,
}

/// What is read again.
#[derive(Clone, Debug)]
pub struct Replayed {
    objects: Vec<ledger::Replayed>,
    dry_run: bool,
}

/// Has objects read again: the one that the settings name and everything registered after it. `registration` is random.
///
/// It is refused, and nothing is changed, where one of them is not in the sources any more as it was read.
pub async fn replay(
    which: &ReplaySettings,
    settings: &FetcherSettings,
    sources: &Sources,
    ledger: &Ledger,
    registration: u64,
) -> anyhow::Result<Replayed> {
    settings.check_limits()?;
    let dry_run = which.dry_run;
    let Some(from) = first(which, ledger).await? else {
        let objects = Vec::new();
        return Ok(Replayed { objects, dry_run });
    };
    let listed = sources.list().await.context("cannot replay")?;
    let stored: HashSet<Stored> = listed
        .objects
        .into_iter()
        .map(|(object, _)| Stored {
            root: object.root,
            key: object.key,
            etag: object.etag,
        })
        .collect();
    let replay = Replay {
        from,
        stored: &stored,
        registration: &format!("{registration:016x}"),
        chunk_bytes: settings.chunk_bytes,
        chunk_lines: settings.chunk_lines,
        max_line_bytes: settings.max_line_bytes,
        rewrite: which.rewrite,
    };
    let outcome = if dry_run {
        ledger.replay_plan(&replay).await?
    } else {
        ledger.replay(&replay).await?
    };
    match outcome {
        ReplayOutcome::Opened(objects) => Ok(Replayed { objects, dry_run }),
        ReplayOutcome::Unknown => bail!("there is no object {from}: /objects shows their numbers"),
        ReplayOutcome::Missing(missing) => bail!(
            "cannot replay from object {from} on: everything behind it must be read again, and this is not in the \
             sources (SOURCE) any more as it was: {}",
            Names(&missing)
        ),
    }
}

async fn first(which: &ReplaySettings, ledger: &Ledger) -> anyhow::Result<Option<ObjectId>> {
    let Some(number) = which.object else {
        return Ok(ledger.oldest_rejected(which.reason).await?);
    };
    let id = ObjectId::new(number.into());
    id.map(Some)
        .with_context(|| format!("there is no object {number}: /objects shows their numbers"))
}

struct Names<'a>(&'a [ledger::Replayed]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, object) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let uri = Escaped(&object.uri);
            write!(f, "{separator}object {} ({uri})", object.object)?;
        }
        Ok(())
    }
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.objects.is_empty() {
            return f.write_str("Nothing to replay: no such line was rejected.");
        }
        for object in &self.objects {
            writeln!(f, "{:>10}  {}", object.object, Escaped(&object.uri))?;
        }
        let (count, bytes) = (
            self.objects.len(),
            self.objects.iter().map(|object| object.bytes).sum::<i64>(),
        );
        if self.dry_run {
            return write!(
                f,
                "{count} objects with {bytes} bytes would be read again; nothing was changed."
            );
        }
        write!(
            f,
            "{count} objects with {bytes} bytes are read again, by the fetchers that watch or by the next one."
        )
    }
}
