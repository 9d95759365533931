//! Where records come from.

use chrono::{DateTime, Utc};
use jetline_core::{Key, Position};
use jetline_datasets::{Dataset, Value};
use jetline_store::catalog::origin::Origin;

use crate::fixtures::{ROOT, TestDatabase, both, commit, declare, id, if_changed, rows};

/// Columns with names of the ledger's.
const ORDERS: &str = r#"
key = "key"
version = "state"

[columns]
key = "text"
id = { type = "text", optional = true }
root = { type = "text", optional = true }
state = "timestamp"
"#;

const FIRST: &str = r#"{"key":"A 1","root":"r","state":"2026-11-26T12:00:00Z"}"#;

async fn origin(base: &TestDatabase, dataset: &Dataset, key: &str) -> Option<Origin> {
    base.catalog.origin(dataset, &Key::Text(key.to_owned())).await.unwrap()
}

#[tokio::test]
async fn origin_is_the_line_that_last_won_and_the_time_that_of_the_last_change() {
    for base in both().await {
        let orders = declare(&base.database, "orders", ORDERS).await;
        let (base, epoch) = base.with_objects(3).await;
        let earlier = r#"{"key":"B","state":"1969-12-31T23:59:59.5Z"}"#;
        commit(&base, &epoch, &orders, rows(&orders, 1, &[earlier, FIRST])).await;
        let first = origin(&base, &orders, "A 1").await.unwrap();
        let noon: DateTime<Utc> = "2026-11-26T12:00:00Z".parse().unwrap();
        assert_eq!(first.position, Position::new(id(1), 2));
        assert_eq!(first.uri.as_deref(), Some(&*format!("{ROOT}/1")));
        assert_eq!(first.version, Value::Timestamp(noon));

        // The same content at a higher position: the row takes the position, and its content does not change.
        commit(&base, &epoch, &orders, rows(&orders, 2, &[FIRST])).await;
        let again = origin(&base, &orders, "A 1").await.unwrap();
        assert_eq!(again.position, Position::new(id(2), 1));
        assert_eq!(again.uri.as_deref(), Some(&*format!("{ROOT}/2")));
        assert_eq!(again.changed_at, first.changed_at);

        let changed = FIRST.replace("\"r\"", "\"s\"").replace("12:00", "12:01");
        commit(&base, &epoch, &orders, if_changed(rows(&orders, 3, &[earlier, &changed]))).await;
        let last = origin(&base, &orders, "A 1").await.unwrap();
        assert_eq!(last.position, Position::new(id(3), 2));
        assert_eq!(last.version, Value::Timestamp(noon + chrono::Duration::minutes(1)));
        assert!(last.changed_at > first.changed_at);
        let unchanged = origin(&base, &orders, "B").await.unwrap();
        assert_eq!(unchanged.position, Position::new(id(1), 1));
        assert_eq!(origin(&base, &orders, "C").await, None);
    }
}

#[tokio::test]
async fn origin_without_a_version_or_an_object_has_none() {
    for base in both().await {
        let text = "key = 'key'\ncolumns = { key = 'uuid' }";
        let dataset = declare(&base.database, "things", text).await;
        let (base, epoch) = base.with_objects(1).await;
        let key = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        let record = format!(r#"{{"key":"{key}"}}"#);
        commit(&base, &epoch, &dataset, rows(&dataset, 1, &[&record])).await;
        let found = origin(&base, &dataset, key).await.unwrap();
        assert_eq!((found.version, found.uri), (Value::Null, Some(format!("{ROOT}/1"))));
        base.run("DELETE FROM chunks").await;
        base.run("DELETE FROM objects").await;
        assert_eq!(origin(&base, &dataset, key).await.unwrap().uri, None);
    }
}
