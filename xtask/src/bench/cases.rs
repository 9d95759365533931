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
use crate::generate;

const LINES_PER_SMALL_OBJECT: u64 = 100;

/// A line of the generated files, on average.
const LINE_BYTES: f64 = 545.0;

const WRITERS: [usize; 4] = [1, 2, 4, 8];

const PRODUCTS: &str = include_str!("../../../datasets/products.toml");

/// The declaration of `documents`: every field but the key is kept as JSON.
const DOCUMENTS: &str = "key = \"id\"\ncolumns = { id = \"bigint\" }\n";

pub(super) fn load(bench: &Bench) -> Outcome {
    load_days(bench, "into an empty table", &[bench.lines()])
}

pub(super) fn small_objects(bench: &Bench) -> Outcome {
    let lines = bench.lines();
    let files = lines.lines.div_ceil(LINES_PER_SMALL_OBJECT);
    let day = generate::Arguments { files, ..lines };
    load_days(bench, "into an empty table", &[day])
}

pub(super) fn next_day(bench: &Bench) -> Outcome {
    let changed = Some(1);
    let second = generate::Arguments { changed, ..bench.lines() };
    let what = "after the same records were loaded; 1 % of them changed since";
    load_days(bench, what, &[bench.lines(), second])
}

/// Loads the files of a day, or of two; those of the last day are measured.
fn load_days(bench: &Bench, what: &str, days: &[generate::Arguments]) -> Outcome {
    let days = days.iter().map(Data::get).collect::<anyhow::Result<Vec<_>>>()?;
    let jobs = days.iter().zip(["first-day", "second-day"]);
    let jobs = jobs.map(|(data, prefix)| job(bench, data, prefix));
    let jobs: Vec<Job> = jobs.collect();
    let cases = vec![case("jetline", || load_last(bench, &jobs))];
    let description = &days[days.len() - 1].description;
    Ok((format!("{description}, {what}"), bench.measure(cases)?))
}

pub(super) fn reload(bench: &Bench) -> Outcome {
    let data = Data::get(&bench.lines())?;
    let first = job(bench, &data, "files");
    // Without a writer: there is nothing to write, and if there was, the fetcher would wait for it in vain.
    let again = Job { writers: 0, ..first };
    let same_files = || load_last(bench, &[first, again]);
    let new_keys = || load_last(bench, &[first, job(bench, &data, "copies")]);
    let cases = vec![case("the same files", same_files), case("new keys", new_keys)];
    let what = format!("{}, after they were loaded and the tables vacuumed", data.description);
    Ok((what, bench.measure(cases)?))
}

pub(super) fn large_object(bench: &Bench) -> Outcome {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what is too large or too small becomes the nearest number"
    )]
    let lines = ((bench.arguments.gib * 1_073_741_824.0 / LINE_BYTES) as u64).max(1);
    let data = |files| {
        Data::get(&generate::Arguments {
            lines,
            ids: (lines * 4).div_ceil(5),
            files,
            ..bench.lines()
        })
    };
    let (one, four) = (data(1)?, data(4)?);
    let load = |data| load_last(bench, &[job(bench, data, "files")]);
    let cases = vec![case("one object", || load(&one)), case("four objects", || load(&four))];
    let what = format!("{}, and the same lines in 4 files, into an empty table", one.description);
    Ok((what, bench.measure(cases)?))
}

pub(super) fn scaling(bench: &Bench) -> Outcome {
    let data = Data::get(&bench.lines())?;
    let measure = |writers| {
        let job = Job { writers, ..job(bench, &data, "files") };
        case(&count(writers, "writer"), move || load_last(bench, &[job]))
    };
    let what = format!("{}, into an empty table", data.description);
    Ok((what, bench.measure(WRITERS.map(measure).into())?))
}

pub(super) fn dedup_memory(bench: &Bench) -> Outcome {
    let data = |spread| {
        Data::get(&generate::Arguments {
            // A record of every line.
            ids: bench.arguments.lines.get(),
            spread,
            ..bench.lines()
        })
    };
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
    Ok((what, bench.measure(cases)?))
}

fn used_memory(redis: &RedisServer) -> anyhow::Result<u64> {
    let info: InfoDict = redis::cmd("INFO").arg("memory").query(&mut redis.connection()?)?;
    info.get("used_memory").context("Redis does not say how much memory it uses")
}

/// One process, SQLite, no server: what a first `cargo run` does.
pub(super) fn embedded(bench: &Bench) -> Outcome {
    let data = Data::get(&bench.lines())?;
    let cases = vec![case("jetline --exit", || load_embedded(bench, &data))];
    let what = format!("{}, from a directory into a new SQLite database", data.description);
    Ok((what, bench.measure(cases)?))
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

/// A declaration with the key alone, beside one with all fields as columns.
pub(super) fn documents(bench: &Bench) -> Outcome {
    let data = Data::get(&bench.lines())?;
    let load = |dataset, declaration| {
        load_last(bench, &[Job { dataset, declaration, ..job(bench, &data, "files") }])
    };
    let cases = vec![
        case("a column for each field", || load("products", None)),
        case("a column for the key", || load("documents", Some(DOCUMENTS))),
    ];
    let what = format!("{}, into an empty table", data.description);
    Ok((what, bench.measure(cases)?))
}

/// Changes that are to be delivered, beside none.
pub(super) fn outbox(bench: &Bench) -> Outcome {
    let data = Data::get(&bench.lines())?;
    let delivered = with_destination();
    let load = |declaration| load_last(bench, &[Job { declaration, ..job(bench, &data, "files") }]);
    let cases = vec![
        case("without a destination", || load(None)),
        case("with one destination", || load(Some(&delivered))),
    ];
    let what = format!("{}, into an empty table, without a courier", data.description);
    Ok((what, bench.measure(cases)?))
}

/// One courier, and as many changes that wait as there are records.
pub(super) fn deliver(bench: &Bench) -> Outcome {
    let data = Data::get(&bench.lines())?;
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
    Ok((what, bench.measure(vec![case("one courier", deliver)])?))
}

/// The declaration of products with a destination.
fn with_destination() -> String {
    let deliver = "[[deliver]]\nname = 'crm'\nurl = '${CRM_URL}'\nconcurrency = 64\n";
    format!("{PRODUCTS}\n{deliver}")
}

/// The same records as JSON Lines and as CSV.
pub(super) fn csv(bench: &Bench) -> Outcome {
    let lines = Data::get(&bench.lines())?;
    let csv = lines.as_csv()?;
    let load = |data| load_last(bench, &[job(bench, data, "files")]);
    let cases = vec![case("JSON Lines", || load(&lines)), case("CSV", || load(&csv))];
    let what = format!("{}, into an empty table", lines.description);
    Ok((what, bench.measure(cases)?))
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
