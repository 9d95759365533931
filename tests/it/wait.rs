//! Waits for conditions of the ledger, a log or an endpoint; never for a fixed time.

use std::time::{Duration, Instant};

use jetline_testkit::process::Process;

/// The timeout of every condition, on a machine that is busy with other tests.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(90);

/// The interval of polls: there is no event to wait for.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Polls until `check` returns something, and returns it.
pub(crate) async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(seen) = check().await {
            return seen;
        }
        assert!(begin.elapsed() < TIMEOUT, "timeout waiting until {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Waits until a text is in the output of a process.
pub(crate) async fn logs(process: &Process, text: &str) {
    until(text, async || process.output().contains(text).then_some(())).await;
}
