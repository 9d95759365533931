//! Listings of a bucket: its objects are known, or new.

use std::time::Instant;

use anyhow::{Context, ensure};
use chrono::DateTime;
use jetline_testkit::{installation::Installation, s3::S3Server, usage::Scope};

use super::{
    Bench, case,
    report::{Outcome, Run, number},
    services::Servers,
};

/// What a fetcher logs.
const REGISTERED: &str = "object versions registered";

const BUCKET: &str = "bench";
const FIRST: &str = "files/000000000.first.jsonl";

/// Registers the objects of which the ledger has none as copies of the first one.
const REGISTER: &str = "WITH copied AS (
         INSERT INTO objects SELECT (jsonb_populate_record(o, jsonb_build_object(
             'id', o.id + n, 'incarnation', to_hex(n), 'key', 'files/' || lpad(n::text, 9, '0') || '.jsonl'))).*
         FROM objects o, generate_series(1, $) n RETURNING 1)
     SELECT count(*)::text AS text FROM copied";

/// As many objects as there would be lines.
pub(super) fn run(bench: &Bench) -> Outcome {
    let keys = bench.arguments.size.lines;
    let listed = |source: &'static str, known: u64| {
        move || {
            let servers = Servers::start(bench)?;
            let s3 = S3Server::start()?;
            let folder = tempfile::tempdir()?;
            let mut installation = servers.installation(folder.path());
            installation.set("AWS_ENDPOINT_URL", &s3.endpoint());
            installation.set("AWS_ACCESS_KEY_ID", s3.access_key());
            installation.set("AWS_SECRET_ACCESS_KEY", s3.secret_key());
            installation.set("SOURCE", &format!("products=s3://{BUCKET}/files/*.first.jsonl"));
            put(&s3, FIRST);
            list(&servers, &installation, None)?;
            for number in 1..keys {
                put(&s3, &format!("files/{number:09}.jsonl"));
            }
            let copied = (known - 1).to_string();
            let registered = servers.postgres.query(&REGISTER.replace('$', &copied))?;
            ensure!(registered.concat() == copied, "{registered:?} objects are known");
            servers.postgres.vacuum()?;
            installation.set("SOURCE", &format!("products=s3://{BUCKET}/files/{source}"));
            let before = s3.lists();
            let logged = (known < keys).then_some(REGISTERED);
            let mut run = list(&servers, &installation, logged)?;
            let known = servers.postgres.query("SELECT count(*)::text AS text FROM objects")?;
            ensure!(known.concat() == keys.to_string(), "{known:?} objects are known in the end");
            run.work = Some(keys);
            run.figures.insert("lists", number(s3.lists() - before));
            Ok(run)
        }
    };
    let cases = vec![
        case("all match and are known", listed("*.jsonl", keys)),
        case("one matches: the time of the pages", listed("*.first.jsonl", keys)),
        case("all match and are new", listed("*.jsonl", 1)),
    ];
    bench.measure(format!("{keys} keys of S3 over HTTP"), cases)
}

/// An empty object, which has no chunk.
fn put(s3: &S3Server, key: &str) {
    s3.put(BUCKET, key, "");
    s3.set_last_modified(BUCKET, key, DateTime::UNIX_EPOCH);
}

/// Starts a fetcher that lists once, and waits until it has logged something, or until it ends: it would read all that it
/// registers.
fn list(
    servers: &Servers,
    installation: &Installation,
    logged: Option<&str>,
) -> anyhow::Result<Run> {
    let mut processes = servers.watch()?;
    let begin = Instant::now();
    let mut fetcher = installation.start("jetline-fetcher", &[])?;
    processes.watch("jetline-fetcher", fetcher.id(), Scope::Alone)?;
    match logged {
        None => processes.until_done("the fetcher", &mut fetcher)?,
        Some(logged) => processes
            .until(|| fetcher.output().contains(logged))
            .with_context(|| fetcher.end_of_log())?,
    }
    Ok(processes.run(begin.elapsed(), None, []))
}
