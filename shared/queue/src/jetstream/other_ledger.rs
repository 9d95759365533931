//! Filters chunks of other ledgers, which occur when two deployments share a stream by mistake, or when the database was
//! created again.

use std::time::Duration;

use async_nats::jetstream::{AckKind, Message};
use tokio::time::Instant;
use tracing::error;

use super::{broker::Broker, message};

/// For how many deliveries a chunk is left to the writers of its ledger. Then it is discarded, since there may be none; its
/// fetcher reads it again.
const MAX_DELIVERIES: u64 = 3;

/// How often such chunks are logged at most.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Counts of such chunks since they were last logged.
#[derive(Default)]
pub(super) struct OtherLedger {
    logged: Option<Instant>,
    left: u64,
    discarded: u64,
}

impl OtherLedger {
    /// Returns a message of our ledger. Another one is left unacknowledged, so that it is redelivered after the
    /// acknowledgement wait, or discarded.
    pub(super) async fn filter(
        &mut self,
        broker: &Broker,
        attempt: u64,
        message: Message,
    ) -> Option<Message> {
        let (Some(ours), Some(theirs)) = (broker.ledger(), message::ledger(&message.message))
        else {
            return Some(message);
        };
        if ours.identity() == theirs {
            return Some(message);
        }
        // While our identity cannot be read, the chunk may be ours.
        if ours.refresh().await? == theirs {
            return Some(message);
        }
        if attempt <= MAX_DELIVERIES {
            self.left += 1;
        } else {
            self.discarded += 1;
            // If this fails, it is redelivered and discarded then.
            let _ = message.ack_with(AckKind::Term).await;
        }
        if self.logged.is_some_and(|logged| logged.elapsed() < LOG_INTERVAL) {
            return None;
        }
        error!(
            stream = broker.config.nats_stream,
            theirs = %theirs,
            ours = %ours.identity(),
            subject = %message.subject,
            left = self.left,
            discarded = self.discarded,
            "stream has chunks of another ledger: give each deployment its own NATS_STREAM"
        );
        *self = Self { logged: Some(Instant::now()), ..Self::default() };
        None
    }
}
