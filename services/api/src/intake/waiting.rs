//! Waits for the ends of objects: one statement looks at all that somebody waits for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jetline_core::ObjectId;
use jetline_store::ObjectLedger;
use tokio::sync::{Notify, watch};

/// How often the ledger is polled while somebody waits.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The objects that somebody waits for.
pub(super) struct EndedObjects {
    waiting: Mutex<HashMap<ObjectId, watch::Sender<bool>>>,
    added: Notify,
}

impl EndedObjects {
    /// Starts the task that polls; it ends with what is returned.
    pub(super) fn start(ledger: ObjectLedger) -> Arc<Self> {
        let ended = Arc::new(Self { waiting: Mutex::default(), added: Notify::new() });
        let weak = Arc::downgrade(&ended);
        tokio::spawn(async move {
            while let Some(ended) = weak.upgrade() {
                ended.poll(&ledger).await;
                let added = async { ended.added.notified().await };
                // Looks now and then whether it is still needed.
                let _ = tokio::time::timeout(Duration::from_secs(1), added).await;
            }
        });
        ended
    }

    /// Whether an object ends within this time.
    pub(super) async fn ends_within(&self, object: ObjectId, wait: Duration) -> bool {
        let mut ended =
            self.waiting().entry(object).or_insert_with(|| watch::Sender::new(false)).subscribe();
        self.added.notify_one();
        matches!(tokio::time::timeout(wait, ended.wait_for(|ended| *ended)).await, Ok(Ok(_)))
    }

    /// Polls until nobody waits.
    async fn poll(&self, ledger: &ObjectLedger) {
        loop {
            let objects: Vec<ObjectId> = {
                let mut waiting = self.waiting();
                waiting.retain(|_, ended| ended.receiver_count() > 0);
                waiting.keys().copied().collect()
            };
            if objects.is_empty() {
                return;
            }
            match ledger.settled_among(&objects).await {
                Ok(ended) => {
                    let mut waiting = self.waiting();
                    for ended in ended.iter().filter_map(|object| waiting.remove(object)) {
                        ended.send_replace(true);
                    }
                }
                Err(error) => {
                    tracing::debug!(error = jetline_runtime::causes(&error), "poll objects failed");
                }
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<ObjectId, watch::Sender<bool>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
