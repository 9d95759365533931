//! URLs with passwords: no program shows a password in any error or at any log level.

use crate::{
    deployment::{Deployment, finish, program, terminate},
    wait::until,
};

/// The parts of URLs after `scheme://`; no server listens at any of them.
const ADDRESSES: [&str; 9] = [
    "ann:hunter2@127.0.0.1:1/0",
    "ann:hunter2@127.0.0.1:1/0?pasword=hunter2&x=hunter2",
    "ann:x#hunter2@127.0.0.1:1/0",
    "ann:12#hunter2@127.0.0.1:1/0",
    "ann:12/hunter2@127.0.0.1:1/0",
    "ann:12?hunter2@127.0.0.1:1/0",
    "ann:hunter2/x@127.0.0.1:1/0",
    "ann:hunter2@127.0.0.1:port/0",
    "hunter2@127.0.0.1:1/0",
];

/// Everything that can be logged, also by libraries with a limited level.
const EVERYTHING: &str = "trace,sea_orm::driver=trace,opentelemetry-otlp=trace,[connect]=trace";

const WRITE: [&str; 3] = ["jetline-fetcher", "jetline-writer", "jetline"];

/// Starts programs with a setting, and asserts that they fail without showing a secret.
fn assert_fails_without_secret(deployment: &Deployment, setting: &str, programs: &[&str]) {
    let started: Vec<_> = programs.iter().map(|name| (name, deployment.start(name))).collect();
    for (name, process) in started {
        let (content, output) = finish(process);
        assert!(!content, "{name} with {setting}: {output}");
        assert!(!output.contains("hunter2"), "{name}, {setting}: {output}");
    }
}

#[tokio::test]
async fn url_of_a_server_is_shown_without_its_password() {
    let mut deployment = Deployment::shared("secrets").await;
    deployment.set("STARTUP_TIMEOUT", "100ms");
    deployment.set("LOG", EVERYTHING);
    for address in ADDRESSES {
        for (setting, scheme, programs) in [
            ("NATS_URL", "nats", &WRITE[..]),
            ("REDIS_URL", "redis", &WRITE[1..]),
            ("AWS_ENDPOINT_URL", "http", &WRITE[..1]),
        ] {
            let right = deployment.set(setting, &format!("{scheme}://{address}"));
            assert_fails_without_secret(&deployment, setting, programs);
            deployment.set(setting, &right);
        }
        let right = deployment.set("DATABASE_URL", &format!("postgres://{address}"));
        assert_fails_without_secret(&deployment, "DATABASE_URL", &WRITE);
        assert_fails_without_secret(&deployment, "DATABASE_URL", &["jetline-migrate"]);
        deployment.set("DATABASE_URL", &right);
    }
}

#[tokio::test]
async fn endpoint_of_a_profile_is_shown_without_its_password() {
    let mut deployment = Deployment::shared("profile_secrets").await;
    deployment.set("STARTUP_TIMEOUT", "100ms");
    deployment.set("LOG", EVERYTHING);
    deployment.unset("AWS_ENDPOINT_URL");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    deployment.set("AWS_CONFIG_FILE", file.to_str().unwrap());
    for address in ADDRESSES {
        for address in [address.to_owned(), format!("http://{address}")] {
            let profile = format!("[default]\nendpoint_url = {address}\n");
            std::fs::write(&file, profile).unwrap();
            assert_fails_without_secret(&deployment, "a profile", &WRITE[..1]);
        }
    }
}

/// It keeps running while its database is unavailable.
#[tokio::test]
async fn api_shows_no_password_of_its_database() {
    let mut deployment = Deployment::shared("api_secrets").await;
    deployment.set("LOG", EVERYTHING);
    deployment.set("LISTEN", "127.0.0.1:0");
    for address in ADDRESSES {
        deployment.set("DATABASE_URL", &format!("postgres://{address}"));
        let mut process = deployment.start("jetline-api");
        until("it serves or has ended", async || {
            let serves = process.output().contains("api listening");
            (serves || process.try_wait().unwrap().is_some()).then_some(())
        })
        .await;
        let (_, output) = terminate(process);
        assert!(!output.contains("hunter2"), "{address}: {output}");
    }
}

#[tokio::test]
async fn url_of_the_collector_is_shown_without_its_password() {
    let mut deployment = Deployment::shared("collector_secrets").await;
    deployment.set("LOG", EVERYTHING);
    for address in ADDRESSES {
        deployment.set("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{address}"));
        let (_, output) = finish(deployment.start("jetline-migrate"));
        assert!(!output.contains("hunter2"), "{address}: {output}");
    }
}

#[test]
fn url_in_a_wrong_argument_is_not_quoted() {
    for address in ADDRESSES {
        let url = format!("redis://{address}");
        for (name, flags) in [
            ("jetline", &[url.as_str()][..]),
            ("jetline", &["--source", &url]),
            ("jetline", &["--chunk-bytes", &url]),
            ("jetline", &["--log", &url]),
            ("jetline-fetcher", &["replay", "--reason", &url, "--rejects"]),
            ("jetline-api", &["--listen", &url]),
            ("jetline-migrate", &[&format!("--{url}")]),
        ] {
            let output = program(name).args(flags).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{name} {flags:?}");
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(!error.contains("hunter2"), "{error}");
        }
        for (name, variable) in [
            ("jetline-writer", "NATS_MAX_BYTES"),
            ("jetline-writer", "REDIS_TIMEOUT"),
            ("jetline-fetcher", "SOURCE"),
            ("jetline-api", "LISTEN"),
            ("jetline-migrate", "STARTUP_TIMEOUT"),
        ] {
            let output = program(name).env(variable, &url).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{name} {variable}");
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.contains("--"), "{error}");
        }
    }
}
