//! Reads what moves from the ledger, once for all browsers.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use jetline_runtime::Shutdown;
use jetline_store::catalog::{
    objects::{Filter, ObjectStatus},
    totals::{DatasetTotals, DeliveryTotals},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};

use crate::database::{Error, ReadPool};

/// The interval of samples while somebody looks, and while nobody does.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// The interval is at least so many times the duration of the last sample: sampling takes at most 5 % of a connection.
const MIN_REST_FACTOR: u32 = 20;

/// The interval is this at most.
const MAX_REST: Duration = Duration::from_secs(30);

/// Sampling ends when nobody has looked for so long.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);

/// How long samples are kept.
const HISTORY: Duration = Duration::from_mins(5);

/// The time over which the rate of an object is measured.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// Maximum number of open objects in a sample, those that are loaded first.
const MAX_OPEN: u64 = 50;

/// How many of the latest objects are shown.
pub(super) const LATEST: u64 = 10;

/// How long a page waits for the first sample, or for one after a time without any.
const SAMPLE_TIMEOUT: Duration = Duration::from_secs(5);

/// The ledger at a time.
#[derive(Clone, Default)]
pub(super) struct Sample {
    pub(super) totals: Vec<DatasetTotals>,
    pub(super) deliveries: Vec<DeliveryTotals>,
    /// The first of the open objects.
    pub(super) open: Vec<ObjectStatus>,
    /// The latest objects.
    pub(super) latest: Vec<ObjectStatus>,
    /// Objects that were open in the sample before.
    pub(super) ended: Vec<ObjectStatus>,
    /// Bytes that are committed in a second, by open object.
    pub(super) rates: HashMap<i64, f64>,
    /// The lines with known outcome by dataset, of this sample and those before.
    pub(super) history: VecDeque<(Instant, Arc<HashMap<String, i64>>)>,
    /// Whether the database was not available since then.
    pub(super) is_stale: bool,
    committed: HashMap<i64, VecDeque<(Instant, i64)>>,
    at: Option<Instant>,
    /// How long it is shown without asking for another one.
    fresh_for: Duration,
}

impl Sample {
    fn is_recent(&self) -> bool {
        self.at.is_some_and(|at| at.elapsed() < self.fresh_for)
    }

    /// Whether the ledger was read at all.
    pub(super) fn is_known(&self) -> bool {
        self.at.is_some()
    }
}

/// The last sample, and the task that takes them.
pub(super) struct Monitor {
    samples: watch::Sender<Arc<Sample>>,
    /// Somebody looks.
    viewed: Notify,
}

impl Monitor {
    /// To be called in a tokio runtime.
    pub(super) fn start(pool: ReadPool, shutdown: &Shutdown) -> Arc<Self> {
        let monitor = Arc::new(Self { samples: watch::Sender::default(), viewed: Notify::new() });
        let running = monitor.clone().run(pool);
        tokio::spawn(shutdown.soft.clone().run_until_cancelled_owned(running));
        monitor
    }

    /// The last sample, or a new one where that is old.
    pub(super) async fn sample(&self) -> Arc<Sample> {
        let mut samples = self.samples.subscribe();
        self.viewed.notify_one();
        if !samples.borrow_and_update().is_recent() {
            // Without one, what there is is shown.
            let _ = timeout(SAMPLE_TIMEOUT, samples.changed()).await;
        }
        samples.borrow().clone()
    }

    /// The next samples, and the last one where it is recent.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Sample>> {
        self.viewed.notify_one();
        let mut samples = self.samples.subscribe();
        if samples.borrow_and_update().is_recent() {
            samples.mark_changed();
        }
        samples
    }

    async fn run(self: Arc<Self>, pool: ReadPool) {
        self.viewed.notified().await;
        let mut viewed_at = Instant::now();
        loop {
            let began = Instant::now();
            let before = self.samples.borrow().clone();
            let sample = match next(&pool, &before, began).await {
                Ok(sample) => sample,
                Err(_) => Sample { is_stale: true, ..(*before).clone() },
            };
            let rest = if sample.is_stale {
                INTERVALS.1
            } else {
                (began.elapsed() * MIN_REST_FACTOR).clamp(INTERVALS.0, MAX_REST)
            };
            self.samples.send_replace(Arc::new(Sample { fresh_for: rest, ..sample }));
            if self.samples.receiver_count() > 0 {
                viewed_at = Instant::now();
            } else {
                let viewed = if viewed_at.elapsed() < FORGOTTEN_AFTER {
                    timeout(INTERVALS.1, self.viewed.notified()).await.is_ok()
                } else {
                    self.viewed.notified().await;
                    true
                };
                if viewed {
                    viewed_at = Instant::now();
                }
            }
            sleep_until(began + rest).await;
        }
    }
}

async fn next(pool: &ReadPool, before: &Sample, now: Instant) -> Result<Sample, Error> {
    let catalog = pool.catalog();
    let totals = pool.run(catalog.totals()).await?;
    let deliveries = pool.run(catalog.delivery_totals()).await?;
    let only_open = Filter { open: true, ..Filter::default() };
    let open = pool.run(catalog.objects(&only_open, None, MAX_OPEN)).await?;
    let latest = pool.run(catalog.latest_objects(&Filter::default(), None, LATEST)).await?;
    let is_open = |id: i64| open.iter().any(|object| object.id == id);
    let ended: Vec<i64> =
        before.open.iter().map(|object| object.id).filter(|id| !is_open(*id)).collect();
    let ended = pool.run(catalog.objects_with(&ended)).await?;
    let mut history = before.history.clone();
    let lines = totals.iter().map(|one| (one.dataset.clone(), one.lines())).collect();
    history.push_back((now, Arc::new(lines)));
    while history.front().is_some_and(|(at, _)| now - *at > HISTORY) {
        history.pop_front();
    }
    let mut committed = before.committed.clone();
    committed.retain(|id, _| is_open(*id));
    for object in &open {
        let known = committed.entry(object.id).or_default();
        if known.back().is_some_and(|(_, bytes)| *bytes > object.committed_bytes) {
            // It is read again.
            known.clear();
        }
        known.push_back((now, object.committed_bytes));
        while known.get(1).is_some_and(|(at, _)| now - *at > RATE_WINDOW) {
            known.pop_front();
        }
    }
    let rates = committed.iter().filter_map(|(id, known)| Some((*id, rate(known)?))).collect();
    let at = Some(now);
    Ok(Sample {
        totals,
        deliveries,
        open,
        latest,
        ended,
        rates,
        history,
        is_stale: false,
        committed,
        at,
        ..Sample::default()
    })
}

/// Bytes in a second.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn rate(known: &VecDeque<(Instant, i64)>) -> Option<f64> {
    let ((began, first), (ended, last)) = (known.front()?, known.back()?);
    let seconds = (*ended - *began).as_secs_f64();
    (seconds > 0.0).then(|| (last - first) as f64 / seconds)
}
