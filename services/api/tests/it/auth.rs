//! Basic authentication.

use base64::{Engine, prelude::BASE64_STANDARD};
use jetline_api::auth::{Users, hash_password};

use crate::fixtures::TestApi;

async fn guarded() -> TestApi {
    let line = hash_password("ann", "open: sesame", &mut rand::rng()).unwrap();
    TestApi::guarded(Some(Users::parse(&line).unwrap())).await
}

fn basic(credentials: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(credentials))
}

#[tokio::test]
async fn only_a_user_with_the_right_password_is_served() {
    let base = guarded().await;
    for credentials in ["ann:wrong", "eve:open: sesame", "ann", ":"] {
        let answer = base.get_with("/objects", &[("authorization", &basic(credentials))]).await;
        answer.problem(401);
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
    }
    let right = basic("ann:open: sesame");
    for _ in 0..2 {
        let answer = base.get_with("/objects", &[("authorization", &right)]).await;
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn everything_but_health_and_readiness_requires_a_user() {
    let base = guarded().await;
    for path in ["/products/1", "/rejects", "/metrics", "/openapi.json", "/docs", "/", "/nothing"] {
        base.get(path).await.problem(401);
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(base.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn response_is_the_same_for_all_wrong_credentials() {
    let base = guarded().await;
    let id = ("x-request-id", "same");
    let without = base.get_with("/objects", &[id]).await;
    without.problem(401);
    for header in [
        basic("ann:wrong").as_str(),
        &basic("eve:open: sesame"),
        &basic(":"),
        &basic("ann"),
        &basic("\u{fffd}:x"),
        "Basic",
        "Basic %%%",
        "Basic /w==",
        "Bearer open",
        "",
    ] {
        let answer = base.get_with("/objects", &[("authorization", header), id]).await;
        assert_eq!(answer.status, 401, "{header}");
        assert_eq!(answer.headers(), without.headers(), "{header}");
        assert_eq!(answer.body, without.body, "{header}");
    }
}
