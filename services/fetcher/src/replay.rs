//! `replay`: marks objects to be read again, from one of them on, by running fetchers or the next run.

use std::{collections::HashSet, fmt};

use anyhow::{Context, bail};
use jetline_core::ObjectId;
use jetline_datasets::Reason;
use jetline_store::{
    ObjectLedger,
    objects::{self, ExistingVersion, Replay, ReplayOutcome},
};

use crate::{FetcherSettings, Sources, error::unknown_object, terminal::Escaped};

/// Which objects to read again.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ReplaySettings {
    /// From the object with this number on, as `status` shows it
    #[arg(
        long,
        value_name = "NUMBER",
        required_unless_present = "rejects",
        conflicts_with = "rejects"
    )]
    pub object: Option<u32>,

    /// From the oldest object with rejected lines on
    #[arg(long)]
    pub rejects: bool,

    /// With --rejects: only rejected lines with this reason count, as `rejects` shows it
    #[arg(long, value_name = "CODE", requires = "rejects")]
    pub reason: Option<Reason>,

    /// Write every row, also unchanged ones: repairs what other programs wrote into the dataset's table
    #[arg(long)]
    pub rewrite: bool,

    /// Only show what would be read again
    #[arg(long)]
    pub dry_run: bool,
}

/// The objects that are read again.
#[derive(Clone, Debug)]
pub struct Replayed {
    objects: Vec<objects::Replayed>,
    dry_run: bool,
}

/// Marks objects to be read again: the one that the settings name and every later one. `incarnation` is random.
///
/// Fails and changes nothing if one of them no longer exists in the sources in the version that was read.
pub async fn replay(
    args: &ReplaySettings,
    settings: &FetcherSettings,
    sources: &Sources,
    ledger: &ObjectLedger,
    incarnation: u64,
) -> anyhow::Result<Replayed> {
    settings.check_limits()?;
    let dry_run = args.dry_run;
    let Some(from) = first(args, ledger).await? else {
        let objects = Vec::new();
        return Ok(Replayed { objects, dry_run });
    };
    let existing = sources.existing().await.context("cannot replay")?;
    let stored: HashSet<ExistingVersion> = existing.into_iter().map(Into::into).collect();
    let replay = Replay {
        from,
        stored: &stored,
        incarnation: &format!("{incarnation:016x}"),
        chunk_bytes: settings.chunk_bytes,
        chunk_lines: settings.chunk_lines,
        max_line_bytes: settings.max_line_bytes,
        rewrite: args.rewrite,
    };
    let outcome =
        if dry_run { ledger.replay_plan(&replay).await? } else { ledger.replay(&replay).await? };
    match outcome {
        ReplayOutcome::Opened(objects) => Ok(Replayed { objects, dry_run }),
        ReplayOutcome::Unknown => bail!(unknown_object(from)),
        ReplayOutcome::Removed(last) => bail!(
            "object {from} cannot be replayed: entries up to object {last} were removed (KEEP_OBJECTS), and what these objects had \
             would have to be read again too. Objects from {} on can be; put older files into the source again as new ones",
            last.next()
        ),
        ReplayOutcome::Missing(missing) => bail!(
            "cannot replay from object {from} on: every later object must be read again, and these no longer exist in \
             the sources (SOURCE) in the version that was read: {}",
            Names(&missing)
        ),
    }
}

async fn first(args: &ReplaySettings, ledger: &ObjectLedger) -> anyhow::Result<Option<ObjectId>> {
    let Some(number) = args.object else {
        return Ok(ledger.oldest_rejected(args.reason).await?);
    };
    let id = ObjectId::new(number.into());
    id.map(Some).with_context(|| unknown_object(number))
}

struct Names<'a>(&'a [objects::Replayed]);

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
        let (count, bytes) =
            (self.objects.len(), self.objects.iter().map(|object| object.bytes).sum::<i64>());
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
