//! The durable pull consumer that all writers share.

use std::time::Duration;

pub(super) use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::consumer::{AckPolicy, Config, DeliverPolicy, pull};

use super::JetStreamConfig;

/// Its durable name.
pub(super) const NAME: &str = "writers";

/// Messages in flight to all writers together; at this number the server waits for acknowledgements.
const MAX_IN_FLIGHT: i64 = 4096;

/// Delivered without end: what crashes its writers is declared dead by the writer, in the ledger.
const UNLIMITED: i64 = -1;

/// The consumer as we want it.
pub(super) fn config(settings: &JetStreamConfig) -> pull::Config {
    pull::Config {
        durable_name: Some(NAME.to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: settings.nats_ack_wait,
        max_deliver: UNLIMITED,
        max_ack_pending: MAX_IN_FLIGHT,
        ..pull::Config::default()
    }
}

/// Whether a consumer is what we want; what we have no opinion about may differ.
pub(super) fn agrees(existing: &Config, settings: &JetStreamConfig) -> bool {
    let wanted = config(settings);
    existing.deliver_subject.is_none()
        && existing.filter_subject.is_empty()
        && existing.filter_subjects.is_empty()
        && existing.backoff == Vec::<Duration>::new()
        && !existing.headers_only
        && existing.ack_policy == wanted.ack_policy
        && existing.ack_wait == wanted.ack_wait
        && existing.max_deliver == wanted.max_deliver
        && existing.max_ack_pending == wanted.max_ack_pending
}
