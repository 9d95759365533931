//! Errors are problems (RFC 9457), with a request id for the log.

use crate::fixtures::{Answer, TestApi};

#[tokio::test]
async fn unknown_path_is_a_problem() {
    let base = TestApi::sqlite().await;
    for path in ["/nothing", "/products/1/2", "/objects/1/lines"] {
        assert!(base.get(path).await.problem(404).contains("/docs"), "{path}");
    }
}

#[tokio::test]
async fn method_that_is_not_allowed_is_a_problem_with_the_allowed_ones() {
    let base = TestApi::sqlite().await;
    for path in ["/products/1", "/objects", "/healthz", "/openapi.json"] {
        let answer = Answer::of(base.client().post(path).send().await).await;
        assert_eq!(answer.problem(405), "only GET and HEAD are answered here");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{path}");
    }
}

#[tokio::test]
async fn body_that_is_too_long_is_a_problem() {
    let base = TestApi::sqlite().await;
    let request = base.client().get("/objects").header("content-length", "1001");
    let answer = Answer::of(request.send().await).await;
    assert_eq!(answer.problem(413), "the body is longer than 1000 bytes");
}

#[tokio::test]
async fn unavailable_database_makes_the_service_unready_but_not_dead() {
    let base = TestApi::sqlite().await;
    assert_eq!(base.get("/readyz").await.status, 200);
    base.db.clone().close().await.unwrap();
    assert_eq!(base.get("/healthz").await.status, 200);
    let detail = base.get("/readyz").await.problem(503);
    assert_eq!(detail, "the database is not available");
    for path in [
        "/products",
        "/products/1",
        "/products?id=1",
        "/products/1/origin",
        "/datasets",
        "/datasets/products",
        "/datasets/products/fields",
        "/objects",
        "/objects/1",
        "/rejects",
        "/rejects/1/1",
    ] {
        let answer = base.get(path).await;
        assert_eq!(answer.problem(503), "the database is not available", "{path}");
        assert_eq!(answer.header("retry-after"), Some("1"), "{path}");
    }
}

#[tokio::test]
async fn database_without_tables_is_not_ready_and_the_reason_says_what_to_do() {
    let base = TestApi::sqlite().await;
    base.execute("DROP TABLE objects", []).await;
    let detail = base.get("/readyz").await.problem(503);
    assert!(detail.contains("jetline-migrate"), "{detail}");
}

#[tokio::test]
async fn failed_statement_is_a_problem_without_details() {
    let base = TestApi::sqlite().await;
    base.execute("DROP TABLE products", []).await;
    base.execute("DROP TABLE chunks", []).await;
    for path in ["/products", "/products/1", "/products?id=1", "/products/1/origin", "/objects"] {
        let detail = base.get(path).await.problem(500);
        assert!(detail.contains("request id"), "{path}: {detail}");
        assert!(!detail.contains("table"), "{path}: {detail}");
    }
}

/// A writer would retry them, and so may a client.
#[tokio::test]
async fn overloaded_database_is_unavailable() {
    for code in ["53100", "53200", "57014", "40P01", "25006", "55P03"] {
        let base = TestApi::postgres().await;
        base.store(1, "1", chrono::Utc::now()).await;
        let fails = format!(
            "CREATE FUNCTION fails() RETURNS boolean LANGUAGE plpgsql AS
                 'BEGIN RAISE ''hunter2'' USING ERRCODE = ''{code}''; END'"
        );
        for sql in [
            &fails,
            "ALTER TABLE products RENAME TO hidden",
            "CREATE VIEW products AS SELECT * FROM hidden WHERE fails()",
        ] {
            base.execute(sql, []).await;
        }
        for path in ["/products", "/products/1", "/products?id=1"] {
            let answer = base.get(path).await;
            assert_eq!(answer.problem(503), "the database is not available", "{path} with {code}");
            assert_eq!(answer.header("retry-after"), Some("1"), "{path} with {code}");
        }
    }
}

#[tokio::test]
async fn request_id_is_returned_and_generated_when_it_is_missing_or_invalid() {
    let base = TestApi::sqlite().await;
    let id = async |brought: &str| {
        let answer = base.get_with("/nothing", &[("x-request-id", brought)]).await;
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(id("7f-a.b_c").await, "7f-a.b_c");
    let made = id("two words").await;
    assert_ne!(made, "two words");
    assert_ne!(made, id(&"x".repeat(129)).await);
    assert!(base.get("/healthz").await.header("x-request-id").is_some());
}

#[tokio::test]
async fn invalid_parameter_is_refused_with_what_it_must_be() {
    let base = TestApi::sqlite().await;
    for (path, expected) in [
        (
            "/objects?state=asleep",
            "parameter `state` must be one of registered, reading, loading, done, failed",
        ),
        (
            "/deliveries?state=gone",
            "parameter `state` must be one of waiting, delivered, dead, ignored",
        ),
        ("/objects?dataset=nothing", "parameter `dataset` names no dataset; there are: products"),
        ("/objects?after=x", "parameter `after` must be a whole number"),
        ("/objects?limit=many", "parameter `limit` must be a whole number"),
        ("/objects/x", "parameter `id` must be a whole number"),
        ("/rejects?object=x", "parameter `object` must be a whole number"),
        ("/rejects/x/1", "parameter `object` must be a whole number"),
        ("/rejects/1/x", "parameter `line` must be a whole number"),
        ("/objects?limit=0", "parameter `limit` must be at least 1"),
        ("/objects?limit=1001", "parameter `limit` must be at most 1000"),
        ("/rejects?limit=1001", "parameter `limit` must be at most 1000"),
        ("/products?limit=1001", "parameter `limit` must be at most 1000"),
        (
            "/rejects?after=1",
            r"parameter `after` must be as the pattern ^[0-9]{1,18}\.[0-9]{1,18}$ says",
        ),
    ] {
        assert_eq!(base.get(path).await.problem(400), expected, "{path}");
    }
}

#[tokio::test]
async fn root_is_the_page_with_a_link_to_the_documentation() {
    let base = TestApi::sqlite().await;
    let answer = base.get("/").await;
    assert!(answer.status == 200 && answer.body.contains("href=\"./docs\""), "{}", answer.body);
    let docs = base.get("/docs").await;
    assert_eq!(docs.status, 200);
    assert!(docs.body.contains("/products/{id}"));
}
