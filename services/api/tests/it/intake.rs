//! Posts of records, as the document describes them. `tests/it/intake.rs` of the workspace loads them.

use serde_json::{Value, json};

use crate::fixtures::{TestApi, product};

const JSON: (&str, &str) = ("content-type", "application/json");
const LOCAL: (&str, &str) = ("host", "localhost");

fn post_of(document: &Value) -> &Value {
    &document["paths"]["/products"]["post"]
}

#[tokio::test]
async fn post_is_documented_where_it_is_possible_and_beside_the_list() {
    let base = TestApi::with_intake().await;
    let document = base.get("/openapi.json").await.json();
    assert_eq!(post_of(&document)["operationId"], "post_products");
    assert!(post_of(&document)["requestBody"]["content"]["text/csv"].is_object());
    let names: Vec<&Value> = post_of(&document)["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, ["Idempotency-Key", "Prefer"]);
    assert_eq!(document["paths"]["/products"]["get"]["operationId"], "list_products");
    assert_eq!(document["paths"]["/intake/{id}"]["get"]["operationId"], "get_post");
    let document = TestApi::sqlite().await.get("/openapi.json").await.json();
    assert!(post_of(&document).is_null() && document["paths"]["/intake/{id}"].is_null());
    assert!(!document.to_string().contains("PostProblem"), "{document}");
}

#[tokio::test]
async fn every_answer_to_a_post_is_documented() {
    let base = TestApi::with_intake().await;
    let document = base.get("/openapi.json").await.json();
    let good = product(1, "1");
    let key = ("idempotency-key", "1");
    for (path, headers, body, status) in [
        ("/products", &[JSON, key][..], &*good, 202),
        ("/products", &[JSON, key], &good, 202),
        ("/products", &[JSON, key], "{}", 422),
        ("/products", &[JSON], "{}", 422),
        ("/products", &[JSON], "", 422),
        ("/products", &[JSON], "[1", 400),
        ("/products", &[JSON, ("prefer", "wait=0")], &good, 202),
        ("/products", &[], &good, 415),
        ("/nothing", &[JSON], &good, 404),
    ] {
        let answer = base.post(path, &[headers, &[LOCAL]].concat(), body).await;
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.body);
        assert!(post_of(&document)["responses"][status.to_string()].is_object(), "{status}");
        if status >= 400 {
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{body}");
        }
    }
    let view = base.get("/intake/1.1").await.json();
    assert_eq!(
        (&view["state"], &view["lines"], &view["invalid"]),
        (&json!("registered"), &json!(1), &Value::Null)
    );
    for id in ["1.2", "9.1", "0.0", "9999999999.9999999999"] {
        base.get(&format!("/intake/{id}")).await.problem(404);
    }
    base.get("/intake/x").await.problem(400);
    let refused = base.client().put("/products").send().await;
    refused.assert_status(poem::http::StatusCode::METHOD_NOT_ALLOWED);
    refused.assert_header("allow", "GET, HEAD, POST");
    for host in ["shop.example", "127.0.0.1.shop.example", ""] {
        base.post("/products", &[JSON, ("host", host)], &good).await.problem(403);
    }
    for host in ["localhost:8080", "127.0.0.1", "[::1]:80"] {
        let answer = base.post("/products", &[JSON, ("host", host)], &good).await;
        assert_eq!(answer.status, 202, "{host}");
    }
    TestApi::sqlite().await.post("/products", &[JSON, LOCAL], &good).await.problem(403);
}
