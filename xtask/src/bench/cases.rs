//! The benchmarks that load files.

use anyhow::{Context, ensure};
use jetline_testkit::{redis::RedisServer, usage::Scope};
use redis::InfoDict;

use super::{
    Bench, case, count,
    data::Data,
    processes::Processes,
    report::{Outcome, Run, number},
    services::{Job, Servers, load_last},
};
use crate::generate::{Content, Size};

const LINES_PER_SMALL_OBJECT: u64 = 100;

/// A line of the generated files, on average.
const LINE_BYTES: f64 = 545.0;

const WRITERS: [usize; 4] = [1, 2, 4, 8];

const PRODUCTS: &str = include_str!("../../../datasets/products.toml");

/// The declaration of `documents`: every field but the key is kept as JSON.
const DOCUMENTS: &str = "key = \"id\"\ncolumns = { id = \"bigint\" }\n";

pub(super) fn load(bench: &Bench) -> Outcome {
    first_load(bench, bench.arguments.size)
}

pub(super) fn small_objects(bench: &Bench) -> Outcome {
    let size = bench.arguments.size;
    first_load(bench, Size { files: size.lines.div_ceil(LINES_PER_SMALL_OBJECT), ..size })
}

fn first_load(bench: &Bench, size: Size) -> Outcome {
    let data = Data::get(size)?;
    let cases = [("jetline", vec![job(bench, &data, "first-day")])];
    measure(bench, into_empty_table(&data), &cases)
}

pub(super) fn next_day(bench: &Bench) -> Outcome {
    let size = bench.arguments.size;
    let first = Data::get(size)?;
    let second = Data::get(Content { changed: Some(1), ..size.into() })?;
    let jobs = vec![job(bench, &first, "first-day"), job(bench, &second, "second-day")];
    let what = format!(
        "{}, after the same records were loaded; 1 % of them changed since",
        second.description
    );
    measure(bench, what, &[("jetline", jobs)])
}

pub(super) fn reload(bench: &Bench) -> Outcome {
    let data = Data::get(bench.arguments.size)?;
    let first = job(bench, &data, "files");
    // Without a writer: there is nothing to write, and if there was, the fetcher would wait for it in vain.
    let again = Job { writers: 0, ..first };
    let cases = [
        ("the same files", vec![first, again]),
        ("new keys", vec![first, job(bench, &data, "copies")]),
    ];
    let what = format!("{}, after they were loaded and the tables vacuumed", data.description);
    measure(bench, what, &cases)
}

pub(super) fn large_object(bench: &Bench) -> Outcome {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what is too large or too small becomes the nearest number"
    )]
    let lines = ((bench.arguments.gib * 1_073_741_824.0 / LINE_BYTES) as u64).max(1);
    let data = |files| Data::get(Size { lines, ids: None, files, ..bench.arguments.size });
    let (one, four) = (data(1)?, data(4)?);
    let cases = [
        ("one object", vec![job(bench, &one, "files")]),
        ("four objects", vec![job(bench, &four, "files")]),
    ];
    let what = format!("{}, and the same lines in 4 files, into an empty table", one.description);
    measure(bench, what, &cases)
}

pub(super) fn scaling(bench: &Bench) -> Outcome {
    let data = Data::get(bench.arguments.size)?;
    let cases = WRITERS.map(|writers| {
        (count(writers, "writer"), vec![Job { writers, ..job(bench, &data, "files") }])
    });
    measure(bench, into_empty_table(&data), &cases)
}

/// A declaration with the key alone, beside one with all fields as columns.
pub(super) fn documents(bench: &Bench) -> Outcome {
    let data = Data::get(bench.arguments.size)?;
    let columns = job(bench, &data, "files");
    let documents = Job { dataset: "documents", declaration: Some(DOCUMENTS), ..columns };
    let cases =
        [("a column for each field", vec![columns]), ("a column for the key", vec![documents])];
    measure(bench, into_empty_table(&data), &cases)
}

/// Changes that are to be delivered, beside none.
pub(super) fn outbox(bench: &Bench) -> Outcome {
    let data = Data::get(bench.arguments.size)?;
    let without = job(bench, &data, "files");
    let declaration = with_destination();
    let with = Job { declaration: Some(&declaration), ..without };
    let cases = [("without a destination", vec![without]), ("with one destination", vec![with])];
    measure(bench, into_empty_table(&data) + ", without a courier", &cases)
}

/// The same records as JSON Lines and as CSV.
pub(super) fn csv(bench: &Bench) -> Outcome {
    let lines = Data::get(bench.arguments.size)?;
    let csv = lines.as_csv()?;
    let cases = [
        ("JSON Lines", vec![job(bench, &lines, "files")]),
        ("CSV", vec![job(bench, &csv, "files")]),
    ];
    measure(bench, into_empty_table(&lines), &cases)
}

/// Does the jobs of each case on fresh servers; the last of them is measured.
fn measure(bench: &Bench, what: String, cases: &[(impl AsRef<str>, Vec<Job>)]) -> Outcome {
    let cases = cases.iter().map(|(name, jobs)| case(name.as_ref(), || load_last(bench, jobs)));
    bench.measure(what, cases.collect())
}

fn into_empty_table(data: &Data) -> String {
    format!("{}, into an empty table", data.description)
}

pub(super) fn dedup_memory(bench: &Bench) -> Outcome {
    let size = bench.arguments.size;
    // A record of every line.
    let size = Size { ids: Some(size.lines), ..size };
    let data = |spread| Data::get(Content { spread, ..size.into() });
    let (dense, spread) = (data(false)?, data(true)?);
    let load = |data: &Data| {
        let servers = Servers::start(bench)?;
        let before = used_memory(&servers.redis)?;
        let mut run = servers.run(&job(bench, data, "files"))?;
        let bytes = used_memory(&servers.redis)?.saturating_sub(before);
        run.figures.insert("bytes a record", number(bytes) / number(data.ids));
        Ok(run)
    };
    let cases = vec![
        case("integer ids, dense", || load(&dense)),
        case("integer ids, each far from the next", || load(&spread)),
    ];
    // Bytes a record: what Redis uses, less what it used before.
    let what = format!("{}, into an empty Redis", dense.description);
    bench.measure(what, cases)
}

fn used_memory(redis: &RedisServer) -> anyhow::Result<u64> {
    let info: InfoDict = redis::cmd("INFO").arg("memory").query(&mut redis.connection()?)?;
    info.get("used_memory").context("Redis does not say how much memory it uses")
}

/// One process, SQLite, no server: what a first `cargo run` does.
pub(super) fn embedded(bench: &Bench) -> Outcome {
    let data = Data::get(bench.arguments.size)?;
    let cases = vec![case("jetline --exit", || load_embedded(bench, &data))];
    let what = format!("{}, from a directory into a new SQLite database", data.description);
    bench.measure(what, cases)
}

pub(super) fn load_embedded(bench: &Bench, data: &Data) -> anyhow::Result<Run> {
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("jetline.db");
    let mut installation = bench.installation(folder.path(), &[]);
    installation.set("SOURCE", &data.directory.display().to_string());
    installation.set("DATABASE_URL", &format!("sqlite://{}", database.display()));
    // With the address of a server, its embedded part would not be used.
    installation.unset("NATS_URL");
    installation.unset("REDIS_URL");
    let mut processes = Processes::new(&bench.interrupt);
    let flags = ["--exit", "--listen", "127.0.0.1:0"];
    let (time, jetline) =
        processes.time("jetline", Scope::Alone, || installation.start("jetline", &flags))?;

    // The last line of the summary begins with the lines and the new records.
    let output = jetline.output();
    let mut sums = output.lines().filter_map(|line| line.strip_prefix("in all"));
    let sums = sums.next().unwrap_or_default().split_whitespace().take(2);
    let sums = sums.map(|sum| sum.replace(',', ""));
    let all = sums.eq([data.lines.to_string(), data.ids.to_string()]);
    ensure!(all, "not all is there: {output}");
    Ok(processes.run(time, Some(data.lines), []))
}

/// One courier, and as many changes that wait as there are records.
pub(super) fn deliver(bench: &Bench) -> Outcome {
    let data = Data::get(bench.arguments.size)?;
    let declaration = with_destination();
    let count = data.ids.div_ceil(5);
    let deliver = || {
        let servers = Servers::start(bench)?;
        let declaration = Some(&*declaration);
        servers.run(&Job { declaration, ..job(bench, &data, "files") })?;
        servers.deliver(count)
    };
    let what = format!(
        "{count} of {} changes that wait, to an endpoint on the same machine that answers at once",
        data.ids
    );
    bench.measure(what, vec![case("one courier", deliver)])
}

/// The declaration of products with a destination.
fn with_destination() -> String {
    let deliver = "[[deliver]]\nname = 'crm'\nurl = '${CRM_URL}'\nconcurrency = 64\n";
    format!("{PRODUCTS}\n{deliver}")
}

pub(super) fn job<'a>(bench: &Bench, data: &'a Data, prefix: &'a str) -> Job<'a> {
    Job {
        data,
        prefix,
        writers: bench.arguments.writers.get(),
        dataset: "products",
        declaration: None,
    }
}
