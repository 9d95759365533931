//! Lists of records: pages and filters.

use serde_json::{Value, json};

use crate::fixtures::{TestApi, product};

const ORDERS: &str = r#"
key = "order_id"
version = "updated_at"

[columns]
order_id = "text"
customer = { type = "bigint", path = "/customer/id", index = true }
status = { type = "text", index = true }
total = { type = "numeric", index = true, optional = true }
day = { type = "date", index = true, optional = true }
updated_at = "timestamp"
"#;

fn order(id: &str, customer: i64, status: &str) -> String {
    format!(
        r#"{{"order_id":"{id}","customer":{{"id":{customer}}},"status":"{status}","total":19.90,"day":"2026-11-26","updated_at":"2026-11-26T12:00:00Z"}}"#
    )
}

/// APIs with the orders, declared.
async fn both_with(orders: &[String]) -> [TestApi; 2] {
    let both = TestApi::both().await;
    for base in &both {
        base.declare("orders", ORDERS).await;
        base.load("orders", orders).await;
    }
    both
}

#[tokio::test]
async fn every_record_is_on_one_page_in_the_order_of_ids() {
    let texts =
        ["", " ", "%C3%A9", "+", "/", "10", "9", "A&limit=1", "Z", "a", "a b", "a/b", "\u{e9}"];
    let integers = ["-9223372036854775808", "-10", "-9", "0", "9", "10", "9223372036854775807"];
    let uuids = [
        "00000000-0000-0000-0000-00000000000a",
        "7fffffff-ffff-ffff-ffff-ffffffffffff",
        "80000000-0000-0000-0000-000000000000",
    ];
    for (of, sorted) in [("text", &texts[..]), ("bigint", &integers), ("uuid", &uuids)] {
        let id =
            |id: &&str| if of == "bigint" { json!(id.parse::<i64>().unwrap()) } else { json!(id) };
        let sorted: Vec<Value> = sorted.iter().map(id).collect();
        let records: Vec<String> =
            sorted.iter().rev().map(|id| json!({ "key": id }).to_string()).collect();
        for base in TestApi::both().await {
            base.declare("things", &format!("key = 'key'\ncolumns = {{ key = '{of}' }}")).await;
            base.load("things", &records).await;
            for limit in [1, 2, sorted.len()] {
                let pages = base.columns(&format!("/things?limit={limit}"), "key").await;
                assert_eq!(pages.len(), sorted.len().div_ceil(limit), "{of} {limit}");
                assert_eq!(pages.concat(), sorted, "{of} {limit}");
            }
        }
    }
}

#[tokio::test]
async fn page_has_a_hundred_records_or_the_requested_number() {
    let records: Vec<String> = (1..=300).map(|id| product(id, "1")).collect();
    for base in TestApi::both().await {
        assert_eq!(base.get("/products").await.json(), json!([]));
        base.load("products", &records).await;
        let first = base.get("/products").await;
        assert_eq!(first.column("id"), (1..=100).collect::<Vec<_>>());
        assert_eq!(first.next().as_deref(), Some("/products?after=100&limit=100"));
        let start = format!("[{},{}", product(1, "1"), product(2, "1"));
        assert!(first.body.starts_with(&start), "{}", first.body);
        for limit in [127, 128, 129, 299, 300, 1_000] {
            let pages = base.columns(&format!("/products?limit={limit}"), "id").await;
            assert_eq!(pages[0].len(), limit.min(300), "{limit}");
            assert_eq!(pages.concat(), (1..=300).collect::<Vec<_>>(), "{limit}");
        }
        assert_eq!(base.get("/products?after=300").await.json(), json!([]));
        assert_eq!(base.get("/products?after=-5&limit=1").await.column("id"), [1]);
    }
}

#[tokio::test]
async fn record_that_is_inserted_between_pages_changes_no_other_place() {
    for base in both_with(&["b", "d", "f", "h"].map(|id| order(id, 7, "open"))).await {
        let first = base.get("/orders?limit=2").await;
        assert_eq!(first.column("order_id"), ["b", "d"]);
        base.load("orders", &["a", "c", "e", "z"].map(|id| order(id, 7, "open"))).await;
        let rest = base.columns(&first.next().unwrap(), "order_id").await;
        assert_eq!(json!(rest), json!([["e", "f"], ["h", "z"]]));
    }
}

#[tokio::test]
async fn records_are_filtered_by_columns_with_an_index_alone_and_combined() {
    let orders: Vec<String> = (10..40)
        .map(|n| order(&n.to_string(), n % 3, if n % 2 == 0 { "open" } else { "A b&\u{e9}" }))
        .collect();
    for base in both_with(&orders).await {
        let list = async |path: &str| json!(base.columns(path, "order_id").await);
        let of_customer = (10..40).filter(|n| n % 3 == 1).map(|n: i32| n.to_string());
        let of_customer: Vec<String> = of_customer.collect();
        assert_eq!(list("/orders?customer=1").await, json!([of_customer]));
        assert_eq!(
            list("/orders?customer=1&status=A+b%26%C3%A9&limit=2").await,
            json!([["13", "19"], ["25", "31"], ["37"]])
        );
        let day = "/orders?day=2026-11-26&total=19.9&customer=2&status=open&after=30";
        assert_eq!(list(day).await, json!([["32", "38"]]));
        for none in ["customer=3", "status=OPEN", "status=", "total=19.91", "day=1970-01-01"] {
            assert_eq!(list(&format!("/orders?{none}")).await, json!([[]]), "{none}");
        }
        let page = base.get("/orders?status=open&customer=1&limit=1").await;
        let next = "/orders?status=open&customer=1&after=10&limit=1";
        assert_eq!(page.next().as_deref(), Some(next));
    }
}

#[tokio::test]
async fn parameter_that_cannot_be_accepted_is_named_with_what_can_be() {
    let base = TestApi::sqlite().await;
    base.declare("orders", ORDERS).await;
    for (path, expected) in [
        ("/orders?id=a&limit=5", "`id` cannot be combined with `limit`"),
        ("/orders?after=a&id=a", "`id` cannot be combined with `after`"),
        ("/orders?id=a&customer=7", "`id` cannot be combined with `customer`"),
        ("/orders?customer=x", "`customer` is no value of its column: \"x\" is not an integer"),
        ("/orders?customer=", "`customer` is no value of its column"),
        ("/orders?customer=9223372036854775808", "`customer` is no value of its column"),
        ("/orders?total=1e40", "`total` is no value of its column"),
        ("/orders?day=2026-02-29", "`day` is no value of its column"),
        ("/orders?status=%00", "`status` is no value of its column"),
        ("/orders?customer=7&customer=8", "`customer` is given more than once"),
        ("/orders?limit=1&limit=2", "`limit` is given more than once"),
        ("/orders?after=a&after=b", "`after` is given more than once"),
        ("/orders?limit=0", "`limit`"),
        ("/orders?limit=1001", "`limit`"),
        ("/orders?limit=x", "`limit`"),
        ("/orders?after=%00", "`after` cannot be a key"),
        ("/products?after=x", "`after` cannot be a key"),
        (
            "/orders?colour=red",
            "`colour` is not known; orders can be filtered by: customer, status, total, day",
        ),
        ("/orders?updated_at=2026-11-26T12:00:00Z", "`updated_at` is not known"),
        ("/orders?order_id=a", "`order_id` is not known"),
        ("/orders?Customer=7", "`Customer` is not known"),
        ("/products?brand=b", "no column of products has an index"),
    ] {
        let detail = base.get(path).await.problem(400);
        assert!(detail.contains(expected), "{path}: {detail}");
    }
}

#[tokio::test]
async fn page_of_large_records_ends_early_and_the_next_one_continues() {
    let long = |id: i64| {
        // Control characters are six times as long in JSON.
        let text = match id {
            4 => "\\u0001".repeat(200_000),
            _ => "x".repeat(150_000 + usize::try_from(id).unwrap()),
        };
        product(id, "1").replace("\"d\"}", &format!("\"{text}\"}}"))
    };
    let records: Vec<String> = (1..=20).map(long).collect();
    for base in TestApi::both().await {
        base.load("products", &records).await;
        let mut sizes = Vec::new();
        let mut found = Vec::new();
        for page in base.pages("/products?limit=1000").await {
            let ids = page.column("id");
            assert!(page.body.len() <= 1 << 20 || ids == [4], "{}", page.body.len());
            sizes.push(ids.len());
            let parsed: Vec<Value> = serde_json::from_str(&page.body).unwrap();
            found.extend(parsed);
        }
        let expected = records.iter().map(|record| serde_json::from_str::<Value>(record).unwrap());
        assert!(found.into_iter().eq(expected));
        assert_eq!(sizes, [3, 1, 6, 6, 4]);
    }
}

#[tokio::test]
async fn head_of_a_list_is_that_of_its_page() {
    let base = TestApi::sqlite().await;
    base.load("products", &[product(1, "1"), product(2, "1")]).await;
    let page = base.get("/products?limit=1").await;
    let response = base.client().head("/products?limit=1").send().await;
    response.assert_status_is_ok();
    response.assert_header("link", page.header("link").unwrap());
    response.assert_header("content-length", page.body.len().to_string());
    response.assert_text("").await;
}
