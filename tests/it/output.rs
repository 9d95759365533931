//! Standard output that is closed, or that cannot be written.

use std::{
    fs::File,
    io,
    process::{Command, ExitStatus, Stdio},
};

use jetline_oracle::catalogue::lines;

use crate::{
    deployment::Deployment,
    standalone::{Home, put_samples},
    wait::TIMEOUT,
};

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe whose reader is closed.
fn closed() -> Stdio {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// Runs a command with a standard output, and returns its status and log.
async fn run(mut command: Command, output: Stdio) -> (ExitStatus, String) {
    command.stdout(output).stderr(Stdio::piped());
    // `output` would capture its standard output.
    let started = tokio::process::Command::from(command).spawn().unwrap();
    let ended = tokio::time::timeout(TIMEOUT, started.wait_with_output()).await;
    let ended = ended.unwrap().unwrap();
    let log = String::from_utf8(ended.stderr).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    (ended.status, log)
}

#[tokio::test]
async fn closed_pipe_is_not_a_failure_and_a_full_disk_is() {
    let home = Home::new();
    let expected = put_samples(&home).await;
    let (status, log) = run(home.command(&["--exit"]), closed()).await;
    assert!(status.success(), "{log}");
    home.ledger().await.assert_holds(&expected).await;
    let (status, log) = run(home.command(&["--exit"]), full()).await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("cannot write to standard output"), "{log}");
    let replay = ["replay", "--object", "1"];
    let (status, log) = run(home.command(&replay), full()).await;
    assert_eq!(status.code(), Some(1), "{log}");
}

#[tokio::test]
async fn server_continues_when_its_output_fails() {
    for output in [full as fn() -> Stdio, closed] {
        let home = Home::new();
        put_samples(&home).await;
        let mut command = home.command(&["--watch", "1h"]);
        command.stdout(output()).stderr(output());
        let mut server = command.spawn().unwrap();
        home.loaded(4).await;
        assert!(server.try_wait().unwrap().is_none());
        let process = server.id().to_string();
        let signalled = Command::new("kill").args(["-TERM", &process]).status();
        assert!(signalled.unwrap().success());
        assert!(server.wait().unwrap().success());
    }
}

#[tokio::test]
async fn summary_of_the_fetcher_is_the_same() {
    let deployment = Deployment::shared("output").await;
    deployment.put("a.jsonl", 0, &lines(1, 10, 10));
    let _writers = deployment.writers(1);
    for (output, code) in [(closed as fn() -> Stdio, 0), (full, 1)] {
        let (status, log) = run(deployment.command("jetline-fetcher").unwrap(), output()).await;
        assert_eq!(status.code(), Some(code), "{log}");
    }
}
