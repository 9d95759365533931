//! The command line of the courier.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jetline_queue::{JetStreamConfig, Subject};
use jetline_runtime::{
    HealthCommand, LifecycleSettings, Observation, ObserveSettings, Shutdown, StartupSettings,
    TelemetrySettings, metrics, output,
};
use jetline_store::{Database, DatabaseSettings};

use crate::{Courier, CourierSettings, DeliveryCommand, environment};

/// Delivers changes of records to the destinations of their datasets. Any number of couriers may run.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    courier: CourierSettings,
    #[command(flatten)]
    queue: JetStreamConfig,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    startup: StartupSettings,
    /// How long a shutdown may take.
    #[command(flatten)]
    pub lifecycle: LifecycleSettings,
    /// The monitoring address.
    #[command(flatten)]
    pub observe: ObserveSettings,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
}

/// The commands; without one, the courier runs.
#[derive(Subcommand)]
enum Command {
    /// Checks the running process.
    #[command(flatten)]
    Health(HealthCommand),
    /// Changes what is delivered.
    #[command(flatten)]
    Delivery(DeliveryCommand),
}

impl Cli {
    /// Whether the running process is to be checked.
    #[must_use]
    pub fn is_healthcheck(&self) -> bool {
        matches!(self.command, Some(Command::Health(HealthCommand::Healthcheck)))
    }

    /// Runs the command, or the courier until the shutdown.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<ExitCode> {
        if let Some(Command::Delivery(command)) = &self.command {
            let work = async |database: Database| shutdown.started(command.run(&database)).await;
            output::print(self.database.with_ledger(&self.startup, &shutdown, work).await?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let metrics = metrics::install(&shutdown)?;
        let observation = Observation::start(&self.observe, metrics, &shutdown).await?;
        let deliver = async |database: Database| {
            let connecting = async {
                let wakeup = self.queue.connect_wakeup(&self.startup, Subject::Deliveries).await?;
                Courier::new(&self.courier, &database, wakeup, environment()).await
            };
            let courier = shutdown.started(connecting).await?;
            observation.connected(database.readiness());
            courier.run(&shutdown).await?;
            tracing::info!("courier stopped");
            Ok(ExitCode::SUCCESS)
        };
        self.database.with_ledger(&self.startup, &shutdown, deliver).await
    }
}
