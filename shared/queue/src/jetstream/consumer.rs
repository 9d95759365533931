//! The durable pull consumer that all writers share.

use std::time::Duration;

pub(super) use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::consumer::{AckPolicy, Config, DeliverPolicy, pull};

use super::JetStreamConfig;

/// Its durable name.
pub(super) const NAME: &str = "writers";

/// The maximum of unacknowledged messages of all writers together.
const MAX_ACK_PENDING: i64 = 4096;

/// No limit of deliveries: the writer dead-letters a chunk that crashes it, in the ledger.
const UNLIMITED: i64 = -1;

/// The wanted configuration of the consumer.
pub(super) fn config(settings: &JetStreamConfig) -> pull::Config {
    pull::Config {
        durable_name: Some(NAME.to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: settings.nats_ack_wait,
        max_deliver: UNLIMITED,
        max_ack_pending: MAX_ACK_PENDING,
        ..pull::Config::default()
    }
}

/// Whether a consumer has the wanted configuration; options that are not set here may differ.
pub(super) fn matches(existing: &Config, settings: &JetStreamConfig) -> bool {
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
