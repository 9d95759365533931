//! The declarations of datasets, where their records come from, and how they are documented.

use futures::future::join_all;
use jetline_datasets::parse;
use serde_json::{Value, json};

use crate::fixtures::TestApi;

const ORDERS: &str = r#"# Orders.
key = "id"
version = "updated_at"

[columns]
id = "text"
customer = { type = "bigint", path = "/customer/a~1b~0", index = true }
paid = { type = "boolean", optional = true, index = true }
updated_at = "timestamp"
"#;

const PLAIN: &str = "key = 'id'\ncolumns = { id = 'uuid' }";

const FIRST: &str =
    r#"{"id":"A 2/\u00e4","customer":{"a/b~":7},"updated_at":"2026-11-26T12:00:00Z"}"#;
const PATH: &str = "/orders/A%202%2F%C3%A4/origin";

async fn both() -> [TestApi; 2] {
    let both = TestApi::both().await;
    for base in &both {
        base.declare("orders", ORDERS).await;
    }
    both
}

#[tokio::test]
async fn origin_of_a_record_is_the_line_that_won_last() {
    for base in both().await {
        let other = FIRST.replace("A 2", "B");
        base.load("orders", &[other.clone(), FIRST.to_owned()]).await;
        let first = base.get(PATH).await.json();
        let changed_at = first["changed_at"].clone();
        let expected = |object: i64, line: i64, version: &str, changed_at: &Value| {
            json!({
                "object": object,
                "uri": format!("s3://bucket/{object}.jsonl"),
                "line": line,
                "version": version,
                "changed_at": changed_at,
                "deleted": false,
            })
        };
        assert_eq!(first, expected(1, 2, "2026-11-26T12:00:00Z", &changed_at));

        let later = FIRST.replace("12:00:00", "12:00:00.5");
        base.load("orders", std::slice::from_ref(&later)).await;
        let second = base.get(PATH).await.json();
        assert_eq!(second, expected(2, 1, "2026-11-26T12:00:00.500Z", &second["changed_at"]));
        assert_ne!(second["changed_at"], changed_at);
        // An older version does not win.
        base.load("orders", &[FIRST.to_owned()]).await;
        assert_eq!(base.get(PATH).await.json(), second);
        assert_eq!(base.get("/orders/B%2F%C3%A4/origin").await.json()["object"], 1);
    }
}

#[tokio::test]
async fn origin_has_null_for_what_there_is_not() {
    for base in both().await {
        base.declare("plain", PLAIN).await;
        let id = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        base.load("plain", &[format!(r#"{{"id":"{id}"}}"#)]).await;
        base.execute("DELETE FROM chunks", []).await;
        base.execute("DELETE FROM objects", []).await;
        let origin = base.get(&format!("/plain/{}/origin", id.to_uppercase())).await.json();
        assert_eq!(origin["version"], json!(null));
        assert_eq!((&origin["object"], &origin["uri"]), (&json!(1), &json!(null)));
    }
}

#[tokio::test]
async fn versions_of_a_record_are_listed_from_the_highest_one() {
    for base in both().await {
        let with_history = ORDERS.replace(
            "[columns]",
            "history = true\ndeleted = { column = \"op\", equals = \"D\" }\n[columns]",
        );
        base.declare("orders", &with_history).await;
        let at = |second: u8| format!("2026-11-26T12:00:0{second}Z");
        for second in 0..3 {
            base.load("orders", &[FIRST.replace("2026-11-26T12:00:00Z", &at(second))]).await;
        }
        let deleted = format!(r#"{{"id":"A 2/\u00e4","op":"D","updated_at":"{}"}}"#, at(3));
        base.load("orders", &[deleted]).await;
        let path = PATH.replace("origin", "history");
        let versions = base.get(&path).await.json();
        let seen = |versions: &Value| {
            let versions = versions.as_array().unwrap().iter();
            versions.map(|one| one["version"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(seen(&versions), [at(3), at(2), at(1), at(0)]);
        let expected = json!({
            "version": at(3),
            "object": 4,
            "line": 1,
            "changed_at": versions[0]["changed_at"],
            "deleted": true,
            "record": { "id": "A 2/ä", "customer": { "a/b~": null }, "paid": null, "updated_at": at(3) },
        });
        assert_eq!(versions[0], expected);
        assert_eq!(versions[1]["record"]["customer"], json!({ "a/b~": 7 }));
        // As of a version, and in pages.
        let first = base.get(&format!("{path}?at={}&limit=1", at(1))).await;
        assert_eq!(seen(&first.json()), [at(1)]);
        let last = base.get(&first.next().unwrap()).await;
        assert_eq!((seen(&last.json()), last.next()), (vec![at(0)], None));
        let none = base.get(&format!("{path}?at=2020-01-01T00:00:00Z")).await;
        assert_eq!((none.status, none.json()), (200, json!([])));
        let refused = base.get(&format!("{path}?at=yesterday")).await.problem(400);
        assert!(refused.contains("`at` cannot be a version"), "{refused}");
        for missing in ["/orders/B/history", "/orders/B/history?at=2020-01-01T00:00:00Z"] {
            let refused = base.get(missing).await.problem(404);
            assert_eq!(refused, "no record of orders has the id B");
        }
        let refused = base.get(&format!("{path}?version=7")).await.problem(400);
        assert_eq!(refused, "parameter `version` is not known; there are: at, after, limit");
        let refused = base.get("/products/1/history").await.problem(404);
        assert!(refused.starts_with("products has no history"), "{refused}");
        let document = base.get("/openapi.json").await.json();
        let paths = &document["paths"];
        let at = &paths["/orders/{id}/history"]["get"]["parameters"][1];
        assert_eq!((&at["name"], &at["schema"]["format"]), (&json!("at"), &json!("date-time")));
        assert_eq!(paths.get("/products/{id}/history"), None);
        let record = &document["components"]["schemas"]["OrdersVersion"]["properties"]["record"];
        assert_eq!(*record, json!({ "$ref": "#/components/schemas/OrdersRecord" }));
    }
}

#[tokio::test]
async fn origin_of_no_record_is_a_problem() {
    let base = TestApi::sqlite().await;
    let detail = base.get("/products/7/origin").await.problem(404);
    assert_eq!(detail, "no record of products has the id 7");
    assert!(base.get("/products/x/origin").await.problem(400).contains("`id`"));
}

#[tokio::test]
async fn name_that_is_not_declared_is_a_problem_everywhere() {
    let base = TestApi::sqlite().await;
    for path in [
        "/nothing",
        "/nothing?limit=1",
        "/nothing?id=1",
        "/nothing?colour=red",
        "/nothing/1",
        "/nothing/1/origin",
        "/nothing/1/history",
        "/datasets/nothing",
        "/objects/1/origin",
    ] {
        let detail = base.get(path).await.problem(404);
        assert!(detail.starts_with("there is no dataset "), "{path}: {detail}");
    }
}

#[tokio::test]
async fn dropped_dataset_is_unknown_at_once() {
    for path in ["/orders/A", "/orders/A/origin", "/orders", "/orders?id=A"] {
        for base in both().await {
            // The dataset is known from now on.
            assert_eq!(base.get("/orders?limit=1").await.status, 200);
            assert!(base.database().drop_dataset("orders").await.unwrap());
            for answer in join_all((0..20).map(|_| base.get(path))).await {
                let detail = answer.problem(404);
                assert!(detail.starts_with("there is no dataset "), "{path}: {detail}");
            }
        }
    }
}

#[tokio::test]
async fn datasets_are_listed_with_their_current_declarations() {
    for base in both().await {
        let later = ORDERS.replace("# Orders.", "# Orders of the shop.");
        base.declare("orders", &later).await;
        let expected = json!([
            { "name": "orders", "key": "id", "version": "updated_at", "number": 3 },
            { "name": "products", "key": "id", "version": null, "number": 1 },
        ]);
        assert_eq!(base.get("/datasets").await.json(), expected);
        let column = |name: &str, of: &str, path: &str, optional: bool, index: bool| json!({ "name": name, "type": of, "path": path, "optional": optional, "index": index });
        let expected = json!({
            "name": "orders",
            "number": 3,
            "declaration": later,
            "columns": [
                column("id", "text", "/id", false, false),
                column("customer", "bigint", "/customer/a~1b~0", false, true),
                column("paid", "boolean", "/paid", true, true),
                column("updated_at", "timestamp", "/updated_at", false, false),
            ],
        });
        assert_eq!(base.get("/datasets/orders").await.json(), expected);
    }
}

#[tokio::test]
async fn document_has_the_filters_and_types_of_each_dataset() {
    let base = TestApi::sqlite().await;
    base.declare("orders", ORDERS).await;
    base.declare("plain", PLAIN).await;
    let document = base.get("/openapi.json").await.json();
    let parameters = |path: &str| {
        let parameters = document["paths"][path]["get"]["parameters"].as_array().unwrap();
        let of = |parameter: &Value| {
            let name = parameter["name"].as_str().unwrap().to_owned();
            (name, parameter["required"].clone(), parameter["schema"]["type"].clone())
        };
        json!(parameters.iter().map(of).collect::<Vec<_>>())
    };
    let expected = json!([
        ["id", false, "array"],
        ["after", false, "string"],
        ["limit", false, "integer"],
        ["customer", false, "integer"],
        ["paid", false, "boolean"],
    ]);
    assert_eq!(parameters("/orders"), expected);
    let expected =
        json!([["id", false, "array"], ["after", false, "string"], ["limit", false, "integer"]]);
    assert_eq!(parameters("/plain"), expected);
    assert_eq!(parameters("/plain/{id}/origin"), json!([["id", true, "string"]]));
    let schemas = &document["components"]["schemas"];
    let version = |dataset: &str| &schemas[format!("{dataset}Origin")]["properties"]["version"];
    assert_eq!(version("Orders")["format"], "date-time");
    assert_eq!(version("Plain").get("type"), None);
    let body = |path: &str| {
        let answer = &document["paths"][path]["get"]["responses"]["200"]["content"];
        answer["application/json"]["schema"].clone()
    };
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    assert_eq!(body("/orders"), json!({ "type": "array", "items": reference("OrdersRecord") }));
    assert_eq!(body("/orders/{id}/origin"), reference("OrdersOrigin"));
    assert_eq!(body("/datasets"), json!({ "type": "array", "items": reference("Dataset") }));
}

#[tokio::test]
async fn document_has_only_what_generators_of_clients_understand() {
    let base = TestApi::sqlite().await;
    let document = base.get("/openapi.json").await.json();
    let state = &document["components"]["schemas"]["IngestedObject"]["properties"]["state"];
    assert_eq!(state, &json!({ "$ref": "#/components/schemas/ObjectState" }));
    assert!(!document.to_string().contains("allOf"));
    let parameters = document["paths"]["/products/{id}"]["get"]["parameters"].as_array().unwrap();
    let limit = &document["paths"]["/products"]["get"]["parameters"][2];
    assert_eq!((&limit["name"], limit["schema"].get("default")), (&json!("limit"), None));
    let headers = parameters.iter().filter(|parameter| parameter["in"] == "header");
    let types: Vec<&Value> = headers.map(|header| &header["schema"]["type"]).collect();
    assert_eq!(types, ["string", "string"]);
}

#[tokio::test]
async fn no_dataset_can_have_the_name_of_another_path_or_operation() {
    let base = TestApi::sqlite().await;
    let document = base.get("/openapi.json").await.json();
    let mut names = ["healthz", "readyz", "metrics", "docs"].map(str::to_owned).to_vec();
    for (path, item) in document["paths"].as_object().unwrap() {
        let path = path.split('/').nth(1).unwrap();
        if path != "products" {
            let operation = item["get"]["operationId"].as_str().unwrap();
            names.extend([path, operation.split_once('_').unwrap().1].map(str::to_owned));
        }
    }
    assert!(names.len() > 12, "{names:?}");
    for name in names {
        let refused = parse(&name, "file", PLAIN).unwrap_err();
        assert!(refused.message.contains("Jetline uses the name"), "{name}: {refused}");
    }
}

#[tokio::test]
async fn fields_that_no_column_takes_are_listed_with_their_first_line() {
    for base in both().await {
        base.execute(
            "INSERT INTO unknown_fields VALUES ('orders', '/gift', 12, $1, '[\"boolean\",\"null\"]'), \
             ('orders', '/paid', 1, 5, '[\"null\"]'), ('plain', '/x', 1, 5, '[]')",
            [(7_i64 << 32 | 3).into()],
        )
        .await;
        // The field `paid` has a column now.
        let gift = json!({ "path": "/gift", "records": 12, "types": ["boolean", "null"], "object": 7, "line": 3 });
        assert_eq!(base.get("/datasets/orders/fields").await.json(), json!([gift]));
        assert_eq!(base.get("/datasets/products/fields").await.json(), json!([]));
        base.get("/datasets/none/fields").await.problem(404);
    }
}
