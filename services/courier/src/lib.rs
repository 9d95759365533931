//! The courier: delivers changes from the outbox to their destinations.
//!
//! fold changes into deliveries → lease what is due → send → record the outcome.
//!
//! Any number of couriers run concurrently. A lease ensures that one of them at a time delivers a record to a destination.
//! In doubt, as after a crash, the same message is sent again with the same id.

mod address;
mod breaker;
mod cli;
mod command;
mod dispatcher;
mod message;
mod recorder;
mod settings;
mod target;

use std::{
    collections::HashMap,
    env, mem,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
pub use cli::Cli;
pub use command::DeliveryCommand;
use jetline_datasets::{Dataset, Datasets, Destination};
use jetline_queue::Wakeup;
use jetline_runtime::{
    Shutdown,
    metrics::{DELIVERIES_DUE, DELIVERY_ATTEMPTS, DELIVERY_OLDEST_DUE, RETRIES, as_f64},
};
use jetline_store::{
    Catalog, Database, Outbox,
    outbox::{DeadDelivery, Folded},
};
pub use settings::CourierSettings;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use self::{
    dispatcher::Dispatcher,
    target::{Target, Tls},
};

/// How often the declarations are read again, what is due is counted, and changes are looked for without a notification, which may be
/// lost.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);

/// The labels of a destination's metrics.
type Labels = [(&'static str, String); 2];

/// The values of the variables that declarations name.
pub type Variables = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The variables of the environment; an empty one counts as unset.
#[must_use]
pub fn environment() -> Variables {
    Box::new(|name| env::var(name).ok().filter(|value| !value.is_empty()))
}

/// A courier for all destinations of a database.
pub struct Courier {
    settings: CourierSettings,
    database: Database,
    wakeup: Wakeup,
    variables: Variables,
    tls: Tls,
    installation: String,
    datasets: Datasets,
    /// How often changes were folded into deliveries.
    folded: watch::Sender<u64>,
    /// A dataset has another declaration now.
    outdated: Arc<Notify>,
    running: HashMap<i64, Running>,
    /// The destinations whose gauges are set.
    measured: Vec<Labels>,
}

/// Deliveries to a destination, as a declaration says.
struct Running {
    declaration: i64,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// The labels of a destination's metrics.
fn labels(dataset: &Dataset, destination: &Destination) -> Labels {
    [("dataset", dataset.name.clone()), ("destination", destination.name.clone())]
}

/// Reports a delivery that is dead without an attempt.
fn report_dead([dataset, destination]: Labels, key: &str, error: &str) {
    let (of, to) = (&dataset.1, &destination.1);
    tracing::error!(destination = %format_args!("{to} of {of}"), key, error, "delivery dead-lettered");
    let labels = [dataset, destination, ("outcome", "dead".to_owned())];
    metrics::counter!(DELIVERY_ATTEMPTS, &labels).increment(1);
}

impl Courier {
    /// Fails where a destination cannot be delivered to: a variable of its URL is not set, for example.
    pub async fn new(
        settings: &CourierSettings,
        database: &Database,
        wakeup: Wakeup,
        variables: Variables,
    ) -> anyhow::Result<Self> {
        settings.check()?;
        let courier = Self {
            variables,
            settings: settings.clone(),
            database: database.clone(),
            wakeup,
            tls: Tls::new(settings)?,
            installation: database.identity().await?.id().to_owned(),
            datasets: database.datasets().await?,
            folded: watch::Sender::new(0),
            outdated: Arc::default(),
            running: HashMap::new(),
            measured: Vec::new(),
        };
        for dataset in courier.datasets.iter() {
            for destination in &dataset.destinations {
                courier.target(dataset, destination)?;
            }
        }
        Ok(courier)
    }

    /// Delivers until the shutdown; requests under way are finished first, and their outcomes recorded, until it is hard.
    pub async fn run(self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let delivering = self.deliver(shutdown.soft.clone());
        shutdown.hard.run_until_cancelled(delivering).await.unwrap_or(Ok(()))
    }

    async fn deliver(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut notifications = self.wakeup.subscribe().await?;
        let mut refreshed = None::<Instant>;
        while !stop.is_cancelled() {
            let is_refreshed = refreshed.is_none_or(|at| at.elapsed() >= REFRESH_INTERVAL);
            if is_refreshed {
                if let Err(error) = self.refresh().await {
                    let error = jetline_runtime::causes(&*error);
                    tracing::warn!(error, "read destinations failed");
                }
                refreshed = Some(Instant::now());
                self.measure().await;
            }
            match self.fold().await {
                Some(Folded { changes: 1.., .. }) => continue,
                Some(Folded { is_outdated: true, .. }) if !is_refreshed => {
                    refreshed = None;
                    continue;
                }
                _ => {}
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = notifications.notified() => {}
                () = self.outdated.notified() => refreshed = None,
                () = sleep(REFRESH_INTERVAL) => {}
            }
        }
        for running in self.running.values() {
            running.stop.cancel();
        }
        for (_, running) in self.running {
            running.task.await.context("a courier crashed")?;
        }
        Ok(())
    }

    /// Sets the gauges of what is due; of a destination that was removed, nothing is.
    async fn measure(&mut self) {
        let outbox = Outbox::new(&self.database);
        let before = mem::take(&mut self.measured);
        for dataset in self.datasets.iter() {
            for destination in &dataset.destinations {
                let labels = labels(dataset, destination);
                self.measured.push(labels.clone());
                match outbox.due(destination).await {
                    Ok((due, oldest)) => {
                        metrics::gauge!(DELIVERIES_DUE, &labels).set(as_f64(due));
                        metrics::gauge!(DELIVERY_OLDEST_DUE, &labels).set(oldest.as_secs_f64());
                    }
                    Err(error) => {
                        let error = jetline_runtime::causes(&error);
                        tracing::warn!(error, "count due deliveries failed");
                    }
                }
            }
        }
        for removed in before.iter().filter(|labels| !self.measured.contains(labels)) {
            metrics::gauge!(DELIVERIES_DUE, removed).set(0.0);
            metrics::gauge!(DELIVERY_OLDEST_DUE, removed).set(0.0);
        }
    }

    /// Folds changes into deliveries, and wakes those who deliver.
    async fn fold(&self) -> Option<Folded> {
        match Outbox::new(&self.database).fold(&self.datasets).await {
            Ok(folded) => {
                for DeadDelivery { destination: id, key, error } in &folded.dead {
                    for dataset in self.datasets.iter() {
                        let known = dataset.destinations.iter().find(|known| known.id == *id);
                        if let Some(destination) = known {
                            report_dead(labels(dataset, destination), key, error);
                        }
                    }
                }
                if folded.changes > 0 {
                    self.folded.send_modify(|count| *count += 1);
                }
                Some(folded)
            }
            Err(error) => {
                metrics::counter!(RETRIES, "part" => "database").increment(1);
                let error = jetline_runtime::causes(&error);
                tracing::warn!(error, "fold changes failed, will retry");
                None
            }
        }
    }

    /// Starts deliveries to new destinations, and stops those to removed ones.
    async fn refresh(&mut self) -> anyhow::Result<()> {
        self.datasets = self.database.datasets().await?;
        let datasets = self.datasets.clone();
        let mut found = Vec::new();
        for dataset in datasets.iter() {
            for destination in &dataset.destinations {
                found.push(destination.id);
                let running = self.running.get(&destination.id);
                if running.is_none_or(|running| running.declaration != dataset.declaration) {
                    // The others are delivered to all the same.
                    if let Err(error) = self.start(dataset, destination) {
                        let error = jetline_runtime::causes(&*error);
                        tracing::error!(error, "destination cannot be delivered to");
                    }
                }
            }
        }
        let removed = self.running.extract_if(|id, _| !found.contains(id));
        removed.for_each(|(_, running)| running.stop.cancel());
        Ok(())
    }

    /// Starts deliveries to a destination, after those by an earlier declaration have ended.
    fn start(&mut self, dataset: &Arc<Dataset>, destination: &Destination) -> anyhow::Result<()> {
        let target = self.target(dataset, destination)?;
        let dispatcher = Dispatcher::new(
            target,
            Outbox::new(&self.database),
            Catalog::new(&self.database),
            &self.settings,
            &self.installation,
            self.outdated.clone(),
        );
        let folded = self.folded.subscribe();
        let before = self.running.remove(&destination.id);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                before.stop.cancel();
                if let Err(error) = before.task.await {
                    tracing::error!(%error, "deliveries to a destination crashed");
                }
            }
            Arc::new(dispatcher).run(folded, stopped).await;
        });
        let running = Running { declaration: dataset.declaration, stop, task };
        self.running.insert(destination.id, running);
        tracing::info!(dataset = dataset.name, destination = destination.name, "delivering");
        Ok(())
    }

    fn target(&self, dataset: &Arc<Dataset>, destination: &Destination) -> anyhow::Result<Target> {
        Target::new(dataset, destination, &self.settings, &self.tls, &*self.variables)
    }
}
