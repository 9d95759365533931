//! Where records are written that are posted to the api.

use clap::Args;

use crate::{Location, location::Place};

/// Where records are written that are posted to the api, and read from by fetchers.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Intake")]
pub struct IntakeStore {
    /// Where posted records are written: `s3://bucket/prefix/`, or a directory, which is created if it does not exist. The same for all apis and
    /// fetchers
    #[arg(long, env, value_name = "LOCATION", value_parser = location)]
    pub intake_store: Option<Location>,
}

impl IntakeStore {
    /// The end of the keys of objects in which values are redacted.
    pub const REDACTED: &str = ".redacted.jsonl";
}

fn location(text: &str) -> Result<Location, String> {
    let location: Location = text.parse().map_err(|error| format!("{error}"))?;
    let (is_directory, is_glob) = match &location.place {
        Place::S3 { keys, .. } => (keys.prefix().ends_with('/'), keys.is_glob()),
        Place::Local { files, .. } => (true, files.is_glob()),
    };
    if is_glob || location.dataset.is_some() {
        return Err("names no dataset and has no wildcards".to_owned());
    }
    if !is_directory {
        return Err("must have a prefix that ends in /, as in s3://bucket/intake/".to_owned());
    }
    Ok(location)
}

impl Location {
    /// What all its keys begin with, below the root of its source.
    #[must_use]
    pub fn key_prefix(&self) -> &str {
        match &self.place {
            Place::S3 { keys, .. } => keys.prefix(),
            Place::Local { .. } => "",
        }
    }
}
