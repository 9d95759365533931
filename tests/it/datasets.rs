//! Files of datasets that are declared, without Rust.

use std::fs;

use jetline_testkit::{http, process::Signal};

use crate::{
    deployment::{failed, finish, succeeded},
    standalone::Home,
};

const ORDERS: &str = r#"
key = "order_id"
version = "updated_at"

[columns]
order_id = "text"
customer = { type = "bigint", path = "/customer/id", index = true }
total = { type = "numeric", minimum = 0 }
status = { type = "text", enum = ["open", "paid", "sent"] }
email = { type = "text", format = "email", optional = true }
updated_at = "timestamp"
lines = "json"
"#;

const FIRST: &str = r#"{"order_id":"A-1","customer":{"id":7,"name":"Ada"},"total":19.90,"status":"open","updated_at":"2026-11-26T12:00:00Z","lines":[]}
{"order_id":"A 2/ä","customer":{"id":8},"total":5,"status":"paid","updated_at":"2026-11-26T12:00:01Z","lines":[{"sku":1}],"gift":true}
{"order_id":"A-3","customer":{"id":8},"total":-5,"status":"paid","updated_at":"2026-11-26T12:00:01Z","lines":[]}
"#;

fn home(declaration: &str) -> Home {
    let home = Home::new();
    fs::write(home.folder.path().join("orders.toml"), declaration).unwrap();
    home
}

async fn get(home: &Home, path: &str) -> (u16, String) {
    let answer = http::get(home.address, path, &[]).await.unwrap();
    (answer.status, answer.body)
}

#[tokio::test]
async fn file_of_a_declared_dataset_is_loaded_and_served() {
    let home = home(ORDERS);
    home.put("orders.jsonl", 1, FIRST.as_bytes());
    let flags = ["--datasets", "orders.toml"];
    let running = home.start(&flags);
    home.loaded(1).await;
    let second = r#"{"order_id":"A 2/ä","customer":{"id":8},"total":5,"status":"paid","email":null,"updated_at":"2026-11-26T12:00:01Z","lines":[{"sku":1}],"gift":true}"#;
    let path = "/orders/A%202%2F%C3%A4";
    assert_eq!(get(&home, path).await, (200, second.to_owned()));
    let (status, both) = get(&home, "/orders?id=A-1&id=A%202%2F%C3%A4").await;
    assert_eq!(status, 200);
    let first = r#"{"order_id":"A-1","customer":{"id":7,"name":"Ada"},"total":19.9,"status":"open","email":null,"updated_at":"2026-11-26T12:00:00Z","lines":[]}"#;
    assert_eq!(both, format!("[{first},{second}]"));
    let (_, rejects) = get(&home, "/rejects").await;
    assert!(rejects.contains("total must be at least 0"), "{rejects}");
    assert_eq!(get(&home, "/products/1").await.0, 404);
    let (_, document) = get(&home, "/openapi.json").await;
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let customer = &document["components"]["schemas"]["record.orders"]["properties"]["customer"];
    assert_eq!(customer["properties"]["id"]["type"], "integer");
    running.signal(Signal::INT);
    succeeded(finish(running));

    // Another column, which a later version of a record has; and an older version, which does not win.
    let wider = ORDERS
        .replace("[columns]\n", "[columns]\ngift = { type = \"boolean\", optional = true }\n");
    fs::write(home.folder.path().join("orders.toml"), wider).unwrap();
    let later = FIRST.replace("12:00:01Z", "12:00:02Z").replace("19.90", "1");
    let later = later.replace("12:00:00Z", "11:59:59Z");
    home.put("later.jsonl", 2, later.as_bytes());
    let running = home.start(&flags);
    home.loaded(2).await;
    let second = r#"{"gift":true,"order_id":"A 2/ä","customer":{"id":8},"total":5,"status":"paid","email":null,"updated_at":"2026-11-26T12:00:02Z","lines":[{"sku":1}]}"#;
    assert_eq!(get(&home, path).await, (200, second.to_owned()));
    let (_, first) = get(&home, "/orders/A-1").await;
    assert!(first.contains(r#""total":19.9,"#), "{first}");
    running.signal(Signal::INT);
    succeeded(finish(running));
}

#[test]
fn fault_in_a_declaration_is_named_with_its_file_and_line() {
    let home = home(&ORDERS.replace("\"numeric\"", "\"decimal\""));
    let error = failed(finish(home.start(&["--datasets", "orders.toml", "--exit"])));
    assert!(
        error.contains("orders.toml:8: total: there is no type \"decimal\"; there are:"),
        "{error}"
    );
    let error = failed(finish(home.start(&["--datasets", "none.toml", "--exit"])));
    assert!(error.contains("cannot read none.toml"), "{error}");
}
