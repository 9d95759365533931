//! Logs on standard error, since standard output is for the output of commands; and traces to a collector.

mod collector;
mod context;
mod export;
mod filter;
mod span;

use std::io;

use clap::{Args, ValueEnum};
pub use context::TraceContext;
pub use span::{Span, SpanKind, Value};
use tracing_subscriber::{
    filter::filter_fn, fmt::Subscriber, layer::SubscriberExt, util::SubscriberInitExt,
};

use self::export::Export;
use crate::{
    settings::{Invalid, SecretUrl},
    terminal::{self, LogOutput},
};

/// The settings of logs and traces.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logs and traces")]
pub struct TelemetrySettings {
    /// What to log: off, error, warn, info, debug or trace, or levels by module as in `info,jetline_writer=debug`.
    #[arg(
        long,
        env,
        default_value = "info,async_nats=warn,poem=warn,sqlx=warn,sea_orm_migration=warn",
        value_parser = filter::checked
    )]
    pub log: String,

    /// The format of the logs.
    #[arg(long, env, value_enum, default_value_t = LogFormat::Pretty)]
    pub log_format: LogFormat,

    /// OpenTelemetry collector for traces, OTLP over HTTP, as in `http://host:4318`; no traces if not set
    ///
    /// `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER` and
    /// `OTEL_TRACES_SAMPLER_ARG` have the meaning of the OpenTelemetry specification.
    #[arg(long, env, value_name = "URL", hide_env_values = true)]
    pub otel_exporter_otlp_endpoint: Option<SecretUrl>,
}

/// The format of the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Human-readable lines, in colour on a terminal.
    Pretty,
    /// One JSON object per line.
    Json,
}

/// Sends the last spans when it is dropped, which takes a few seconds at most. To be kept until the process ends.
#[must_use]
#[derive(Debug)]
pub struct Telemetry {
    _export: Option<Export>,
}

/// Starts logs, and traces of `program` if a collector is set. To be called once, before anything is logged.
pub fn init(settings: &TelemetrySettings, program: &'static str) -> anyhow::Result<Telemetry> {
    start_logs(settings)?;
    let export = settings
        .otel_exporter_otlp_endpoint
        .as_ref()
        .map(|endpoint| Export::start(endpoint, program));
    Ok(Telemetry { _export: export.transpose()? })
}

fn start_logs(settings: &TelemetrySettings) -> anyhow::Result<()> {
    let filter =
        filter::parse(&settings.log).map_err(|reason| Invalid::new(format!("LOG: {reason}")))?;
    let subscriber = Subscriber::builder()
        .with_env_filter(filter)
        // Otherwise a failed write, on a full disk, is reported on standard error, which panics if that fails too.
        .log_internal_errors(false)
        .with_writer(LogOutput);
    let allowed = filter_fn(filter::is_allowed);
    let started = match settings.log_format {
        LogFormat::Pretty => {
            let pretty = subscriber.with_ansi(terminal::has_colors(&io::stderr()));
            pretty.finish().with(allowed).try_init()
        }
        LogFormat::Json => {
            let json = subscriber.json().flatten_event(true);
            json.finish().with(allowed).try_init()
        }
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
