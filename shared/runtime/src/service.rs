//! The skeleton of a program: telemetry, shutdown on signals, and its work.

use std::process::ExitCode;

use crate::{LifecycleSettings, Shutdown, TelemetrySettings, telemetry};

/// Runs the work of a program, whose name is that of its executable.
pub async fn run(
    name: &'static str,
    telemetry: &TelemetrySettings,
    lifecycle: &LifecycleSettings,
    work: impl AsyncFnOnce(Shutdown) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let _telemetry = telemetry::init(telemetry, name)?;
    // Process 1 of a container gets only signals that it handles.
    let shutdown = Shutdown::on_signals(lifecycle.shutdown_deadline)?;
    work(shutdown).await
}
