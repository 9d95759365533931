//! `intake`: single records that are posted to the API by wrk, until they are served.

use std::{
    fs,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::Full;
use jetline_testkit::{
    http,
    process::{Process, Signal, program},
    usage::Scope,
};
use tokio::{runtime::Runtime, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Bench, case,
    processes::Processes,
    read::Answers,
    report::{Outcome, Run, cores},
    services::Servers,
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
    Ok((what, bench.measure(cases)?))
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
    let mut processes = Processes::new(&bench.interrupt);
    processes.watch("postgres", servers.postgres.pid()?, Scope::WithChildren)?;
    let mut loading = Vec::new();
    for name in ["jetline-writer", "jetline-fetcher"] {
        let process = installation.start(name, &[])?;
        processes.watch(name, process.id(), Scope::Alone)?;
        loading.push(process);
    }
    let runtime = Runtime::new()?;
    let (mut api, address) = runtime.block_on(installation.serve("jetline-api", "/readyz"))?;
    processes.watch("jetline-api", api.id(), Scope::Alone)?;

    let ended = CancellationToken::new();
    let visible = runtime.spawn(times_until_visible(address, ended.clone()));
    let script = folder.path().join("intake.lua");
    fs::write(&script, include_str!("intake.lua"))?;
    let mut command = Command::new(program("wrk")?);
    command
        .arg(format!("--threads={}", CLIENTS.min(cores())))
        .arg(format!("--connections={CLIENTS}"))
        .arg(format!("--duration={}s", bench.arguments.seconds))
        .arg("--script")
        .arg(script)
        .arg(format!("http://{address}"));
    let mut wrk = Process::start(command, &folder.path().join("wrk"))?;
    processes.watch("wrk", wrk.id(), Scope::Alone)?;
    processes.until_done("wrk", &mut wrk)?;
    ended.cancel();
    let mut visible = runtime.block_on(visible)??;
    visible.sort_unstable();
    let answers = Answers::of(&wrk)?;
    for mut process in loading {
        process.signal(Signal::TERM);
        processes.until_done("the services", &mut process)?;
    }
    api.stop(Signal::TERM)?;
    Ok(Run {
        time: Duration::from_micros(answers.micros),
        work: Some(answers.requests),
        figures: [
            ("p50, ms", answers.p50),
            ("p99, ms", answers.p99),
            ("until visible, p50, ms", percentile(&visible, 50)),
            ("until visible, p99, ms", percentile(&visible, 99)),
        ]
        .into(),
        processes: processes.usage(),
    })
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1_000.0)
}

/// Posts a record now and then, and asks for it until it is served; returns the times from the beginning of the posts.
async fn times_until_visible(
    address: SocketAddr,
    ended: CancellationToken,
) -> anyhow::Result<Vec<Duration>> {
    const FIRST_ID: u64 = 1 << 60;
    let mut times = Vec::new();
    for id in FIRST_ID.. {
        if ended.is_cancelled() {
            break;
        }
        let begin = Instant::now();
        let record = Full::<Bytes>::from(format!("{{\"id\":{id},\"name\":\"sample\"}}"));
        let headers = [("content-type", "application/json")];
        let answer = http::post(address, "/users", &headers, record).await?;
        ensure!(answer.status == 202, "a post was answered {}: {}", answer.status, answer.body);
        while http::get(address, &format!("/users/{id}"), &[]).await?.status != 200 {
            sleep(POLL_INTERVAL).await;
        }
        times.push(begin.elapsed());
        sleep(SAMPLE_INTERVAL).await;
    }
    ensure!(!times.is_empty(), "no record was visible in time");
    Ok(times)
}
