//! Records that delete.

use std::sync::Arc;

use jetline_core::{Counts, Epoch, Mode};
use jetline_datasets::{Dataset, Value};
use jetline_store::catalog::pages::Filter;

use crate::fixtures::{
    NO_COUNTS, TestDatabase, begin, both, commit, commit_either, declare, if_changed, rows,
};

const ORDERS: &str = "key = 'id'\ndeleted = { column = 'op', equals = 'D' }\n
    columns = { id = 'text', total = { type = 'numeric', index = true } }";

/// The keys that a list has.
async fn listed(base: &TestDatabase, dataset: &Arc<Dataset>) -> Vec<String> {
    let page = base.catalog.records_page(dataset, &Filter::default(), 10, 1 << 20).await.unwrap();
    let keys: Vec<String> = page.records.iter().map(|record| record.key.to_string()).collect();
    let asked = ["a", "b", "c"].map(|key| dataset.read_key(key).unwrap());
    let part = base.catalog.records_part(dataset, &asked, 1 << 20).await.unwrap();
    assert_eq!(part.keys, 3);
    assert_eq!(part.found, page.records);
    keys
}

#[tokio::test]
async fn delete_is_a_row_that_is_counted_and_not_listed() {
    for rejects in [false, true] {
        for base in both().await {
            let dataset = declare(&base.database, "orders", ORDERS).await;
            let (base, epoch) = base.with_objects(4).await;
            let (a, b) = (r#"{"id":"a","total":1}"#, r#"{"id":"b","total":2,"gift":true}"#);
            let [no_a, no_b, no_c] = ["a", "b", "c"].map(|id| {
                // What else a record that deletes has is not stored.
                format!(r#"{{"id":"{id}","op":"D","total":"?","gift":{id:?}}}"#)
            });
            let steps: [(&[&str], Counts, &[&str]); 4] = [
                (&[a, b, &no_c], Counts { inserted: 2, deleted: 1, ..NO_COUNTS }, &["a", "b"]),
                (&[&no_a, b, &no_c], Counts { deleted: 1, unchanged: 2, ..NO_COUNTS }, &["b"]),
                (
                    &[a, &no_b, &no_c],
                    Counts { updated: 1, deleted: 1, unchanged: 1, ..NO_COUNTS },
                    &["a"],
                ),
                (&[&no_a, &no_b], Counts { deleted: 1, unchanged: 1, ..NO_COUNTS }, &[]),
            ];
            for (object, (records, expected, left)) in (1..).zip(steps) {
                let chunk = rows(&dataset, object, records);
                let counts = commit_either(&base, &epoch, &dataset, chunk, rejects).await;
                assert_eq!(counts, expected);
                assert_eq!(listed(&base, &dataset).await, left);
            }
            let keys = vec![dataset.read_key("b").unwrap()];
            let deleted = base.catalog.records(&dataset, keys).await.unwrap().remove(0);
            assert!(deleted.is_deleted);
            assert_eq!(deleted.values, [Value::Text("b".to_owned()), Value::Null]);
            assert_eq!(deleted.extra, None);
            let status = base.status(3).await;
            assert_eq!((status.updated, status.deleted, status.lines()), (1, 1, 3));
        }
    }
}

#[tokio::test]
async fn delete_has_the_rank_of_its_version() {
    let text =
        format!("version = 'revision'\n{}", ORDERS.replace("id =", "revision = 'bigint', id ="));
    for base in both().await {
        let dataset = declare(&base.database, "orders", &text).await;
        let (base, epoch) = base.with_objects(8).await;
        let order = |revision: i64, op: &str| {
            format!(r#"{{"id":"a","revision":{revision},"op":"{op}","total":1}}"#)
        };
        for (object, record, expected) in [
            (1, order(5, "D"), Counts { deleted: 1, ..NO_COUNTS }),
            (2, order(4, "U"), Counts { superseded: 1, ..NO_COUNTS }),
            (3, order(6, "U"), Counts { updated: 1, ..NO_COUNTS }),
            (4, order(5, "D"), Counts { superseded: 1, ..NO_COUNTS }),
            (5, order(6, "D"), Counts { deleted: 1, ..NO_COUNTS }),
            (6, order(6, "D"), Counts { unchanged: 1, ..NO_COUNTS }),
            // Otherwise the row would keep the version, and with it the rank, of the first delete.
            (7, order(7, "D"), Counts { deleted: 1, ..NO_COUNTS }),
            (8, order(6, "U"), Counts { superseded: 1, ..NO_COUNTS }),
        ] {
            let chunk = if_changed(rows(&dataset, object, &[&record]));
            assert_eq!(commit(&base, &epoch, &dataset, chunk).await, expected, "{record}");
        }
        assert!(listed(&base, &dataset).await.is_empty());
    }
}

/// A declaration can begin and end to have deletes; the rows of the other ones stay valid.
#[tokio::test]
async fn deletes_can_be_declared_later_and_no_more() {
    let without = "key = 'id'\ncolumns = { id = 'text', total = 'numeric' }";
    for base in both().await {
        let first = declare(&base.database, "orders", without).await;
        let (base, epoch) = base.with_objects(3).await;
        let one = async |epoch: &Epoch, dataset: &Dataset, object, record: &str| {
            commit(&base, epoch, dataset, rows(dataset, object, &[record])).await
        };
        let inserted = Counts { inserted: 1, ..NO_COUNTS };
        assert_eq!(one(&epoch, &first, 1, r#"{"id":"a","total":1}"#).await, inserted);
        let second = declare(&base.database, "orders", ORDERS).await;
        let epoch = begin(&base.ledger, Mode::Shared, Some(epoch.id), 2).await;
        let deleted = Counts { deleted: 1, ..NO_COUNTS };
        assert_eq!(one(&epoch, &second, 2, r#"{"id":"a","op":"D"}"#).await, deleted);
        assert!(listed(&base, &second).await.is_empty());
        let third = declare(&base.database, "orders", without).await;
        let epoch = begin(&base.ledger, Mode::Shared, Some(epoch.id), 3).await;
        let updated = Counts { updated: 1, ..NO_COUNTS };
        assert_eq!(one(&epoch, &third, 3, r#"{"id":"a","op":"D","total":2}"#).await, updated);
        assert_eq!(listed(&base, &third).await, ["a"]);
    }
}
