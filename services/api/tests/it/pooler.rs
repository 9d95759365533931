//! The API with PgBouncer.

use std::time::Duration;

use jetline_api::{ApiSettings, Changes, open, run};
use jetline_runtime::Shutdown;
use jetline_testkit::postgres::{PgBouncer, TemporaryDatabase};
use tokio::time::timeout;

use crate::{
    fixtures::{Answer, client_with, metrics, settings},
    serving::database,
};

const IGNORED: (&str, &str) = ("ignore_startup_parameters", "extra_float_digits, options");
const TRANSACTION: (&str, &str) = ("pool_mode", "transaction");
const SESSION: (&str, &str) = ("pool_mode", "session");

/// The error with which the service ends at start.
async fn end(settings_of_pooler: &[(&str, &str)]) -> String {
    let postgres = TemporaryDatabase::create("api_pooler").await;
    let pooler = PgBouncer::start(&postgres.url(), settings_of_pooler).unwrap();
    let database = database(Some(&pooler.url()), None);
    let settings = settings();
    let run = run(&settings, &database, Changes::default(), metrics(), Shutdown::new());
    let ended = timeout(Duration::from_mins(1), run).await;
    format!("{:#}", ended.expect("it serves").unwrap_err())
}

async fn readiness(settings_of_pooler: &[(&str, &str)], settings: &ApiSettings) -> Answer {
    let postgres = TemporaryDatabase::create("api_pooler").await;
    let pooler = PgBouncer::start(&postgres.url(), settings_of_pooler).unwrap();
    let db = open(&database(Some(&pooler.url()), None), settings).await;
    let client = client_with(db.unwrap(), None, settings);
    let ready = Answer::of(client.get("/readyz").send().await).await;
    if ready.status == 200 {
        for path in ["/products/1", "/products?id=1", "/objects", "/rejects"].repeat(10) {
            let answer = Answer::of(client.get(path).send().await).await;
            assert!([200, 404].contains(&answer.status), "{path}: {}", answer.body);
        }
    }
    ready
}

#[tokio::test]
async fn unusable_pooler_ends_the_service_with_a_fix_in_its_error() {
    // A newer PgBouncer supports prepared statements, unless they are disabled.
    let error = end(&[SESSION]).await;
    assert!(error.contains("ignore_startup_parameters"), "{error}");
}

#[tokio::test]
async fn readiness_agrees_with_requests() {
    let settings = settings();
    let ready = readiness(&[IGNORED, SESSION], &settings).await;
    assert_eq!(ready.status, 200, "{}", ready.body);
    let ready = readiness(&[SESSION], &settings).await;
    let detail = ready.problem(503);
    assert!(detail.contains("ignore_startup_parameters"), "{detail}");
    // With transaction pooling, either all requests succeed or the service is not ready.
    let ready = readiness(&[IGNORED, TRANSACTION], &settings).await;
    if ready.status != 200 {
        let detail = ready.problem(503);
        assert!(detail.contains("pool_mode = session"), "{detail}");
        let error = end(&[IGNORED, TRANSACTION]).await;
        assert!(error.contains("pool_mode = session"), "{error}");
    }
}
