//! The status page.

use std::time::Duration;

use chrono::Utc;
use futures::StreamExt;
use jetline_store::Ledger;
use poem::http::header;

use crate::fixtures::{self, Answer, TestApi, product, settings, users};

/// Users with a password like their name: one who may do everything, one who may with a dataset, and one who reads.
async fn guarded() -> TestApi {
    let (root, ann) = (("root", "root", ":admin"), ("ann", "ann", ":admin:orders"));
    let base = TestApi::guarded(users(&[root, ann, ("joe", "joe", ":read")])).await;
    base.with_two_datasets().await;
    base
}

fn basic(user: &str) -> String {
    fixtures::basic(&format!("{user}:{user}"))
}

impl TestApi {
    async fn page(&self, path: &str, user: &str) -> Answer {
        self.get_as(path, &basic(user)).await
    }

    async fn act(&self, path: &str, user: &str, from: &[(&str, &str)]) -> Answer {
        let authorization = basic(user);
        let headers = [&[("authorization", &*authorization), ("host", "jetline")], from].concat();
        self.post(path, &headers, "").await
    }

    /// The server-sent events up to the one with this text.
    async fn events(&self, user: &str, last: &str) -> String {
        let request = self.client().get("/-/live?depth=1").header("authorization", basic(user));
        let mut events = request.send().await.0.into_body().into_bytes_stream();
        let mut text = String::new();
        while !(text.ends_with("\n\n") && text.contains(last)) {
            text.push_str(&String::from_utf8_lossy(&events.next().await.unwrap().unwrap()));
        }
        text
    }
}

const SAME_ORIGIN: [(&str, &str); 1] = [("sec-fetch-site", "same-origin")];

#[tokio::test]
async fn page_loads_nothing_from_elsewhere_and_runs_no_text() {
    let base = TestApi::sqlite().await;
    let hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&";
    let declaration = "key = 'id'\n[columns]\nid = 'text'\nname = 'text'\n";
    base.declare("orders", declaration).await;
    let record = serde_json::json!({ "id": hostile, "name": hostile }).to_string();
    base.load("orders", &[record]).await;
    let sql = "INSERT INTO rejected_lines (object_id, line, byte_offset, reason, message, raw)
        VALUES (1, 2, 9, 'invalid_json', $1, $2)";
    base.execute(sql, [hostile.into(), hostile.as_bytes().to_vec().into()]).await;
    base.execute("UPDATE objects SET key = $1, error = $1", [hostile.into()]).await;
    let key: String = url::form_urlencoded::byte_serialize(hostile.as_bytes()).collect();
    for path in [
        "/",
        "/-/objects",
        "/-/objects/1",
        "/-/objects/1/rejects/2",
        "/-/datasets",
        "/-/datasets/orders",
        &format!("/-/datasets/orders?after={key}"),
        &format!("/-/datasets/orders/record?key={key}"),
        "/-/deliveries",
    ] {
        let answer = base.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
        let scripts = answer.body.matches("<script").count();
        assert!(scripts == 1 && !answer.body.contains("<img src=x"), "{path}: {}", answer.body);
        for attribute in ["src=", "href=", "action="] {
            let mut values = answer.body.split(attribute).skip(1);
            assert!(!values.any(|value| value.starts_with("\"http")), "{path}");
        }
    }
    for path in ["/-/objects/1/rejects/2", &format!("/-/datasets/orders/record?key={key}")] {
        assert!(base.get(path).await.body.contains("&#60;script&#62;alert(1)"), "{path}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_on_a_page() {
    let base = TestApi::sqlite().await;
    for (path, status) in [
        ("/-/objects/7", 404),
        ("/-/objects/7/rejects/1", 404),
        ("/-/datasets/nothing", 404),
        ("/-/datasets/products/record?key=1", 404),
        ("/-/datasets/products/record?key=x", 400),
        ("/-/datasets/products?after=x", 400),
        ("/-/objects?state=lost", 400),
        ("/-/objects?dataset=nothing", 404),
        ("/-/deliveries?state=lost", 400),
        ("/-/deliveries?after=x", 400),
        ("/-/objects/7/dismiss", 403),
    ] {
        let answer = base.get(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.body.contains("<nav") && answer.body.contains("<h1>"), "{path}");
    }
    base.get("/-/nothing").await.problem(404);
    base.get("/-/assets/nothing").await.problem(404);
}

#[tokio::test]
async fn assets_are_sent_once() {
    let base = TestApi::sqlite().await;
    for (name, content_type) in [
        ("page.css", "text/css; charset=utf-8"),
        ("page.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ] {
        let path = format!("/-/assets/{name}");
        let first = base.get(&path).await;
        assert_eq!(first.header("content-type"), Some(content_type));
        let tag = first.header("etag").unwrap();
        let second = base.get_with(&path, &[("if-none-match", tag)]).await;
        assert_eq!((second.status, &*second.body), (304, ""));
    }
}

#[tokio::test]
async fn user_sees_his_datasets_alone() {
    let base = guarded().await;
    for path in ["/", "/-/objects", "/-/datasets", "/-/deliveries", "/-/objects/1"] {
        let page = base.page(path, "ann").await;
        assert!(page.body.contains("orders") && !page.body.contains("secrets"), "{path}");
        assert_eq!(base.get(path).await.status, 401);
    }
    for path in [
        "/-/objects/2",
        "/-/objects/2/rejects/2",
        "/-/objects/2/dismiss",
        "/-/datasets/secrets",
        "/-/datasets/secrets/record?key=1",
        "/-/objects?dataset=secrets",
        "/-/deliveries?dataset=secrets",
    ] {
        assert_eq!(base.page(path, "ann").await.status, 404, "{path}");
    }
    let all = base.events("root", ">secrets</a></th>").await;
    let hers = base.events("ann", ">orders</a></th>").await;
    assert!(all.contains("secrets") && all.contains("href=\"../-/objects/2\""), "{all}");
    assert!(hers.contains("orders") && !hers.contains("secrets"), "{hers}");
    assert!(!hers.contains("/objects/2\""), "{hers}");
}

#[tokio::test]
async fn only_forms_of_the_page_and_of_an_admin_change_something() {
    let base = guarded().await;
    let failed = "UPDATE objects SET state = 'failed', error = 'it is broken'";
    base.execute(failed, []).await;
    let plan = base.page("/-/objects/1/dismiss", "root").await;
    assert!(plan.body.contains("has failed") && plan.body.contains("<form method=\"post\""));
    for (user, from) in [
        ("joe", SAME_ORIGIN.as_slice()),
        ("root", &[]),
        ("root", &[("sec-fetch-site", "cross-site")]),
        ("root", &[("sec-fetch-site", "same-site")]),
        ("root", &[("sec-fetch-site", "none")]),
        ("root", &[("origin", "http://elsewhere")]),
        ("root", &[("origin", "null")]),
    ] {
        for path in ["/-/objects/1/dismiss", "/-/objects/1/replay", "/-/deliveries/redeliver"] {
            let refused = base.act(path, user, from).await;
            assert_eq!(refused.status, 403, "{path} {user} {from:?}: {}", refused.body);
        }
    }
    assert!(!base.page("/-/objects/1", "root").await.body.contains("dismissed"));
    assert!(!base.page("/-/objects/1", "joe").await.body.contains("/dismiss"));
    let done = base.act("/-/objects/1/dismiss", "root", &SAME_ORIGIN).await;
    assert_eq!(done.status, 303, "{}", done.body);
    let next = done.header(header::LOCATION.as_str()).unwrap();
    assert_eq!(next, "../../../-/objects/1?done=dismissed");
    let page = base.page("/-/objects/1?done=dismissed", "root").await.body;
    assert!(page.contains("failed, dismissed") && page.contains("It is dismissed"), "{page}");
    // Older browsers send the origin alone. A user does not reach another dataset.
    let from_origin = [("origin", "http://jetline")];
    assert_eq!(base.act("/-/objects/2/dismiss", "ann", &from_origin).await.status, 404);
    assert_eq!(base.act("/-/objects/2/dismiss", "root", &from_origin).await.status, 303);
    assert_eq!(base.act("/-/objects/1/replay", "ann", &SAME_ORIGIN).await.status, 403);
}

#[tokio::test]
async fn dead_deliveries_of_ones_own_datasets_are_made_again() {
    let base = guarded().await;
    base.execute("UPDATE deliveries SET state = 'dead'", []).await;
    let plan = base.page("/-/deliveries/redeliver", "ann").await.body;
    assert!(plan.contains("orders: 1") && !plan.contains("secrets"), "{plan}");
    let done = base.act("/-/deliveries/redeliver", "ann", &SAME_ORIGIN).await;
    assert_eq!(done.header("location"), Some("../../-/deliveries?redelivered=1"));
    let all = base.page("/-/deliveries?state=dead", "root").await.body;
    assert!(all.contains("secrets <bdi>1") && !all.contains("orders <bdi>1"), "{all}");
    let waiting = base.page("/-/deliveries?state=waiting&redelivered=1", "ann").await.body;
    assert!(
        waiting.contains("orders <bdi>1") && waiting.contains("delivered again: 1"),
        "{waiting}"
    );
}

#[tokio::test]
async fn lists_go_on_where_a_page_ends() {
    for base in TestApi::both().await {
        let records: Vec<String> = (1..=120).map(|id| product(id, "1")).collect();
        base.load("products", &records).await;
        let mut path = "/-/datasets/products".to_owned();
        let mut pages = 0;
        loop {
            let page = base.get(&path).await.body;
            pages += 1;
            let Some((_, rest)) = page.split_once("rel=\"next\" href=\"") else {
                assert!(page.contains("<bdi>120</bdi>"), "{page}");
                break;
            };
            path = format!("/-/datasets/products{}", rest.split('"').next().unwrap());
        }
        assert_eq!(pages, 3);
    }
}

#[tokio::test]
async fn objects_are_listed_by_their_state_and_rejects() {
    for base in TestApi::both().await {
        for id in 1..=60 {
            base.load("products", &[product(id, "1")]).await;
        }
        base.execute("UPDATE objects SET state = 'done' WHERE id > 2", []).await;
        base.execute("UPDATE objects SET rejected = 1 WHERE id = 7", []).await;
        base.execute("UPDATE chunks SET rejected = 1 WHERE object_id = 1", []).await;
        let ids = async |query: &str| -> Vec<String> {
            let page = base.get(&format!("/-/objects{query}")).await.body;
            let rows = page.split("<tr id=\"object-").skip(1);
            rows.map(|row| row.split('"').next().unwrap().to_owned()).collect()
        };
        assert_eq!(ids("?state=open").await, ["2", "1"]);
        assert_eq!(ids("?rejects=1").await, ["7", "1"]);
        assert_eq!(ids("?rejects=1&state=done&dataset=products").await, ["7"]);
        let latest = ids("").await;
        assert_eq!((latest.len(), &*latest[0], &*latest[49]), (50, "60", "11"));
        assert_eq!(ids("?before=11").await.len(), 10);
        let done = base.get("/-/objects?state=done&dataset=").await.body;
        assert!(done.contains("href=\"?state=done&#38;before=11\""), "{done}");
        let figures = base.events("nobody", "<td>62</td>").await;
        for (name, count) in [("Open objects", 2), ("Done", 58), ("Failed", 0)] {
            let figure = format!("{name}</a></dt><dd>{count}</dd>");
            assert!(figures.contains(&figure), "{figure}: {figures}");
        }
        assert!(figures.contains("products</a></th><td>62</td><td>60</td>"), "{figures}");
    }
}

#[tokio::test]
async fn page_takes_its_forms_where_other_origins_may_read_the_api() {
    let mut settings = settings();
    settings.cors_origins = vec!["https://shop.example".to_owned()];
    let base = TestApi::guarded_with(users(&[("root", "root", ":admin")]), &settings).await;
    base.load("products", &[product(1, "1")]).await;
    base.execute("UPDATE objects SET state = 'failed', error = 'it is broken'", []).await;
    let own = [("origin", "http://jetline"), ("sec-fetch-site", "same-origin")];
    let done = base.act("/-/objects/1/dismiss", "root", &own).await;
    assert_eq!(done.status, 303, "{}", done.body);
    let shop = [("origin", "https://shop.example"), ("sec-fetch-site", "cross-site")];
    assert_eq!(base.act("/-/objects/1/dismiss", "root", &shop).await.status, 403);
    let allowed = base
        .get_with(
            "/objects",
            &[("origin", "https://shop.example"), ("authorization", &basic("root"))],
        )
        .await;
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://shop.example"));
}

#[tokio::test]
async fn head_of_the_stream_is_answered_at_once() {
    let base = TestApi::sqlite().await;
    let answer = base.client().head("/-/live?depth=0").send().await;
    answer.assert_status_is_ok();
    answer.assert_content_type("text/event-stream");
}

#[tokio::test]
async fn replay_is_asked_of_a_fetcher_and_its_answer_is_shown() {
    let base = guarded().await;
    let ledger = Ledger::new(&base.database(), Utc::now).objects;
    let answering = tokio::spawn(async move {
        let mut taken = Vec::new();
        while taken.len() < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let Some(request) = ledger.take_replay_request().await.unwrap() else { continue };
            let answer = match taken.len() {
                0 => Ok("Would read again: 1".to_owned()),
                1 => Ok("Read again: 1".to_owned()),
                _ => Err("object 1 is gone".to_owned()),
            };
            ledger.answer_replay_request(request.id, answer).await.unwrap();
            taken.push((request.object_id, request.dry_run));
        }
        taken
    });
    let plan = base.page("/-/objects/1/replay", "root").await;
    assert!(
        plan.body.contains("Would read again: 1") && plan.body.contains("<form method=\"post\"")
    );
    let done = base.act("/-/objects/1/replay", "root", SAME_ORIGIN.as_slice()).await;
    assert_eq!(done.header("location"), Some("../../../-/objects/1?done=replayed"));
    let plan = base.page("/-/objects/1/replay", "root").await;
    assert!(plan.body.contains("object 1 is gone") && !plan.body.contains("<form method"));
    assert_eq!(answering.await.unwrap(), [(1, true), (1, false), (1, true)]);
}

#[tokio::test]
async fn replay_without_a_fetcher_is_withdrawn_and_the_page_says_what_to_do() {
    let base = guarded().await;
    // One for whose answer nobody waits any more.
    let expired = "INSERT INTO replay_requests (id, object_id, dry_run, expires_at) VALUES (5, 1, FALSE, '2026-01-01')";
    base.execute(expired, []).await;
    let plan = base.page("/-/objects/1/replay", "root").await;
    assert!(
        plan.body.contains("WATCH") && plan.body.contains("replay --object 1"),
        "{}",
        plan.body
    );
    let ledger = Ledger::new(&base.database(), Utc::now).objects;
    assert_eq!(ledger.take_replay_request().await.unwrap(), None);
}
