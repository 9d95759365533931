//! The command line of the courier.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jetline_queue::{JetStreamConfig, Subject};
use jetline_runtime::{
    HealthCommand, LifecycleSettings, Observation, ObserveSettings, Shutdown, StartupSettings,
    TelemetrySettings, metrics, output, settings,
};
use jetline_store::{Database, DatabaseSettings};

use crate::{Courier, CourierSettings, DeliveryCommand, environment};

/// What `--help` begins with.
const HELP: &str = "\
Examples:
  jetline-courier --nats-url nats://nats:4222 --database-url postgres://user:password@db/name
  jetline-courier redeliver crm

The most common settings, each a flag and a variable:
  DATABASE_URL     postgres://user:password@host/name
  NATS_URL         the queue, nats://host:4222
  DELIVER_TIMEOUT  the timeout of a request
  DELIVER_MAX_AGE  how long a delivery is attempted
  OBSERVE_LISTEN   the address of health and metrics
";

/// Delivers changes of records to the destinations of their datasets. Any number of couriers may run.
#[derive(Parser)]
#[command(version, before_help = HELP)]
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
        settings::check([self.courier.check(), self.queue.check(), self.database.check()])?;
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
