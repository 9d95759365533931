//! Deliveries in the background, and how `--exit` waits for them.

use std::time::Duration;

use anyhow::Context;
use jetline_courier::{Courier, environment};
use jetline_queue::{Queue, Subject};
use jetline_runtime::{Shutdown, output};
use jetline_store::{Database, Outbox};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::cli::Cli;

/// How often the outbox is looked at while waiting.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The courier.
pub(crate) struct Deliveries {
    task: JoinHandle<anyhow::Result<()>>,
    database: Database,
}

impl Deliveries {
    /// Starts to deliver. Fails where a destination cannot be delivered to.
    pub(crate) async fn start(
        cli: &Cli,
        database: &Database,
        queue: &dyn Queue,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let courier =
            Courier::new(&cli.courier, database, queue.wakeup(Subject::Deliveries), environment())
                .await?;
        let (shutdown, tasks) = (shutdown.clone(), shutdown.tasks.clone());
        let task = tasks.spawn(async move {
            let ended = courier.run(&shutdown).await;
            if let Err(error) = &ended {
                tracing::error!(error = jetline_runtime::causes(&**error), "courier failed");
                shutdown.soft.cancel();
            }
            ended
        });
        Ok(Self { task, database: database.clone() })
    }

    /// Waits until nothing is to be delivered any more, or the deadline; then ends. Returns whether everything was
    /// delivered, and prints what was and what was not.
    pub(crate) async fn finish(
        self,
        deadline: Duration,
        shutdown: &Shutdown,
    ) -> anyhow::Result<bool> {
        let until = Instant::now() + deadline;
        let waiting = async {
            while Instant::now() < until && self.is_waiting().await? {
                sleep(POLL_INTERVAL).await;
            }
            anyhow::Ok(())
        };
        shutdown.soft.run_until_cancelled(waiting).await.transpose()?;
        shutdown.soft.cancel();
        self.task.await.context("the courier crashed")??;
        report(&Outbox::new(&self.database)).await
    }

    async fn is_waiting(&self) -> anyhow::Result<bool> {
        let outbox = Outbox::new(&self.database);
        if outbox.has_changes().await? {
            return Ok(true);
        }
        for dataset in self.database.datasets().await?.iter() {
            for destination in &dataset.destinations {
                if outbox.next_due(destination).await?.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// Prints what was delivered; returns whether that is everything.
async fn report(outbox: &Outbox) -> anyhow::Result<bool> {
    let mut complete = true;
    for one in outbox.backlog().await? {
        let disabled = one.disabled.as_ref().map(|reason| format!("; disabled: {reason}"));
        let text = format!(
            "{} of {}: delivered {}, waiting {}, dead {}{}",
            one.destination,
            one.dataset,
            one.delivered,
            one.waiting,
            one.dead,
            disabled.unwrap_or_default()
        );
        if output::is_json() {
            output::print_json(&one)?;
        } else {
            output::print(text)?;
        }
        complete &= one.waiting == 0 && one.dead == 0;
    }
    Ok(complete)
}
