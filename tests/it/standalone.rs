//! `jetline` with embedded parts: a directory, SQLite, one process.

use std::{
    ffi::OsStr,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use async_compression::tokio::bufread::GzipDecoder;
use jetline_oracle::{
    Expected, MAX_LINE,
    catalogue::{lines, lines_with_bad_ones},
    database_state::Object,
    fold,
    ledger::Ledger,
};
use jetline_testkit::{
    http,
    process::{Process, Signal, free_port},
    s3::{Fault, S3Server},
};
use sea_orm::{DatabaseTransaction, SqliteTransactionMode, TransactionOptions, TransactionTrait};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

use crate::{
    deployment::{BUCKET, failed, finish, interrupt, program, succeeded},
    wait::{TIMEOUT, until},
};

/// A working directory with the directory `samples`, whose files are one second apart.
pub(crate) struct Home {
    pub(crate) folder: TempDir,
    pub(crate) address: SocketAddr,
}

impl Home {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("samples")).unwrap();
        Self { folder, address: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap())) }
    }

    pub(crate) fn put(&self, name: &str, second: u64, content: &[u8]) {
        let path = self.folder.path().join("samples").join(name);
        fs::write(&path, content).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second);
        File::open(path).unwrap().set_modified(time).unwrap();
    }

    pub(crate) fn put_all(&self, contents: &[impl AsRef<[u8]>]) {
        for (second, content) in (0..).zip(contents) {
            self.put(&format!("{second}.jsonl"), second, content.as_ref());
        }
    }

    /// The command, with only its port and the oracle's maximum line length set.
    pub(crate) fn command(&self, flags: &[&str]) -> Command {
        let mut command = program("jetline");
        command
            .current_dir(self.folder.path())
            .env("LISTEN", self.address.to_string())
            .env("MAX_LINE_BYTES", MAX_LINE.to_string())
            .args(flags);
        command
    }

    pub(crate) fn start(&self, flags: &[&str]) -> Process {
        Process::start(self.command(flags), &self.folder.path().join("log")).unwrap()
    }

    /// Starts it with further settings.
    pub(crate) fn start_with(
        &self,
        flags: &[&str],
        settings: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> Process {
        let mut command = self.command(flags);
        command.envs(settings);
        Process::start(command, &self.folder.path().join("log")).unwrap()
    }

    /// Starts it with further settings, and waits until it is ready.
    pub(crate) async fn serve(
        &self,
        flags: &[&str],
        settings: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> Process {
        let process = self.start_with(flags, settings);
        until("it is ready", async || {
            http::get(self.address, "/readyz", &[]).await.ok().filter(|answer| answer.status == 200)
        })
        .await;
        process
    }

    /// Waits until so many objects are done.
    pub(crate) async fn loaded(&self, objects: usize) {
        until("all of it is loaded", async || {
            let done = http::get(self.address, "/objects?state=done", &[]).await.ok()?;
            (done.status == 200 && done.json().as_array()?.len() == objects).then_some(())
        })
        .await;
    }

    /// Its database, once it exists.
    pub(crate) async fn ledger(&self) -> Ledger {
        let file = self.folder.path().join("jetline.db");
        until("the database is created and migrated", async || {
            if !file.exists() {
                return None;
            }
            let ledger = Ledger::connect(&format!("sqlite://{}", file.display())).await.unwrap();
            ledger.objects().await.ok().map(|_| ledger)
        })
        .await
    }
}

pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

pub(crate) fn samples() -> PathBuf {
    workspace().join("samples")
}

/// Copies the bundled samples, and returns the expected result.
pub(crate) async fn put_samples(home: &Home) -> Expected {
    let mut contents = Vec::new();
    for (second, name) in
        ["products-1.jsonl", "products-2.jsonl.gz", "products-3.jsonl", "products-4.jsonl"]
            .into_iter()
            .enumerate()
    {
        let stored = fs::read(samples().join(name)).unwrap();
        home.put(name, second as u64, &stored);
        let mut content = Vec::new();
        if Path::new(name).extension().is_some_and(|extension| extension == "gz") {
            let mut decoder = GzipDecoder::new(&stored[..]);
            decoder.read_to_end(&mut content).await.unwrap();
        } else {
            content = stored;
        }
        contents.push(content);
    }
    fold(&contents)
}

#[tokio::test]
async fn samples_are_loaded_by_default_and_read_once() {
    let home = Home::new();
    let expected = put_samples(&home).await;
    assert_eq!((expected.total(), expected.rejects.len()), (10_000, 3));
    let output = succeeded(finish(home.start(&["--exit"])));
    assert!(output.contains("10,000"), "{output}");
    home.ledger().await.assert_holds(&expected).await;
    let output = succeeded(finish(home.start(&["--exit"])));
    assert!(output.contains("Nothing new: all 4"), "{output}");
    home.ledger().await.assert_holds(&expected).await;
}

#[tokio::test]
async fn api_is_served_until_sigint() {
    let home = Home::new();
    let expected = put_samples(&home).await;
    let process = home.start(&[]);
    until("it prints its URL", async || {
        let message = format!("Serving http://{}", home.address);
        process.output().contains(&message).then_some(())
    })
    .await;
    let ((_, id), product) = expected.rows.first_key_value().unwrap();
    let answer = http::get(home.address, &format!("/products/{id}"), &[]).await.unwrap();
    assert_eq!(answer.json()["title"], product["title"]);
    let rejects = http::get(home.address, "/rejects", &[]).await.unwrap().json();
    assert_eq!(rejects.as_array().unwrap().len(), 3);
    succeeded(interrupt(process));
    assert!(http::get(home.address, "/healthz", &[]).await.is_err());
}

/// Puts a source of some thousand chunks, and returns the expected result.
pub(crate) fn put_many(home: &Home) -> Expected {
    let contents: Vec<Vec<u8>> =
        (1..=2).map(|seed| lines_with_bad_ones(seed, 5000, 2000, 100)).collect();
    home.put_all(&contents);
    fold(&contents)
}

/// Waits until some lines are committed, and blocks further commits.
pub(crate) async fn hold_in_the_middle(
    ledger: &Ledger,
    expected: &Expected,
) -> DatabaseTransaction {
    until("some of the lines are committed", async || {
        let lines = ledger.objects().await.ok()?;
        let lines: i64 = lines.iter().map(Object::lines).sum();
        (lines * 5 > expected.total()).then_some(())
    })
    .await;
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let gate =
        until("the database is locked", async || ledger.0.begin_with_options(options).await.ok())
            .await;
    let committed = ledger.lines().await.unwrap();
    assert!(0 < committed && committed < expected.total(), "{committed}");
    gate
}

/// So many small transactions that a load can be held in the middle.
pub(crate) const SMALL_CHUNKS: [&str; 5] =
    ["--exit", "--chunk-bytes", "1KiB", "--writer-chunks", "1"];

#[tokio::test]
async fn load_resumes_after_a_kill() {
    let home = Home::new();
    let expected = put_many(&home);
    let mut process = home.start(&SMALL_CHUNKS);
    let ledger = home.ledger().await;
    let gate = hold_in_the_middle(&ledger, &expected).await;
    process.signal(Signal::KILL);
    assert_eq!(process.wait(TIMEOUT).unwrap().signal(), Some(9));
    gate.rollback().await.unwrap();
    succeeded(finish(home.start(&SMALL_CHUNKS)));
    ledger.assert_holds(&expected).await;
}

#[tokio::test]
async fn load_reports_an_interruption_and_resumes() {
    let home = Home::new();
    let expected = put_many(&home);
    let process = home.start(&SMALL_CHUNKS);
    let ledger = home.ledger().await;
    let gate = hold_in_the_middle(&ledger, &expected).await;
    process.signal(Signal::INT);
    gate.rollback().await.unwrap();
    let output = failed(finish(process));
    assert!(output.contains("Interrupted"), "{output}");
    assert!(ledger.lines().await.unwrap() < expected.total());
    succeeded(finish(home.start(&SMALL_CHUNKS)));
    ledger.assert_holds(&expected).await;
}

#[tokio::test]
async fn load_interrupted_while_nothing_is_written_reports_the_ledger() {
    let home = Home::new();
    let s3 = S3Server::start().unwrap();
    s3.create_bucket(BUCKET);
    s3.put(BUCKET, "a.jsonl", lines(1, 10, 10));
    s3.fail_next_gets(100, &Fault::Delay(Duration::from_hours(1)));
    let source = format!("s3://{BUCKET}");
    let process = home.start_with(&["--exit", "--source", &source], s3.settings());
    let ledger = home.ledger().await;
    until("the object is being read", async || {
        let objects = ledger.objects().await.ok()?;
        objects.first().filter(|object| object.state == "reading")?;
        Some(())
    })
    .await;
    let output = failed(interrupt(process));
    assert!(output.contains("a.jsonl") && output.contains("Interrupted"), "{output}");
    assert!(!output.contains("Nothing to do"), "{output}");
}

#[tokio::test]
async fn object_that_failed_counts_until_it_is_dismissed_or_replayed() {
    let home = Home::new();
    let good = lines_with_bad_ones(1, 50, 50, 10);
    home.put("a.jsonl", 0, &good);
    home.put("b.jsonl", 1, b"id,title\na1,t\na2,u\n");
    let output = failed(finish(home.start(&["--exit"])));
    for words in [
        "  rejected: 3 invalid_json; first: line 1, invalid_json: ",
        "object 2 failed: none of its lines was accepted (3 rejected); it looks like CSV",
        "replay --object NUMBER",
    ] {
        assert!(output.contains(words), "{words}: {output}");
    }
    let ledger = home.ledger().await;
    let expected = fold(&[&good[..], b"id,title\na1,t\na2,u\n"]);
    ledger.assert_agrees(&expected).await;

    let output = failed(finish(home.start(&["--exit"])));
    for words in [
        "Nothing new: all 2 objects are known",
        "Known objects that failed: 1",
        "object 2 (b.jsonl): none of its lines was accepted",
        "dismiss NUMBER",
    ] {
        assert!(output.contains(words), "{words}: {output}");
    }
    let output = failed(finish(home.start(&["dismiss", "1"])));
    assert!(output.contains("object 1 is done"), "{output}");
    let output = failed(finish(home.start(&["dismiss", "7"])));
    assert!(output.contains("there is no object 7"), "{output}");
    let output = succeeded(finish(home.start(&["dismiss", "2"])));
    assert!(output.contains("Object 2 is dismissed"), "{output}");
    let (complete, output) = finish(home.start(&["--exit"]));
    // Its output follows that of the runs before it, and so does the log: the test reads the database.
    let last = output.lines().rfind(|line| !line.contains(" WARN "));
    let last = last.unwrap_or_default();
    assert!(complete && last.ends_with("were not read."), "{output}");

    succeeded(finish(home.start(&["replay", "--object", "2"])));
    let output = failed(finish(home.start(&["--exit"])));
    assert_eq!(output.matches("object 2 failed: ").count(), 2, "{output}");
    ledger.assert_agrees(&expected).await;
}

#[tokio::test]
async fn rewriting_replay_restores_rows_that_other_programs_changed() {
    let home = Home::new();
    let contents = [lines(1, 200, 50), lines(2, 100, 80)];
    home.put_all(&contents);
    succeeded(finish(home.start(&["--exit"])));
    let ledger = home.ledger().await;
    let expected = fold(&contents);
    ledger.assert_holds(&expected).await;
    ledger.run("UPDATE products SET title = 'not ours'").await.unwrap();

    let replay = async |flags: &[&str]| {
        let flags = [&["replay", "--object", "1"], flags].concat();
        succeeded(finish(home.start(&flags)));
        succeeded(finish(home.start(&["--exit"])));
    };
    replay(&[]).await;
    let sql = "SELECT title AS text FROM products WHERE title = 'not ours'";
    assert!(!ledger.texts(sql).await.unwrap().is_empty());
    replay(&["--rewrite"]).await;
    ledger.assert_replayed(&expected).await;
}

#[tokio::test]
async fn exit_status_is_zero_only_if_everything_was_committed() {
    let home = Home::new();
    let good = lines_with_bad_ones(1, 50, 50, 10);
    home.put("a.jsonl", 0, &good);
    home.put("b.jsonl.gz", 1, b"nonsense");
    let output = failed(finish(home.start(&["--exit"])));
    assert!(output.contains("b.jsonl.gz") && output.contains("failed"), "{output}");
    let ledger = home.ledger().await;
    ledger.assert_agrees(&fold(&[&good[..], b""])).await;
}

#[tokio::test]
async fn lines_that_were_too_long_are_replayed_with_a_higher_limit() {
    let home = Home::new();
    let whole = lines_with_bad_ones(1, 200, 50, 20);
    let contents = [&whole[..], &lines(2, 100, 80)];
    home.put_all(&contents);
    succeeded(finish(home.start(&["--exit", "--max-line-bytes", "170"])));
    let ledger = home.ledger().await;
    let rejected = ledger.objects().await.unwrap()[1].rejected;
    assert!(rejected > 0);

    let replay = ["--max-line-bytes", "2048", "replay", "--rejects"];
    let output =
        succeeded(finish(home.start(&[&replay[..], &["--reason", "line_too_long"]].concat())));
    assert!(output.contains("2 objects"), "{output}");
    succeeded(finish(home.start(&["--exit"])));
    ledger.assert_replayed(&fold(&contents)).await;
}

#[tokio::test]
async fn failed_log_write_has_no_other_effect() {
    let home = Home::new();
    let expected = put_samples(&home).await;
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = home.command(&["--exit"]);
    command.env("LOG", "info").stdout(Stdio::null()).stderr(full);
    let ended = tokio::process::Command::from(command).status();
    let status = tokio::time::timeout(TIMEOUT, ended).await.unwrap();
    assert!(status.unwrap().success());
    home.ledger().await.assert_holds(&expected).await;
}
