//! Declarations in the ledger, and the tables that they make.

use std::sync::Arc;

use jetline_core::{Counts, Key, Mode};
use jetline_datasets::{Dataset, Reason};
use jetline_store::{CommitOutcome, DeclarationFile, Error, objects::NewObject};
use sea_orm::DbBackend;

use crate::fixtures::{
    NO_COUNTS, TestDatabase, begin, both, both_in_english, commit, commit_either, declare, id,
    listed, postgres, register, rejected_line, rows, sqlite, watermark,
};

const EVERY_TYPE: &str = r#"
key = "uuid"
version = "timestamp"

[columns]
text = { type = "text", optional = true, path = "/nested/text" }
bigint = { type = "bigint", optional = true }
numeric = { type = "numeric", optional = true }
double = { type = "double", optional = true }
boolean = { type = "boolean", optional = true, index = true }
date = { type = "date", optional = true }
timestamp = "timestamp"
uuid = "uuid"
json = { type = "json", optional = true }
"#;

const FULL: &str = r#"{"nested":{"text":"é\"\\","other":1.50},"bigint":-9223372036854775808,"numeric":-7922816251426433759354395.0335,"double":1.5e300,"boolean":true,"date":"1969-12-31","timestamp":"1969-12-31T23:59:59.123456Z","uuid":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","json":{"b":[1.0,null],"a":12345678901234567890.5},"kept":[1,"x"]}"#;
const EMPTY: &str =
    r#"{"timestamp":"9999-12-31T23:59:59Z","uuid":"00000000-0000-0000-0000-000000000001"}"#;

/// The record with this key, as JSON.
async fn json(base: &TestDatabase, dataset: &Arc<Dataset>, key: &str) -> String {
    let keys = vec![dataset.read_key(key).unwrap()];
    let found = base.catalog.records(dataset, keys.clone()).await.unwrap().remove(0);
    let part = base.catalog.records_part(dataset, &keys, 1_000).await.unwrap();
    assert_eq!(part.found, std::slice::from_ref(&found));
    let mut json = Vec::new();
    dataset.write_json(&found.values, found.extra.as_deref(), &mut json).unwrap();
    String::from_utf8(json).unwrap()
}

#[tokio::test]
async fn value_of_every_type_comes_back_from_both_databases_in_the_same_words() {
    let full = r#"{"nested":{"text":"é\"\\","other":1.5},"bigint":-9223372036854775808,"numeric":-7922816251426433759354395.0335,"double":1.5e+300,"boolean":true,"date":"1969-12-31","timestamp":"1969-12-31T23:59:59.123456Z","uuid":"6ba7b810-9dad-11d1-80b4-00c04fd430c8","json":{"a":12345678901234567890.5,"b":[1,null]},"kept":[1,"x"]}"#;
    let empty = r#"{"nested":{"text":null},"bigint":null,"numeric":null,"double":null,"boolean":null,"date":null,"timestamp":"9999-12-31T23:59:59Z","uuid":"00000000-0000-0000-0000-000000000001","json":null}"#;
    for base in both().await {
        let dataset = declare(&base.database, "things", EVERY_TYPE).await;
        let (base, epoch) = base.with_objects(3).await;
        commit(&base, &epoch, &dataset, rows(&dataset, 1, &[FULL, EMPTY])).await;
        assert_eq!(json(&base, &dataset, "6BA7B810-9dad-11d1-80b4-00c04fd430c8").await, full);
        assert_eq!(json(&base, &dataset, "00000000-0000-0000-0000-000000000001").await, empty);
        // An older version does not win, and the same record changes nothing.
        let older = FULL.replace("59.123456Z", "59.123455Z").replace("true", "false");
        let later = rows(&dataset, 2, &[older.as_str(), EMPTY]);
        let counts = Counts { unchanged: 1, superseded: 1, ..NO_COUNTS };
        assert_eq!(commit(&base, &epoch, &dataset, later).await, counts);
        assert_eq!(json(&base, &dataset, "6ba7b810-9dad-11d1-80b4-00c04fd430c8").await, full);
        // Rows that are written one by one travel in another way.
        base.run("DELETE FROM things").await;
        let again = rows(&dataset, 3, &[FULL, EMPTY]);
        commit_either(&base, &epoch, &dataset, again, true).await;
        assert_eq!(json(&base, &dataset, "6ba7b810-9dad-11d1-80b4-00c04fd430c8").await, full);
        assert_eq!(json(&base, &dataset, "00000000-0000-0000-0000-000000000001").await, empty);
    }
}

#[tokio::test]
async fn column_of_another_declaration_becomes_null_and_the_epoch_ends_when_it_is_added() {
    let narrow = "key = 'id'\nunknown = 'ignore'\ncolumns = { id = 'bigint', a = 'text' }";
    let wide = "key = 'id'\ncolumns = { id = 'bigint', b = 'text', a = { type = 'text', optional = true } }";
    for base in both().await {
        let first = declare(&base.database, "things", narrow).await;
        let (base, epoch) = base.with_objects(3).await;
        commit(&base, &epoch, &first, rows(&first, 1, &[r#"{"id":1,"a":"x"}"#])).await;
        let second = declare(&base.database, "things", wide).await;
        let late = rows(&first, 2, &[r#"{"id":1,"a":"y"}"#]);
        let outcome = base.ledger.chunks.commit(epoch.id, &first, vec![late.clone()]).await;
        assert_eq!(outcome.unwrap(), CommitOutcome::EpochEnded);

        let epoch = begin(&base.ledger, Mode::Shared, Some(epoch.id), 2).await;
        assert_eq!(json(&base, &second, "1").await, r#"{"id":1,"b":null,"a":"x"}"#);
        let wide = r#"{"id":1,"b":"b","kept":1}"#;
        commit(&base, &epoch, &second, rows(&second, 2, &[wide])).await;
        assert_eq!(json(&base, &second, "1").await, r#"{"id":1,"b":"b","a":null,"kept":1}"#);
        // The first declaration, as a writer reads it under the new epoch.
        let datasets = base.database.datasets().await.unwrap();
        let first = datasets.declaration(first.declaration).unwrap();
        commit(&base, &epoch, first, rows(first, 3, &[r#"{"id":1,"a":"z"}"#])).await;
        assert_eq!(json(&base, &second, "1").await, r#"{"id":1,"b":null,"a":"z"}"#);
    }
}

#[tokio::test]
async fn kept_field_is_served_once_when_a_column_takes_it() {
    let keep = "key = 'id'\ncolumns = { id = 'bigint' }";
    let taken =
        "key = 'id'\ncolumns = { id = 'bigint', kept = { type = 'bigint', optional = true } }";
    let inside = "key = 'id'\n[columns]\nid = 'bigint'\nx = { type = 'bigint', path = '/kept/x', optional = true }";
    for base in both().await {
        let first = declare(&base.database, "things", keep).await;
        let (base, epoch) = base.with_objects(1).await;
        commit(&base, &epoch, &first, rows(&first, 1, &[r#"{"id":1,"kept":1}"#])).await;
        for text in [taken, inside] {
            let later = declare(&base.database, "things", text).await;
            assert_eq!(json(&base, &later, "1").await, r#"{"id":1,"kept":1}"#);
        }
    }
}

#[tokio::test]
async fn declaration_that_changes_nothing_ends_no_epoch() {
    let text = "key = 'id'\ncolumns = { id = 'bigint' }";
    for base in both().await {
        let first = declare(&base.database, "things", text).await;
        let (base, epoch) = base.with_objects(1).await;
        let second = declare(&base.database, "things", text).await;
        assert_eq!(first.declaration, second.declaration);
        commit(&base, &epoch, &second, rows(&second, 1, &[r#"{"id":1}"#])).await;
    }
}

#[tokio::test]
async fn change_that_loses_data_is_refused_and_nothing_is_done() {
    for base in both().await {
        let text = "key = 'id'\ncolumns = { id = 'bigint', a = 'text', v = 'bigint' }";
        declare(&base.database, "things", text).await;
        base.run("CREATE TABLE foreigners (id bigint)").await;
        for (name, text, reason) in [
            (
                "things",
                "key = 'id'\ncolumns = { id = 'bigint', a = 'bigint', b = 'text' }",
                "the column a was text and cannot become bigint",
            ),
            ("things", "key = 'a'\ncolumns = { id = 'bigint', a = 'text' }", "key and version"),
            (
                "things",
                "key = 'id'\nversion = 'v'\ncolumns = { id = 'bigint', v = 'bigint' }",
                "key and version",
            ),
            (
                "things",
                "key = 'id'\ncolumns = { id = 'bigint', A = 'text' }",
                "from which A differs only in case",
            ),
            ("Things", "key = 'id'\ncolumns = { id = 'bigint' }", "there is the dataset things"),
            ("foreigners", "key = 'id'\ncolumns = { id = 'bigint' }", "which is not Jetline's"),
        ] {
            let other = DeclarationFile::new("other", "other.toml", text).unwrap();
            let file = DeclarationFile::new(name, "file", text).unwrap();
            let error = base.database.declare(&[other, file]).await.unwrap_err();
            assert!(matches!(error, Error::Declaration { .. }), "{error}");
            assert!(error.to_string().contains(reason), "{error}");
            let datasets = base.database.datasets().await.unwrap();
            assert_eq!(datasets.names(), "products, things");
        }
    }
}

#[tokio::test]
async fn column_of_products_that_becomes_optional_needs_another_sqlite_database() {
    let text = "key = 'id'\nunknown = 'ignore'\ncolumns = { id = 'bigint' }";
    let file = DeclarationFile::new("products", "products.toml", text).unwrap();
    let base = sqlite().await;
    let error = base.database.declare(&[file]).await.unwrap_err().to_string();
    assert!(error.contains("cannot become optional: load into a new database"), "{error}");

    let base = postgres().await;
    let products = declare(&base.database, "products", text).await;
    let (base, epoch) = base.with_objects(1).await;
    commit(&base, &epoch, &products, rows(&products, 1, &[r#"{"id":1}"#])).await;
    assert_eq!(json(&base, &products, "1").await, r#"{"id":1}"#);
}

#[tokio::test]
async fn built_in_dataset_goes_when_others_are_declared_unless_it_is_used() {
    let text = "key = 'id'\ncolumns = { id = 'bigint' }";
    for used in [false, true] {
        for base in both().await {
            if used {
                register(&base.ledger, 1).await;
            }
            let file = DeclarationFile::new("things", "things.toml", text).unwrap();
            base.database.declare(std::slice::from_ref(&file)).await.unwrap();
            assert_eq!(base.database.declare(&[file]).await.unwrap(), [""; 0]);
            let names = base.database.datasets().await.unwrap().names();
            assert_eq!(names, if used { "products, things" } else { "things" });
        }
    }
}

#[tokio::test]
async fn text_keys_are_in_the_order_of_their_bytes() {
    for base in both_in_english().await {
        let text = "key = 'key'\ncolumns = { key = 'text' }";
        let dataset = declare(&base.database, "things", text).await;
        let (base, epoch) = base.with_objects(1).await;
        let records = ["B", "a", "ä", "Z"].map(|id| format!(r#"{{"key":"{id}"}}"#));
        commit(&base, &epoch, &dataset, rows(&dataset, 1, &records)).await;
        let kind = if base.backend() == DbBackend::Sqlite { "group_concat" } else { "string_agg" };
        let sql =
            format!("SELECT {kind}(key, ',') AS ids FROM (SELECT key FROM things ORDER BY key) t");
        assert_eq!(base.text(&sql).await, "B,Z,a,ä");
        assert_eq!(json(&base, &dataset, "ä").await, r#"{"key":"ä"}"#);
    }
}

#[tokio::test]
async fn dropped_dataset_leaves_nothing_and_its_numbers_are_not_given_again() {
    let text = "key = 'id'\ncolumns = { id = 'bigint' }";
    for base in both().await {
        let first = declare(&base.database, "things", text).await;
        register(&base.ledger, 1).await;
        let things = [2, 3].map(|number| NewObject {
            dataset: "things".to_owned(),
            ..listed(&number.to_string(), number)
        });
        base.ledger.objects.register(&things).await.unwrap();
        let epoch = begin(&base.ledger, Mode::Shared, None, 1).await;
        let mut chunk = rows(&first, 2, &[r#"{"id":1}"#]);
        chunk.rejected.push(rejected_line(2, Reason::InvalidJson, "no", b"?"));
        commit(&base, &epoch, &first, chunk).await;
        assert_eq!(base.database.objects_of("things").await.unwrap(), Some(2));

        assert!(base.database.drop_dataset("things").await.unwrap());
        assert!(!base.database.drop_dataset("things").await.unwrap());
        assert_eq!(base.database.objects_of("things").await.unwrap(), None);
        assert_eq!(base.database.datasets().await.unwrap().names(), "products");
        for table in ["chunks", "rejected_lines"] {
            let left = base.number(&format!("SELECT COUNT(*) FROM {table}")).await;
            assert_eq!(left, Some(0), "{table}");
        }
        assert_eq!(base.object(1).await.dataset, "products");
        // The dedup store has its records under the epoch that was in force.
        assert!(!base.ledger.epochs.current().await.unwrap().unwrap().in_force);
        assert_eq!(base.ledger.objects.next().await.unwrap(), id(4));

        let second = declare(&base.database, "things", text).await;
        assert_eq!(second.declaration, first.declaration + 1);
        assert!(base.catalog.records(&second, vec![Key::Int(1)]).await.unwrap().is_empty());
        base.ledger.objects.register(&things).await.unwrap();
        assert_eq!(base.object(4).await.key, "2");
        base.run("UPDATE objects SET state = 'done'").await;
        base.run("DROP TABLE things").await;
        let changed = "key = 'id'\ncolumns = { id = 'bigint', name = 'text' }";
        let file = DeclarationFile::new("things", "declaration", changed).unwrap();
        let error = base.database.declare(&[file]).await.unwrap_err().to_string();
        assert!(error.contains("restore it, or run `jetline drop things`"), "{error}");
        base.database.drop_dataset("things").await.unwrap();
        base.database.drop_dataset("products").await.unwrap();
        assert_eq!(watermark(&base.ledger).await, 6);
    }
}
