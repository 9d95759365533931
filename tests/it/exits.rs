//! After any exit of `jetline`, the database is a single file; and its files are not objects.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::symlink,
};

use jetline_oracle::{
    catalogue::{lines, lines_with_bad_ones},
    fold,
    ledger::Ledger,
};
use jetline_testkit::process::Signal;

use crate::{
    deployment::{failed, finish, succeeded, terminate},
    standalone::{Home, SMALL_CHUNKS, hold_in_the_middle, put_many, put_samples},
    wait::{TIMEOUT, logs},
};

/// Opens a copy of the database file without its WAL.
async fn alone(home: &Home) -> (tempfile::TempDir, Ledger) {
    let log = home.folder.path().join("jetline.db-wal");
    assert!(!log.exists(), "{} is left", log.display());
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    fs::copy(home.folder.path().join("jetline.db"), &copy).unwrap();
    let ledger = Ledger::connect(&format!("sqlite://{}", copy.display())).await.unwrap();
    (folder, ledger)
}

#[tokio::test]
async fn database_is_one_file_after_success_and_after_failure() {
    let home = Home::new();
    let expected = put_samples(&home).await;
    succeeded(finish(home.start(&["--exit"])));
    alone(&home).await.1.assert_holds(&expected).await;

    home.put("z.jsonl.gz", 100, b"nonsense");
    failed(finish(home.start(&["--exit"])));
    assert_eq!(alone(&home).await.1.objects().await.unwrap().len(), 5);

    succeeded(finish(home.start(&["replay", "--object", "1"])));
    let replayed = alone(&home).await.1.objects().await.unwrap();
    assert!(replayed.iter().all(|object| object.lines() == 0));
}

#[tokio::test]
async fn database_is_one_file_after_a_signal() {
    for signals in [&[Signal::INT][..], &[Signal::TERM], &[Signal::TERM, Signal::TERM]] {
        let home = Home::new();
        let expected = put_many(&home);
        let mut process = home.start(&SMALL_CHUNKS);
        let ledger = home.ledger().await;
        let gate = hold_in_the_middle(&ledger, &expected).await;
        for signal in signals {
            process.signal(*signal);
        }
        gate.rollback().await.unwrap();
        ledger.0.close().await.unwrap();
        assert!(!process.wait(TIMEOUT).unwrap().success());
        let committed = alone(&home).await.1.lines().await.unwrap();
        assert!(committed > 0, "{}", process.output());
    }
}

#[tokio::test]
async fn database_is_one_file_after_serving_and_after_a_failed_start() {
    let home = Home::new();
    let expected = put_samples(&home).await;
    let process = home.start(&[]);
    logs(&process, "Serving").await;
    succeeded(terminate(process));
    alone(&home).await.1.assert_holds(&expected).await;

    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, home.address.port())).unwrap();
    let output = failed(finish(home.start(&[])));
    assert!(output.contains("LISTEN"), "{output}");
    alone(&home).await.1.assert_holds(&expected).await;
    drop(taken);
}

#[tokio::test]
async fn load_with_exit_needs_no_port() {
    let home = Home::new();
    let expected = put_samples(&home).await;
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, home.address.port())).unwrap();
    succeeded(finish(home.start(&["--exit"])));
    home.ledger().await.assert_holds(&expected).await;
}

#[tokio::test]
async fn files_of_the_database_are_not_objects_under_any_name() {
    let home = Home::new();
    let content = lines(1, 100, 50);
    home.put("a.jsonl", 0, &content);
    let samples = home.folder.path().join("samples");
    for (link, file) in [("linked", "own.db"), ("log", "own.db-wal")] {
        symlink(samples.join(file), samples.join(link)).unwrap();
    }
    let mut flags = vec!["--source", ".", "--exit"];
    let run = |flags: &[&str]| {
        let mut command = home.command(flags);
        command.current_dir(&samples).env("DATABASE_URL", "sqlite://../samples/own.db");
        let log = home.folder.path().join("own.log");
        finish(jetline_testkit::process::Process::start(command, &log).unwrap())
    };
    succeeded(run(&flags));
    fs::hard_link(samples.join("own.db"), samples.join("second name")).unwrap();
    let output = succeeded(run(&flags));
    assert!(output.contains("Nothing new: all 1"), "{output}");
    let url = format!("sqlite://{}", samples.join("own.db").display());
    let ledger = Ledger::connect(&url).await.unwrap();
    ledger.assert_holds(&fold(&[&content])).await;

    flags[1] = "own.db";
    let output = failed(run(&flags));
    assert!(output.contains("DATABASE_URL"), "{output}");
}

#[tokio::test]
async fn summary_of_an_interrupted_run_is_that_of_the_ledger() {
    let home = Home::new();
    let content = lines_with_bad_ones(3, 5000, 2000, 100);
    home.put("a.jsonl", 0, &content);
    let process = home.start(&SMALL_CHUNKS);
    let ledger = home.ledger().await;
    let gate = hold_in_the_middle(&ledger, &fold(&[&content])).await;
    process.signal(Signal::INT);
    gate.rollback().await.unwrap();
    let output = failed(finish(process));
    assert!(output.contains("a.jsonl"), "{output}");
}
