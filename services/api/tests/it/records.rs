//! The endpoints of records.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::fixtures::{TestApi, basic, product, users};

fn noon() -> DateTime<Utc> {
    "2026-11-21T12:00:00.25Z".parse().unwrap()
}

#[tokio::test]
async fn record_is_served_with_the_values_of_its_line() {
    for base in TestApi::both().await {
        let fingerprint = base.store(151_000, "7072.16", noon()).await;
        let answer = base.get("/products/151000").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, product(151_000, "7072.16") + "\n");
        assert_eq!(answer.raw("price"), "7072.16");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("etag"), Some(format!("\"{fingerprint}\"").as_str()));
        assert_eq!(answer.header("last-modified"), Some("Sat, 21 Nov 2026 12:00:00 GMT"));
    }
}

#[tokio::test]
async fn price_with_more_digits_than_a_float_is_exact() {
    for base in TestApi::both().await {
        let price = "12345678901234567890.12345678";
        base.store(1, price, noon()).await;
        assert_eq!(base.get("/products/1").await.raw("price"), price);
        let list = base.get("/products?id=1").await;
        assert!(list.body.contains(&format!("\"price\":{price},")), "{}", list.body);
    }
}

#[tokio::test]
async fn record_that_the_client_has_is_not_sent_again() {
    let base = TestApi::sqlite().await;
    let tag = format!("\"{}\"", base.store(1, "1", noon()).await);
    for header in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
        let answer = base.get_with("/products/1", &[("if-none-match", &header)]).await;
        assert_eq!((answer.status, answer.body.as_str()), (304, ""), "{header}");
        assert_eq!(answer.header("etag"), Some(tag.as_str()));
    }
    let answer = base.get_with("/products/1", &[("if-none-match", "\"other\"")]).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn tags_on_several_lines_are_one_list() {
    let base = TestApi::sqlite().await;
    let tag = format!("\"{}\"", base.store(1, "1", noon()).await);
    let other = ("if-none-match", "\"other\"");
    for (lines, expected) in [
        (vec![other, ("if-none-match", &tag)], 304),
        (vec![("if-none-match", &tag), other], 304),
        (vec![other, ("if-none-match", "\"a,*,b\"")], 200),
    ] {
        let answer = base.get_with("/products/1", &lines).await;
        assert_eq!(answer.status, expected, "{lines:?}");
    }
}

#[tokio::test]
async fn large_records_are_served_with_duplicate_and_missing_ids() {
    for base in TestApi::both().await {
        let long = |id: i64| format!("\u{e9}\"{}", id.to_string().repeat(400_000));
        for id in 1..=3 {
            base.store(id, "1", noon()).await;
            let sql = "UPDATE products SET description = $1 WHERE id = $2";
            base.execute(sql, [long(id).into(), id.into()]).await;
        }
        let answer = base.get("/products?id=3&id=9&id=1&id=3&id=2&id=8").await;
        assert_eq!(answer.column("id"), [3, 1, 3, 2]);
        let expected = [3, 1, 3, 2].map(|id| json!(long(id)));
        assert_eq!(answer.column("description"), expected);
        assert_eq!(base.get("/products/3").await.json()["description"], long(3));

        let response = base.client().head("/products?id=3&id=1&id=2").send().await;
        response.assert_status_is_ok();
        response.assert_text("").await;
    }
}

#[tokio::test]
async fn head_is_answered_as_get_without_the_body() {
    let base = TestApi::sqlite().await;
    base.store(1, "1", noon()).await;
    let response = base.client().head("/products/1").send().await;
    response.assert_status_is_ok();
    response.assert_header_exist("etag");
    let length = base.get("/products/1").await.body.len().to_string();
    response.assert_header("content-length", length);
    response.assert_text("").await;
}

#[tokio::test]
async fn missing_record_is_a_problem() {
    let base = TestApi::sqlite().await;
    let detail = base.get("/products/7").await.problem(404);
    assert_eq!(detail, "no record of products has the id 7");
}

#[tokio::test]
async fn error_for_an_invalid_id_names_its_parameter() {
    let base = TestApi::sqlite().await;
    for path in
        ["/products/abc", "/products/1.5", "/products/9223372036854775808", "/products?id=x"]
    {
        let detail = base.get(path).await.problem(400);
        assert!(detail.contains("`id`"), "{path}: {detail}");
    }
}

#[tokio::test]
async fn several_records_come_in_the_order_of_the_request() {
    for base in TestApi::both().await {
        for id in [1, 2, 3] {
            base.store(id, "1", noon()).await;
        }
        let answer = base.get("/products?id=3&id=9&id=1&id=2").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.column("id"), [3, 1, 2]);
        assert_eq!(base.get("/products?id=8&id=9").await.json(), json!([]));
    }
}

#[tokio::test]
async fn one_to_a_hundred_records_can_be_requested() {
    let base = TestApi::sqlite().await;
    let query = |ids: u32| (0..ids).map(|id| format!("id={id}")).collect::<Vec<_>>().join("&");

    let answer = base.get(&format!("/products?{}", query(100))).await;
    assert_eq!(answer.status, 200);
    let detail = base.get(&format!("/products?{}", query(101))).await.problem(400);
    assert!(detail.contains("`id` is given 101 times; at most 100"), "{detail}");
}

#[tokio::test]
async fn deleted_record_is_gone_and_in_no_list() {
    const ORDERS: &str = "key = 'id'\ndeleted = { column = 'op', equals = 'D' }\n
        columns = { id = 'text', total = { type = 'bigint', index = true } }";
    for base in TestApi::both().await {
        base.declare("orders", ORDERS).await;
        for orders in [
            &[r#"{"id":"a","total":1}"#, r#"{"id":"b","total":1}"#][..],
            &[r#"{"id":"b","op":"D"}"#],
        ] {
            base.load("orders", &orders.iter().map(|&order| order.to_owned()).collect::<Vec<_>>())
                .await;
        }
        let detail = base.get("/orders/b").await.problem(410);
        assert_eq!(detail, "the record of orders with the id b was deleted");
        let left = json!([{ "id": "a", "total": 1 }]);
        for list in ["/orders", "/orders?total=1", "/orders?id=b&id=a", "/orders?limit=1"] {
            let answer = base.get(list).await;
            assert_eq!((answer.json(), answer.next()), (left.clone(), None), "{list}");
        }
        assert_eq!(base.get("/orders/b/origin").await.json()["deleted"], true);
        base.load("orders", &[r#"{"id":"b","total":2}"#.to_owned()]).await;
        assert_eq!(base.get("/orders").await.column("total"), [1, 2]);
    }
}

/// A plain GET is answered in front of the router, one with `Origin` by the router.
#[tokio::test]
async fn record_is_answered_alike_with_and_without_the_router() {
    const ORDERS: &str = "key = 'id'\ndeleted = { column = 'op', equals = 'D' }\n
        columns = { id = 'text', note = 'text' }";
    let users = users(&[("ann", "x", ":read:orders")]);
    let ann = basic("ann:x");
    for (base, statuses) in [
        (TestApi::sqlite().await, &[200, 304, 400, 404, 410][..]),
        (TestApi::guarded(users).await, &[200, 304, 400, 401, 404, 410]),
    ] {
        base.declare("orders", ORDERS).await;
        base.store(1, "1", noon()).await;
        let long = "long ".repeat(1_000);
        let orders = [
            r#"{"id":"a","note":"short"}"#.to_owned(),
            format!(r#"{{"id":"b","note":"{long}"}}"#),
            r#"{"id":"c","note":""}"#.to_owned(),
        ];
        base.load("orders", &orders).await;
        base.load("orders", &[r#"{"id":"c","op":"D"}"#.to_owned()]).await;
        // The declarations are read, and the password verified.
        base.get_as("/orders/a", &ann).await;

        let mut seen = BTreeSet::new();
        for path in [
            "/orders/a",
            "/orders/b",
            "/orders/c",
            "/orders/d",
            "/orders/",
            "/orders/%61",
            "/orders/%00",
            "/orders/a?x=1",
            "/orders/a/origin",
            "//a",
            "/products/1",
            "/products/x",
            "/missing/1",
            "/objects/1",
            "/-/objects",
        ] {
            for headers in [
                &[][..],
                &[("authorization", &*ann)],
                &[("authorization", &*ann), ("accept-encoding", "gzip, zstd;q=0.5")],
                &[("authorization", &*ann), ("if-none-match", "*")],
                &[("authorization", &*ann), ("if-modified-since", "Sat, 21 Nov 2026 12:00:00 GMT")],
            ] {
                let headers = [headers, &[("x-request-id", "r")]].concat();
                let routed = [&headers[..], &[("origin", "https://example.org")]].concat();
                let (direct, routed) = (raw(&base, path, &headers), raw(&base, path, &routed));
                let (direct, routed) = (direct.await, routed.await);
                assert_eq!(direct, routed, "{path} {headers:?}");
                seen.insert(direct.0);
            }
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), statuses);
    }
}

/// The status, the headers and the body of an answer, without the time that it took.
async fn raw(
    base: &TestApi,
    path: &str,
    headers: &[(&str, &str)],
) -> (u16, BTreeSet<String>, Vec<u8>) {
    let mut request = base.client().get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.0;
    let headers = response.headers().iter().filter(|(name, _)| *name != "server-timing");
    let headers = headers.map(|(name, value)| format!("{name}: {value:?}")).collect();
    (response.status().as_u16(), headers, response.into_body().into_vec().await.unwrap())
}
