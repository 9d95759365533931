//! What every service's process needs: settings, logs, metrics, shutdown, and the endpoints that watch it.
//!
//! Nothing here knows of records, chunks or databases.

pub mod backoff;
pub mod healthcheck;
pub mod lifecycle;
pub mod metrics;
pub mod observe;
pub mod output;
pub mod serving;
pub mod settings;
pub mod startup;
pub mod telemetry;
pub mod tls;

pub use backoff::Backoff;
pub use healthcheck::{HealthCommand, healthcheck};
pub use lifecycle::{LifecycleSettings, Shutdown};
pub use metrics_exporter_prometheus::PrometheusHandle;
pub use observe::ObserveSettings;
pub use serving::ConnectionLimits;
pub use startup::StartupSettings;
pub use telemetry::TelemetrySettings;

/// The allocator of every program that has this crate in it. A line becomes a handful of small texts, which one thread
/// makes and another one may drop: with the allocator of glibc a writer takes a quarter more CPU.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
