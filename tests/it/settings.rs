//! Missing, malformed and contradictory settings, and the help that documents them.

use std::process::Command;

use jetline_testkit::programs::{PROGRAMS, Program};

use crate::{
    deployment::{Deployment, failed, finish, program},
    wait::TIMEOUT,
};

fn refusal(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{command:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn missing_required_setting_is_named() {
    let mut deployment = Deployment::shared("missing").await;
    for (setting, programs) in [
        ("NATS_URL", &["jetline-fetcher", "jetline-writer"][..]),
        ("REDIS_URL", &["jetline-writer"]),
        ("DATABASE_URL", &["jetline-fetcher", "jetline-writer", "jetline-api", "jetline-migrate"]),
        ("SOURCE", &["jetline-fetcher"]),
    ] {
        let right = deployment.unset(setting);
        for name in programs {
            let output = failed(finish(deployment.start(name)));
            assert!(output.contains(setting), "{name} without {setting}: {output}");
        }
        deployment.set(setting, &right);
    }
    deployment.unset("REDIS_URL");
    let output = failed(finish(deployment.start("jetline")));
    assert!(output.contains("REDIS_URL") && output.contains("DEDUP"), "{output}");
}

/// A program, a setting, an invalid value, and the text of the error.
const MALFORMED: &[(&str, &str, &str, &str)] = &[
    ("jetline-fetcher", "CHUNK_BYTES", "many", "--chunk-bytes"),
    ("jetline-fetcher", "CHUNK_BYTES", "0", "CHUNK_BYTES"),
    ("jetline-fetcher", "CHUNK_BYTES", "64MiB", "CHUNK_BYTES"),
    ("jetline-fetcher", "MAX_LINE_BYTES", "64MiB", "MAX_LINE_BYTES"),
    ("jetline-fetcher", "CHUNK_LINES", "0", "--chunk-lines"),
    ("jetline-fetcher", "LEASE", "10", "--lease"),
    ("jetline-fetcher", "LEASE", "10ms", "LEASE"),
    ("jetline-fetcher", "FETCH_OBJECTS", "0", "--fetch-objects"),
    ("jetline-fetcher", "SOURCE", "ftp://host/x", "--source"),
    ("jetline-fetcher", "SOURCE", "shoes=s3://shop", "shoes"),
    ("jetline-fetcher", "DATASET", "shoes", "DATASET"),
    ("jetline-fetcher", "S3_PART_SIZE", "0", "--s3-part-size"),
    ("jetline-fetcher", "AWS_ENDPOINT_URL", "hunter2", "AWS_ENDPOINT_URL"),
    ("jetline-fetcher", "NATS_STREAM", "a.b", "--nats-stream"),
    ("jetline-writer", "WRITER_WORKERS", "0", "--writer-workers"),
    ("jetline-writer", "DEDUP", "maybe", "--dedup"),
    ("jetline-writer", "NATS_ACK_WAIT", "1ms", "--nats-ack-wait"),
    ("jetline-writer", "PROGRESS_EVERY", "30s", "NATS_ACK_WAIT"),
    ("jetline-writer", "PROGRESS_EVERY", "0s", "--progress-every"),
    ("jetline-writer", "LOG", "a=b=c", "LOG"),
    ("jetline-writer", "LOG", "warning", "off, error, warn, info"),
    ("jetline", "LOG", "info,jetline_writer=loud", "\"loud\""),
    ("jetline-api", "LOG", "verbose", "--log"),
    ("jetline-writer", "OTEL_EXPORTER_OTLP_ENDPOINT", "hunter2", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    (
        "jetline-api",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "grpc://ann:hunter2@127.0.0.1:4317",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ),
    ("jetline-writer", "DATABASE_URL", "hunter2", "DATABASE_URL"),
    ("jetline-fetcher", "DATABASE_URL", "mysql://ann:hunter2@db/x", "DATABASE_URL"),
    ("jetline-writer", "NATS_URL", "nats://ann:hunter2@host:x", "NATS_URL"),
    ("jetline-fetcher", "NATS_URL", "http://ann:hunter2@127.0.0.1:1", "NATS_URL"),
    ("jetline-writer", "REDIS_URL", "hunter2", "REDIS_URL"),
    ("jetline-writer", "REDIS_URL", "http://ann:hunter2@127.0.0.1:1", "REDIS_URL"),
    ("jetline-api", "LISTEN", "everywhere", "--listen"),
    ("jetline-api", "API_CONNECTIONS", "0", "--api-connections"),
    ("jetline-api", "CACHE_TIME", "1100ms", "--cache-time"),
    ("jetline-api", "MAX_HEADER_BYTES", "100", "--max-header-bytes"),
    ("jetline-api", "HEADER_TIMEOUT", "2m", "IDLE_TIMEOUT"),
    ("jetline-writer", "NATS_CERT_FILE", "x", "--nats-key-file"),
    ("jetline-writer", "REDIS_KEY_FILE", "x", "--redis-cert-file"),
    ("jetline-api", "DATABASE_URL", "hunter2", "DATABASE_URL"),
    ("jetline-migrate", "DATABASE_URL", "hunter2", "DATABASE_URL"),
    ("jetline", "WATCH", "soon", "--watch"),
];

#[tokio::test]
async fn invalid_setting_is_named_and_not_quoted_if_secret() {
    let mut deployment = Deployment::shared("malformed").await;
    for (program, setting, value, words) in MALFORMED {
        deployment.set("STARTUP_TIMEOUT", "1s");
        let right = deployment.set(setting, value);
        let mut process = deployment.start(program);
        let status = process.wait(TIMEOUT).unwrap();
        let output = process.output();
        // What only a source or a server reads is found later.
        let expected = if *setting == "AWS_ENDPOINT_URL" { 1 } else { 2 };
        assert_eq!(status.code(), Some(expected), "{program} with {setting}={value}: {output}");
        assert!(output.contains(words), "{program} with {setting}={value}: {output}");
        assert!(!output.contains("hunter2"), "{setting}: {output}");
        assert!(!output.contains("panicked"), "{setting}: {output}");
        match right.as_str() {
            "" => drop(deployment.unset(setting)),
            right => drop(deployment.set(setting, right)),
        }
    }
}

#[test]
fn help_documents_every_setting_and_shows_no_secret() {
    for Program { name, .. } in PROGRAMS {
        let mut command = program(name);
        command.arg("--help").env("COLUMNS", "100");
        for url in ["DATABASE_URL", "NATS_URL", "REDIS_URL"] {
            command.env(url, "scheme://ann:hunter2@host/x");
        }
        let output = command.output().unwrap();
        assert!(output.status.success());
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(!help.contains("hunter2"), "{help}");
        let lines: Vec<&str> = help.lines().map(str::trim).collect();
        let mut flags = 0;
        for (number, line) in lines.iter().enumerate() {
            let Some(flag) = line.strip_prefix("--") else {
                continue;
            };
            flags += 1;
            let flag = flag.split([' ', '[']).next().unwrap();
            assert!(lines[number + 1].len() > 10, "{name}: {flag}");
            let variable = flag.to_uppercase().replace('-', "_");
            let documented = help.contains(&format!("[env: {variable}"));
            assert!(
                documented || ["completions", "exit", "infer", "output"].contains(&flag),
                "{name}: {flag}"
            );
        }
        assert!(flags > 3, "{help}");
    }
}

#[test]
fn unknown_flag_is_refused_with_the_usage() {
    for Program { name, .. } in PROGRAMS {
        let mut command = program(name);
        command.arg("--no-such-flag");
        let error = refusal(command);
        assert!(error.contains("--no-such-flag") && error.contains("Usage"), "{error}");
    }
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let mut missing = program("jetline-writer");
    missing.args(["--progress-every", "40s"]);
    let mut malformed = program("jetline-fetcher");
    malformed.args(["--chunk-bytes", "many", "--lease", "10"]).env("WATCH", "soon");
    let mut contradictory = program("jetline");
    contradictory.args(["--nats-url", "nats://127.0.0.1", "--lease", "10ms", "--exit"]);
    contradictory.args(["--header-timeout", "2m"]);
    for (mut command, expected) in [
        (missing, &["NATS_URL", "REDIS_URL", "DATABASE_URL", "PROGRESS_EVERY"][..]),
        (malformed, &["'many' for '--chunk-bytes", "'10' for '--lease", "'soon' for '--watch"]),
        (contradictory, &["REDIS_URL", "LEASE", "IDLE_TIMEOUT"]),
    ] {
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        for words in expected {
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}

#[test]
fn settings_stand_on_either_side_of_a_command() {
    let directory = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", directory.path().join("new.db").display());
    let settings = ["--source", "samples", "--database-url", &database];
    let command = ["replay", "--object", "7", "--dry-run"];
    for arguments in [[&settings[..], &command].concat(), [&command[..], &settings].concat()] {
        let mut jetline = program("jetline");
        jetline.args(&arguments).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let error = refusal(jetline);
        assert!(error.contains("there is no object 7"), "{arguments:?}: {error}");
    }
}

#[test]
fn help_begins_with_examples_and_completions_and_manual_pages_are_made_of_it() {
    let directory = tempfile::tempdir().unwrap();
    for Program { name, .. } in PROGRAMS {
        let run = |arguments: &[&str]| {
            let output = program(name)
                .args(arguments)
                .env("DATABASE_URL", "sqlite://other.db")
                .output()
                .unwrap();
            assert!(output.status.success(), "{name} {arguments:?}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        assert!(run(&["--help"]).starts_with("Examples:\n"), "{name}");
        for shell in ["bash", "zsh", "fish"] {
            assert!(run(&["--completions", shell]).contains(name), "{name} {shell}");
        }
        assert_eq!(run(&["--manual-pages", directory.path().to_str().unwrap()]), "");
        let page = std::fs::read_to_string(directory.path().join(format!("{name}.1"))).unwrap();
        assert!(!directory.path().join(format!("{name}-help.1")).exists());
        assert!(page.contains(".SH NAME") && page.contains("DATABASE_URL"), "{page}");
    }
}
