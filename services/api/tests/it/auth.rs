//! Basic authentication.

use std::num::NonZeroU32;

use crate::fixtures::{TestApi, basic, settings, users};

async fn guarded() -> TestApi {
    TestApi::guarded(users(&[("ann", "open: sesame", "")])).await
}

#[tokio::test]
async fn only_a_user_with_the_right_password_is_served() {
    let base = guarded().await;
    for credentials in ["ann:wrong", "eve:open: sesame", "ann", ":"] {
        let answer = base.get_as("/objects", &basic(credentials)).await;
        answer.problem(401);
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
    }
    let right = basic("ann:open: sesame");
    for _ in 0..2 {
        assert_eq!(base.get_as("/objects", &right).await.status, 200);
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

#[tokio::test]
async fn who_fails_too_often_has_to_wait_and_other_users_do_not() {
    let base = TestApi::guarded(users(&[("ann", "sesame", ""), ("bob", "sesame", "")])).await;
    let get = async |credentials: &str| base.get_as("/objects", &basic(credentials)).await;
    assert_eq!(get("bob:sesame").await.status, 200);
    // Each further failure doubles the wait, so that one of these comes in time.
    let mut statuses = Vec::new();
    while !statuses.contains(&429) {
        let answer = get("ann:wrong").await;
        if answer.status == 429 {
            assert_eq!(answer.problem(429), "too many logins failed");
            assert!(answer.header("retry-after").is_some());
        }
        statuses.push(answer.status);
    }
    assert!(statuses.starts_with(&[401; 5]), "{statuses:?}");
    assert_eq!(get("bob:sesame").await.status, 200);
}

#[tokio::test]
async fn requests_of_a_client_are_limited() {
    let mut limited = settings();
    limited.rate_limit = NonZeroU32::new(1);
    let base = TestApi::sqlite_with(&limited).await;
    let refused = loop {
        let answer = base.get("/objects").await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(refused.problem(429), "too many requests");
    assert_eq!(refused.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read() {
    let mut allowing = settings();
    allowing.cors_origins = vec!["https://shop.example".to_owned()];
    let base = TestApi::sqlite_with(&allowing).await;
    let from = async |origin: &str| base.get_with("/objects", &[("origin", origin)]).await;
    let allowed = from("https://shop.example").await;
    assert_eq!(allowed.status, 200);
    let header = "access-control-allow-origin";
    assert_eq!(allowed.header(header), Some("https://shop.example"));
    assert!(allowed.header("access-control-expose-headers").unwrap().contains("link"));
    assert_eq!(allowed.header("vary"), Some("Origin"));
    let other = from("https://other.example").await;
    other.problem(403);
    assert_eq!(other.header(header), None);
    let nothing = [("origin", "https://shop.example")];
    let nothing = base.get_with("/nothing/at/all", &nothing).await;
    nothing.problem(404);
    assert_eq!(nothing.header(header), Some("https://shop.example"));
    assert_eq!(base.get("/objects").await.status, 200);
    let preflight = base
        .client()
        .options("/objects")
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization")
        .send()
        .await;
    preflight.assert_status_is_ok();
    // Without the setting, no header says anything.
    let base = TestApi::sqlite().await;
    let answer = base.get_with("/objects", &[("origin", "https://shop.example")]).await;
    assert_eq!((answer.status, answer.header(header)), (200, None));
}

#[tokio::test]
async fn document_says_how_users_authenticate() {
    let base = guarded().await;
    let document = base.get_as("/openapi.json", &basic("ann:open: sesame")).await.json();
    assert_eq!(document["components"]["securitySchemes"]["basic"]["scheme"], "basic");
    assert_eq!(document["security"][0]["basic"], serde_json::json!([]));
    let document = TestApi::sqlite().await.get("/openapi.json").await.json();
    assert_eq!(document.get("security"), None);
}
