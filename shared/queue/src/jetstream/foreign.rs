//! Chunks of another ledger, which are here because two deployments share a stream by mistake, or because the database
//! was made anew.

use std::time::Duration;

use async_nats::jetstream::{AckKind, Message};
use tokio::time::Instant;
use tracing::error;

use super::{broker::Broker, message};

/// So many deliveries are left to the writers of the other ledger; then a chunk is discarded, as there may be none, and its
/// fetcher reads it again.
const LEFT: u64 = 3;

/// How often the log says so.
const EVERY: Duration = Duration::from_mins(1);

/// What was met of other ledgers since the log last said so.
#[derive(Default)]
pub(super) struct Foreign {
    told: Option<Instant>,
    left: u64,
    discarded: u64,
}

impl Foreign {
    /// Gives back what is ours. Another delivery is left unacknowledged, so that it comes again after the acknowledgement
    /// wait, or discarded.
    pub(super) async fn sort(
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
        // As long as it does not say who it is, the chunk may be its own.
        if ours.ask().await? == theirs {
            return Some(message);
        }
        if attempt <= LEFT {
            self.left += 1;
        } else {
            self.discarded += 1;
            // Where this fails, it comes again and is discarded then.
            let _ = message.ack_with(AckKind::Term).await;
        }
        if self.told.is_some_and(|told| told.elapsed() < EVERY) {
            return None;
        }
        error!(
            stream = broker.config.nats_stream,
            theirs = %theirs,
            ours = %ours.identity(),
            subject = %message.subject,
            left = self.left,
            discarded = self.discarded,
            "the stream holds chunks of another ledger: give each deployment a NATS_STREAM of its own"
        );
        *self = Self {
            told: Some(Instant::now()),
            ..Self::default()
        };
        None
    }
}
