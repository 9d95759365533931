//! The infrastructure of a service: settings, logs, metrics, traces, shutdown, health, and HTTP serving.
//!
//! Independent of records, chunks and databases.

pub mod backoff;
pub mod healthcheck;
pub mod human;
pub mod lifecycle;
mod log_fields;
pub mod metrics;
pub mod observe;
pub mod output;
pub mod service;
pub mod serving;
pub mod settings;
pub mod startup;
pub mod telemetry;
pub mod terminal;
pub mod tls;

pub use backoff::Backoff;
pub use healthcheck::{HealthCommand, healthcheck};
pub use lifecycle::{LifecycleSettings, Shutdown};
pub use log_fields::{Causes, causes, millis};
pub use metrics_exporter_prometheus::PrometheusHandle;
pub use observe::{Observation, ObserveSettings};
pub use serving::ConnectionLimits;
pub use startup::StartupSettings;
pub use telemetry::TelemetrySettings;

/// The allocator of every program that links this crate. A line is parsed into a few small strings, which one thread
/// allocates and another may free: with glibc's allocator a writer takes a quarter more CPU.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
