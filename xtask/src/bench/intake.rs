//! `intake`: single records that are posted to the API by wrk, until they are served.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::ensure;
use jetline_testkit::{http, process::Signal, usage::Scope};
use tokio::{runtime::Runtime, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Bench, case,
    report::{Outcome, Run, percentiles},
    services::Servers,
    wrk::wrk,
};
use crate::install;

const CLIENTS: usize = 64;

const DECLARATION: &str = "key = 'id'\ncolumns = { id = 'bigint', name = 'text' }\n";

/// Between two records whose way is measured, and between two looks at one.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

pub(super) fn run(bench: &Bench) -> Outcome {
    install::missing(&[("wrk", "wrk", "wrk")])?;
    let cases = vec![case("one record each", || post(bench))];
    let what = format!(
        "records of 40 bytes posted by {CLIENTS} clients for {} s, a record in each request, into a directory",
        bench.arguments.seconds
    );
    bench.measure(what, cases)
}

fn post(bench: &Bench) -> anyhow::Result<Run> {
    let servers = Servers::start(bench)?;
    servers.declare("users", DECLARATION)?;
    let folder = tempfile::tempdir()?;
    let mut installation = servers.installation(folder.path());
    installation.set("INTAKE", "open");
    let store = folder.path().join("intake");
    installation.set("INTAKE_STORE", &store.display().to_string());
    installation.set("WATCH", "1h");
    let mut processes = servers.watch()?;
    let mut writer = installation.start("jetline-writer", &[])?;
    processes.watch("jetline-writer", writer.id(), Scope::Alone)?;
    let fetcher = installation.start("jetline-fetcher", &[])?;
    processes.watch("jetline-fetcher", fetcher.id(), Scope::Alone)?;
    let runtime = Runtime::new()?;
    let (mut api, address) = runtime.block_on(installation.serve("jetline-api", "/readyz"))?;
    processes.watch("jetline-api", api.id(), Scope::Alone)?;

    let ended = CancellationToken::new();
    let visible = runtime.spawn(times_until_visible(address, ended.clone()));
    let mut run = wrk(&servers, &mut processes, address, CLIENTS, "intake.lua", &[])?;
    ended.cancel();
    let [p50, p99] = percentiles(runtime.block_on(visible)??)?;
    run.figures.extend([("until visible, p50, ms", p50), ("until visible, p99, ms", p99)]);
    for process in [&writer, &fetcher] {
        process.signal(Signal::TERM);
        processes.until_ended("the services", process)?;
    }
    // A fetcher that is interrupted says by its status that not all is loaded.
    writer.ended()?;
    api.stop(Signal::TERM)?;
    Ok(Run { processes: processes.usage(), ..run })
}

/// Posts a record now and then, and asks for it until it is served; returns the times from the beginning of the posts, in
/// milliseconds.
async fn times_until_visible(
    address: SocketAddr,
    ended: CancellationToken,
) -> anyhow::Result<Vec<f64>> {
    const FIRST_ID: u64 = 1 << 60;
    let mut times = Vec::new();
    for id in FIRST_ID.. {
        if ended.is_cancelled() {
            break;
        }
        let begin = Instant::now();
        let record = format!("{{\"id\":{id},\"name\":\"sample\"}}");
        let headers = [("content-type", "application/json")];
        let answer = http::post(address, "/users", &headers, record).await?;
        ensure!(answer.status == 202, "a post was answered {}: {}", answer.status, answer.body);
        while http::get(address, &format!("/users/{id}"), &[]).await?.status != 200 {
            sleep(POLL_INTERVAL).await;
        }
        times.push(begin.elapsed().as_secs_f64() * 1000.0);
        sleep(SAMPLE_INTERVAL).await;
    }
    Ok(times)
}
