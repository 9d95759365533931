//! Receives webhooks as a bad CRM does: for experiments and benchmarks. At exit it prints what it received.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use clap::Parser;
use jetline_testkit::crm::{Behaviour, Crm};
use tokio::{net::TcpListener, select, signal::unix};

/// Receives webhooks: fails at random, loses answers, and counts calls and effects. `GET /stats` shows them.
#[derive(Parser)]
#[command(name = "test-crm")]
struct Config {
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9100")]
    listen: SocketAddr,
    /// Of a hundred calls, how many fail.
    #[arg(long, value_name = "PERCENT", default_value_t = 30)]
    fail: u32,
    /// Of a hundred calls, how many get no answer after they had their effect.
    #[arg(long, value_name = "PERCENT", default_value_t = 5)]
    lose: u32,
    /// A message that comes again has an effect again.
    #[arg(long)]
    ignore_ids: bool,
    /// Count calls and do nothing else.
    #[arg(long)]
    count_only: bool,
    /// How long a call takes, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay: u64,
    /// Seed of what is random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Exit after so many calls.
    #[arg(long, value_name = "COUNT")]
    calls: Option<u64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let crm = Crm::new(Behaviour {
        failed_percent: config.fail,
        lost_percent: config.lose,
        ignores_ids: config.ignore_ids,
        counts_only: config.count_only,
        delay: Duration::from_millis(config.delay),
        seed: config.seed,
    });
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    eprintln!("http://{}/hook", listener.local_addr()?);
    let mut terminated = unix::signal(unix::SignalKind::terminate())?;
    select! {
        ended = crm.clone().serve(listener, None) => ended?,
        () = crm.called(config.calls.unwrap_or(u64::MAX)) => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminated.recv() => {}
    }
    eprintln!("{}", crm.stats());
    Ok(())
}
