//! The skeleton of a program: telemetry, shutdown on signals, and its work.

use std::process::ExitCode;

use crate::{
    LifecycleSettings, Shutdown, TelemetrySettings, causes,
    settings::Invalid,
    telemetry::{self, LogFormat},
};

/// The exit status where settings are missing, malformed or contradict each other; it is that of clap too.
const INVALID_SETTINGS: u8 = 2;

/// Runs the work of a program, whose name is that of its executable.
pub async fn run(
    name: &'static str,
    settings: &TelemetrySettings,
    lifecycle: &LifecycleSettings,
    work: impl AsyncFnOnce(Shutdown) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let worked = async {
        let _telemetry = telemetry::init(settings, name)?;
        // Process 1 of a container gets only signals that it handles.
        let shutdown = Shutdown::on_signals(lifecycle.shutdown_deadline)?;
        work(shutdown).await
    };
    match worked.await {
        Err(error) if error.is::<Invalid>() => {
            report(&error, settings.log_format);
            Ok(ExitCode::from(INVALID_SETTINGS))
        }
        // The log is read by programs: so is its last line.
        Err(error) if settings.log_format == LogFormat::Json => {
            tracing::error!(error = causes(&*error), "{name} failed");
            Ok(ExitCode::FAILURE)
        }
        worked => worked,
    }
}

/// Names everything that is wrong with the settings, each in a line.
#[expect(
    clippy::print_stderr,
    reason = "the log may be switched off, and clap prints its errors too"
)]
fn report(error: &anyhow::Error, format: LogFormat) {
    let all = error.downcast_ref::<Invalid>().map(|invalid| invalid.errors().to_vec());
    for error in all.unwrap_or_else(|| vec![format!("{error:#}")]) {
        match format {
            LogFormat::Json => tracing::error!(error, "invalid settings"),
            LogFormat::Pretty => eprintln!("error: {error}"),
        }
    }
}
