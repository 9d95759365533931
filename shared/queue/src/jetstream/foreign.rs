//! Chunks of another ledger, which are here because two deployments share a stream by mistake, or because the database
//! was made anew.

use std::time::Duration;

use async_nats::jetstream::{AckKind, Message};
use jetline_records::LedgerIdentity;
use tokio::time::Instant;
use tracing::error;

use super::broker::Broker;

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
    /// Leaves a delivery unacknowledged, so that it comes again after the acknowledgement wait, or discards it.
    pub(super) async fn take(
        &mut self,
        broker: &Broker,
        theirs: LedgerIdentity,
        attempt: u64,
        message: Message,
    ) {
        if attempt <= LEFT {
            self.left += 1;
        } else {
            self.discarded += 1;
            // Where this fails, it comes again and is discarded then.
            let _ = message.ack_with(AckKind::Term).await;
        }
        if self.told.is_some_and(|told| told.elapsed() < EVERY) {
            return;
        }
        error!(
            stream = broker.config.nats_stream,
            theirs = %theirs,
            ours = broker.ledger().map(tracing::field::display),
            subject = %message.subject,
            left = self.left,
            discarded = self.discarded,
            "the stream holds chunks of another ledger: give each deployment a NATS_STREAM of its own"
        );
        *self = Self {
            told: Some(Instant::now()),
            ..Self::default()
        };
    }
}
