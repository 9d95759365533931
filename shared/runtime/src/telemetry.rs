//! Logs: to standard error, so that standard output stays free for what a command prints.

use std::io::{self, IsTerminal};

use anyhow::Context;
use clap::{Args, ValueEnum};
use tracing_subscriber::{EnvFilter, fmt::Subscriber};

/// What is logged, and in which form.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logs")]
pub struct TelemetrySettings {
    /// What to log: a level, or levels by module as in `info,jetline_writer=debug`.
    #[arg(
        long,
        env,
        default_value = "info,async_nats=warn,sqlx=warn,sea_orm_migration=warn"
    )]
    pub log: String,

    /// In which form.
    #[arg(long, env, value_enum, default_value_t = LogFormat::Pretty)]
    pub log_format: LogFormat,
}

/// The form of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people, in colour on a terminal.
    Pretty,
    /// One JSON object per line, for machines.
    Json,
}

/// Starts logging; to be called once, before anything else logs.
pub fn init(settings: &TelemetrySettings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.log)
        .with_context(|| format!("LOG is not a filter: {:?}", settings.log))?;
    let subscriber = Subscriber::builder()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let started = match settings.log_format {
        LogFormat::Pretty => subscriber.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
