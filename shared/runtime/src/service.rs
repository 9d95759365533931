//! The skeleton of a program: telemetry, shutdown on signals, and its work.

use std::process::ExitCode;

use crate::{LifecycleSettings, Shutdown, TelemetrySettings, causes, telemetry};

/// Runs the work of a program, whose name is that of its executable.
pub async fn run(
    name: &'static str,
    settings: &TelemetrySettings,
    lifecycle: &LifecycleSettings,
    work: impl AsyncFnOnce(Shutdown) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let _telemetry = telemetry::init(settings, name)?;
    // Process 1 of a container gets only signals that it handles.
    let shutdown = Shutdown::on_signals(lifecycle.shutdown_deadline)?;
    match work(shutdown).await {
        // The log is read by programs: so is its last line.
        Err(error) if settings.log_format == telemetry::LogFormat::Json => {
            tracing::error!(error = causes(&*error), "{name} failed");
            Ok(ExitCode::FAILURE)
        }
        worked => worked,
    }
}
