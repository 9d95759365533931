//! Delivers to one destination: leases what is due, sends it, and records the outcomes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jetline_runtime::{Backoff, metrics::DELIVERY_SECONDS};
use jetline_store::{
    Catalog, Error, Outbox,
    catalog::records::StoredRecord,
    outbox::{Attempt, AttemptOutcome},
};
use rand::Rng;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    CourierSettings,
    breaker::{Breaker, Permission},
    message::{Message, message},
    recorder::{EndedAttempt, RECORDED_TOGETHER, Recorder, report_retry},
    target::{Answer, Target},
};

/// How often the outbox is looked at, whether or not there is a sign of something new.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The shortest time between two looks that find nothing: what is due may be locked by another courier.
const MIN_WAIT: Duration = Duration::from_millis(20);

/// How long an attempt waits for the fold of a newer content.
const NOT_FOLDED_WAIT: Duration = Duration::from_millis(50);

/// The longest time between two attempts, unless the destination asks for a longer one.
const MAX_BACKOFF: Duration = Duration::from_hours(1);

/// How many attempts are leased first, before the size of records is known.
const FIRST_BATCH: usize = 16;

/// The records that are read together should have about this size.
const BATCH_BYTES: usize = 4 << 20;

/// Memory for the messages of a destination that are being sent or wait for it, in KiB.
const MESSAGES_KIB: usize = 16 << 10;

/// Delivers to one destination until it is stopped.
pub(crate) struct Dispatcher {
    target: Arc<Target>,
    outbox: Outbox,
    catalog: Catalog,
    settings: CourierSettings,
    /// Tells the messages of installations apart.
    installation: String,
    /// Limits the attempts that are leased. Some of them wait for a slot, so that no slot is idle while the next ones are
    /// leased.
    leases: Arc<Semaphore>,
    capacity: usize,
    /// Limits the memory of messages.
    memory: Arc<Semaphore>,
    /// Limits the requests.
    slots: Semaphore,
    rate: Option<DefaultDirectRateLimiter>,
    breaker: Mutex<Breaker>,
    /// An attempt has ended, and the next one may be due.
    progress: Arc<Notify>,
    /// The dataset has another declaration now.
    outdated: Arc<Notify>,
}

impl Dispatcher {
    pub(crate) fn new(
        target: Target,
        outbox: Outbox,
        catalog: Catalog,
        settings: &CourierSettings,
        installation: &str,
        outdated: Arc<Notify>,
    ) -> Self {
        let concurrency = target.destination.concurrency.get() as usize;
        let rate = target.destination.rate.map(Quota::per_second).map(RateLimiter::direct);
        let capacity = capacity(&target, settings);
        Self {
            target: Arc::new(target),
            outbox,
            catalog,
            settings: settings.clone(),
            installation: installation.to_owned(),
            leases: Arc::new(Semaphore::new(capacity)),
            capacity,
            memory: Arc::new(Semaphore::new(MESSAGES_KIB)),
            slots: Semaphore::new(concurrency),
            rate,
            breaker: Mutex::default(),
            progress: Arc::default(),
            outdated,
        }
    }

    fn concurrency(&self) -> usize {
        self.target.destination.concurrency.get() as usize
    }

    /// Delivers until `stop`, and then until what is under way has ended.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut folded: watch::Receiver<u64>,
        stop: CancellationToken,
    ) {
        let (sender, ended) = mpsc::channel(RECORDED_TOGETHER);
        let recorder = Recorder {
            target: self.target.clone(),
            outbox: self.outbox.clone(),
            progress: self.progress.clone(),
        };
        let recorder = tokio::spawn(recorder.run(ended));
        let sending = TaskTracker::new();
        let mut backoff = Backoff::for_calls(rand::random());
        let mut batch = FIRST_BATCH;
        while !stop.is_cancelled() {
            let leased = stop.run_until_cancelled(self.lease(batch));
            let wait = match leased.await {
                None => break,
                Some(Ok(Leased::Attempts(attempts))) => {
                    match self.records(&attempts).await {
                        Ok(records) => {
                            backoff.reset();
                            let (dispatcher, count) = (self.clone(), records.len());
                            let sent =
                                dispatcher.dispatch(attempts, records, &sender, &sending, &stop);
                            batch = next_batch(batch, count, sent.await).min(self.capacity);
                        }
                        Err(error) => {
                            let after = backoff.next_delay();
                            report_retry(&self.target, &error, "read records", after);
                            for one in attempts {
                                let released = AttemptOutcome::Released { after };
                                let _ = sender.send((one.attempt, released)).await;
                            }
                            stop.run_until_cancelled(sleep(after)).await;
                        }
                    }
                    continue;
                }
                Some(Ok(Leased::Nothing(wait))) => wait,
                Some(Err(error)) => {
                    let delay = backoff.next_delay();
                    report_retry(&self.target, &error, "lease deliveries", delay);
                    stop.run_until_cancelled(sleep(delay)).await;
                    continue;
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                Ok(()) = folded.changed() => {}
                () = self.progress.notified() => {}
                () = sleep(wait) => {}
            }
        }
        drop(sender);
        sending.close();
        sending.wait().await;
        if let Err(error) = recorder.await {
            tracing::error!(%error, "recording deliveries crashed");
        }
    }

    /// Leases up to `batch` deliveries that are due, as far as the limits allow.
    ///
    /// It may be cancelled: what was leased then is leased again when the lease expires.
    async fn lease(&self, batch: usize) -> Result<Leased, Error> {
        let now = Instant::now();
        let limit = match self.breaker().permission(now) {
            Permission::Any => batch.min(self.capacity),
            Permission::One if self.leases.available_permits() == self.capacity => 1,
            Permission::One => return Ok(Leased::Nothing(POLL_INTERVAL)),
            Permission::NoneUntil(until) => return Ok(Leased::Nothing(until - now)),
        };
        let permits = self.permits(limit).await;
        let since = Instant::now();
        let destination = &self.target.destination;
        let term = self.settings.deliver_lease;
        // Of its own: a late outcome must not end a later lease.
        let token = format!("{:016x}", rand::random::<u64>());
        let attempts = self
            .outbox
            .lease(&self.target.dataset, destination, &token, term, permits.len())
            .await?;
        if attempts.is_empty() && !self.outbox.is_current(&self.target.dataset).await? {
            self.outdated.notify_one();
            return Ok(Leased::Nothing(POLL_INTERVAL));
        }
        if attempts.is_empty() {
            let next = self.outbox.next_due(destination).await?;
            return Ok(Leased::Nothing(
                next.unwrap_or(POLL_INTERVAL).clamp(MIN_WAIT, POLL_INTERVAL),
            ));
        }
        let under_way = attempts.into_iter().zip(permits);
        let under_way =
            under_way.map(|(attempt, permit)| UnderWay { attempt, since, _permit: permit });
        Ok(Leased::Attempts(under_way.collect()))
    }

    /// Some permits, and not too few: each lease is a transaction.
    async fn permits(&self, limit: usize) -> Vec<OwnedSemaphorePermit> {
        let least = limit.min(self.concurrency().min(self.capacity).div_ceil(2));
        let mut permits = Vec::with_capacity(limit);
        while permits.len() < limit {
            let permit = if permits.len() < least {
                self.leases.clone().acquire_owned().await.ok()
            } else {
                self.leases.clone().try_acquire_owned().ok()
            };
            match permit {
                Some(permit) => permits.push(permit),
                None => break,
            }
        }
        permits
    }

    /// Sends the records of attempts in the background, as soon as there is memory for their messages. Returns their size.
    async fn dispatch(
        self: Arc<Self>,
        attempts: Vec<UnderWay>,
        mut records: HashMap<String, StoredRecord>,
        ended: &mpsc::Sender<EndedAttempt>,
        sending: &TaskTracker,
        stop: &CancellationToken,
    ) -> usize {
        let mut bytes = 0;
        for one in attempts {
            let message = self.message(&one.attempt, records.remove(&one.attempt.key));
            let size = message.as_ref().map_or(0, |message| message.body.len());
            bytes += size;
            let units = u32::try_from((size >> 10).min(MESSAGES_KIB)).unwrap_or(u32::MAX);
            let memory = self.memory.clone().acquire_many_owned(units).await;
            let (dispatcher, ended, stop) = (self.clone(), ended.clone(), stop.clone());
            sending.spawn(async move {
                let outcome = match message {
                    Ok(message) => dispatcher.attempt(&one, message, &stop).await,
                    Err(outcome) => outcome,
                };
                drop(memory);
                // The recorder ends after all senders.
                let _ = ended.send((one.attempt, outcome)).await;
            });
        }
        bytes
    }

    async fn records(&self, attempts: &[UnderWay]) -> Result<HashMap<String, StoredRecord>, Error> {
        let dataset = &self.target.dataset;
        let keys = attempts.iter().filter_map(|one| dataset.read_key(&one.attempt.key).ok());
        let records = self.catalog.records(dataset, keys.collect()).await?;
        Ok(records.into_iter().map(|record| (record.key.to_string(), record)).collect())
    }

    /// The message of an attempt, or why there is none. A record with another content was committed since the lease: its delivery
    /// is due when the change is folded.
    fn message(
        &self,
        attempt: &Attempt,
        record: Option<StoredRecord>,
    ) -> Result<Message, AttemptOutcome> {
        let failed = |reason: String| self.retry(attempt, None, reason, None);
        let record = record.ok_or_else(|| {
            failed("the table has no such record: was it removed by hand?".to_owned())
        })?;
        if record.fingerprint != attempt.fingerprint {
            return Err(AttemptOutcome::Released { after: NOT_FOLDED_WAIT });
        }
        let Target { dataset, destination, .. } = &*self.target;
        message(&self.installation, dataset, &destination.name, attempt, &record)
            .map_err(|error| failed(format!("the record is no JSON: {error}")))
    }

    /// Sends a message, unless there is not enough time left.
    async fn attempt(
        &self,
        UnderWay { attempt, since, .. }: &UnderWay,
        message: Message,
        stop: &CancellationToken,
    ) -> AttemptOutcome {
        let turn = async {
            let slot = self.slots.acquire().await.ok();
            if let Some(rate) = &self.rate {
                rate.until_ready().await;
            }
            slot
        };
        let Some(slot) = stop.run_until_cancelled(turn).await else {
            return AttemptOutcome::Released { after: Duration::ZERO };
        };
        // Nobody else begins an attempt before the lease expires, and this one has ended by then.
        if since.elapsed() + self.settings.deliver_timeout >= self.settings.deliver_lease {
            tracing::warn!(destination = %self.target, key = attempt.key, "no time left in the lease, will retry");
            return AttemptOutcome::Released { after: MIN_WAIT };
        }
        let now = Instant::now();
        if let Permission::NoneUntil(until) = self.breaker().permission(now) {
            return AttemptOutcome::Released { after: until - now };
        }
        let begin = Instant::now();
        let answer = self.target.send(message).await;
        drop(slot);
        let labels = self.target.labels();
        metrics::histogram!(DELIVERY_SECONDS, &labels).record(begin.elapsed());
        self.outcome(attempt, answer).await
    }

    async fn outcome(&self, attempt: &Attempt, answer: Answer) -> AttemptOutcome {
        match answer {
            Answer::Acknowledged(status) => {
                self.breaker().succeeded();
                AttemptOutcome::Delivered { status }
            }
            Answer::Refused { status, error } => {
                self.breaker().succeeded();
                AttemptOutcome::Dead { status: Some(status), error }
            }
            Answer::Gone { error } => {
                self.breaker().succeeded();
                self.disable(&error).await;
                self.retry(attempt, Some(410), error, None)
            }
            Answer::Unavailable { status, error, retry_after } => {
                let opened = self.breaker().failed(Instant::now(), &mut rand::rng());
                if let Some(open_for) = opened {
                    tracing::warn!(destination = %self.target, error, open_for_ms = jetline_runtime::millis(open_for), "destination not available, pausing");
                }
                self.retry(attempt, status, error, retry_after)
            }
        }
    }

    async fn disable(&self, error: &str) {
        let disabled = self.outbox.disable(&self.target.destination, error).await;
        match disabled {
            Ok(()) => {
                tracing::error!(destination = %self.target, error, "destination disabled: enable it with jetline-courier enable");
            }
            // The next attempt gets the same answer.
            Err(error) => {
                report_retry(&self.target, &error, "disable the destination", Duration::ZERO);
            }
        }
    }

    /// The outcome of a failed attempt: another one after a random time below a limit that doubles, and not before the
    /// destination asks for it; or none if the delivery is too old.
    fn retry(
        &self,
        attempt: &Attempt,
        status: Option<u16>,
        error: String,
        retry_after: Option<Duration>,
    ) -> AttemptOutcome {
        if attempt.age >= self.settings.deliver_max_age {
            let error =
                format!("{error}; it was attempted for {:?} (DELIVER_MAX_AGE)", attempt.age);
            return AttemptOutcome::Dead { status, error };
        }
        let doublings = u32::try_from(attempt.number - 1).unwrap_or(0).min(30);
        let limit = self.settings.deliver_backoff.saturating_mul(1 << doublings).min(MAX_BACKOFF);
        let after = limit.mul_f64(rand::rng().random_range(0.0..=1.0));
        AttemptOutcome::Retry { after: after.max(retry_after.unwrap_or_default()), status, error }
    }

    /// The breaker. A poisoned lock is usable: no code panics between two changes.
    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many attempts are leased together next, after so many records with messages of this size: so many that their records
/// fit, and twice as many at most.
fn next_batch(batch: usize, records: usize, bytes: usize) -> usize {
    let fitting = (BATCH_BYTES * records.max(1)).checked_div(bytes).unwrap_or(usize::MAX);
    fitting.clamp(1, batch.saturating_mul(2))
}

/// How many attempts may be leased: twice as many as there are slots, and no more than the rate lets through in a lease.
fn capacity(target: &Target, settings: &CourierSettings) -> usize {
    let slots = target.destination.concurrency.get() as usize;
    let Some(rate) = target.destination.rate else {
        return 2 * slots;
    };
    let time = settings.deliver_lease.saturating_sub(settings.deliver_timeout);
    let in_time = u64::from(rate.get()).saturating_mul(time.as_secs()) / 2;
    usize::try_from(in_time).unwrap_or(usize::MAX).clamp(1, 2 * slots)
}

/// What a look at the outbox found.
enum Leased {
    Attempts(Vec<UnderWay>),
    /// Look again after this time.
    Nothing(Duration),
}

/// A leased attempt.
struct UnderWay {
    attempt: Attempt,
    /// Before its lease began.
    since: Instant,
    _permit: OwnedSemaphorePermit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_grows_with_small_records_and_shrinks_with_large_ones() {
        assert_eq!(next_batch(16, 16, 16 << 10), 32);
        // However few there were.
        assert_eq!(next_batch(64, 1, 512 << 10), BATCH_BYTES / (512 << 10));
        assert_eq!(next_batch(64, 2, 4 * BATCH_BYTES), 1);
        assert_eq!(next_batch(1, 0, 0), 2);
    }
}
