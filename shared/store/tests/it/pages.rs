//! Records in the order of their keys, in pages.

use std::sync::Arc;

use jetline_core::Key;
use jetline_datasets::{Column, Dataset};
use jetline_store::{
    Catalog, Database,
    catalog::pages::{Filter, RecordPage},
};
use sea_orm::{ConnectionTrait, DbBackend};

use crate::fixtures::{TestDatabase, both, both_in_english, commit, declare, postgres, rows};

const ONE_MEBIBYTE: usize = 1 << 20;

/// A dataset with records of these JSON texts, which are committed in their order.
async fn stored(
    base: TestDatabase,
    declaration: &str,
    records: &[String],
) -> (TestDatabase, Arc<Dataset>) {
    let dataset = declare(&base.database, "things", declaration).await;
    let (base, epoch) = base.with_objects(1).await;
    commit(&base, &epoch, &dataset, rows(&dataset, 1, records)).await;
    (base, dataset)
}

fn column<'a>(dataset: &'a Dataset, name: &str) -> &'a Column {
    dataset.columns.iter().find(|column| column.name == name).unwrap()
}

/// A filter of columns by the texts of their values.
fn filter<'a>(dataset: &'a Dataset, values: &[(&str, &str)]) -> Filter<'a> {
    let values = values.iter().map(|(name, text)| {
        let column = column(dataset, name);
        (column, column.column_type.read_text(text).unwrap())
    });
    Filter { values: values.collect(), after: None }
}

fn keys(page: &RecordPage) -> Vec<String> {
    page.records.iter().map(|record| record.key.to_string()).collect()
}

/// All pages of a list.
async fn pages(
    catalog: &Catalog,
    dataset: &Dataset,
    mut filter: Filter<'_>,
    limit: u64,
) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    loop {
        let page = catalog.records_page(dataset, &filter, limit, ONE_MEBIBYTE).await.unwrap();
        pages.push(keys(&page));
        filter.after = page.records.last().map(|record| record.key.clone());
        if !page.has_more {
            return pages;
        }
    }
}

async fn list(base: &TestDatabase, dataset: &Dataset, filter: Filter<'_>) -> Vec<String> {
    pages(&base.catalog, dataset, filter, 2).await.concat()
}

#[tokio::test]
async fn every_record_is_on_one_page_in_the_order_of_keys() {
    let uuids = [
        "00000000-0000-0000-0000-000000000000",
        "00000000-0000-0000-0000-0000000000ff",
        "0a000000-0000-0000-0000-000000000000",
        "7fffffff-ffff-ffff-ffff-ffffffffffff",
        "80000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
    ];
    let integers = ["-9223372036854775808", "-10", "-9", "0", "9", "10", "9223372036854775807"];
    let texts =
        ["", " ", "%C3%A9", "10", "9", "A", "A b", "B", "_", "a", "a/b?c=d&e", "b", "\u{e4}"];
    let texts = [&texts[..], &["\u{e9}", "\u{ffff}", "\u{1f980}"]].concat();
    for (of, sorted) in [("bigint", &integers[..]), ("text", &texts), ("uuid", &uuids)] {
        let declaration = format!("key = 'key'\ncolumns = {{ key = '{of}' }}");
        let record = |key: &&str| match of {
            "bigint" => format!(r#"{{"key":{key}}}"#),
            _ => format!(r#"{{"key":"{key}"}}"#),
        };
        let records: Vec<String> = sorted.iter().rev().map(record).collect();
        for base in both_in_english().await {
            let (base, dataset) = stored(base, &declaration, &records).await;
            for limit in [1, 2, sorted.len() - 1, sorted.len(), 1_000] {
                let pages = pages(&base.catalog, &dataset, Filter::default(), limit as u64).await;
                assert_eq!(pages.len(), sorted.len().div_ceil(limit), "{of}: {pages:?}");
                assert_eq!(pages.concat(), sorted, "{of} in pages of {limit}");
            }
        }
    }
}

#[tokio::test]
async fn list_of_an_empty_table_is_one_empty_page() {
    for base in both().await {
        let (base, dataset) = stored(base, "key = 'key'\ncolumns = { key = 'uuid' }", &[]).await;
        let none: Vec<Vec<String>> = vec![Vec::new()];
        assert_eq!(pages(&base.catalog, &dataset, Filter::default(), 1).await, none);
    }
}

#[tokio::test]
async fn dataset_may_have_any_name_of_the_statement() {
    for base in both().await {
        for name in ["record", "measured", "placed"] {
            let text = "key = 'key'\ncolumns = { key = 'bigint' }";
            let dataset = declare(&base.database, name, text).await;
            let found = pages(&base.catalog, &dataset, Filter::default(), 1).await;
            assert_eq!(found, [Vec::<String>::new()], "{name}");
            let now = if base.backend() == DbBackend::Sqlite {
                "'2026-11-26T12:00:00Z'"
            } else {
                "now()"
            };
            let insert = format!(
                "INSERT INTO {name} (key, jetline_fingerprint, jetline_position, jetline_changed_at) VALUES (7, '{:0>16}', 1, {now})",
                0
            );
            base.run(&insert).await;
            let found = pages(&base.catalog, &dataset, Filter::default(), 1).await;
            assert_eq!(found, [["7"]], "{name}");
        }
    }
}

#[tokio::test]
async fn record_that_is_inserted_between_pages_changes_no_other_place() {
    let record = |key: i64| format!(r#"{{"key":{key}}}"#);
    for base in both().await {
        let declaration = "key = 'key'\ncolumns = { key = 'bigint' }";
        let records = [10, 20, 30, 40].map(record);
        let dataset = declare(&base.database, "things", declaration).await;
        let (base, epoch) = base.with_objects(2).await;
        commit(&base, &epoch, &dataset, rows(&dataset, 1, &records)).await;
        let mut filter = Filter::default();
        let page = base.catalog.records_page(&dataset, &filter, 2, ONE_MEBIBYTE).await.unwrap();
        assert_eq!((keys(&page), page.has_more), (vec!["10".to_owned(), "20".to_owned()], true));

        let between = [5, 15, 25, 50].map(record);
        commit(&base, &epoch, &dataset, rows(&dataset, 2, &between)).await;
        filter.after = Some(Key::Int(20));
        let rest = pages(&base.catalog, &dataset, filter, 2).await;
        assert_eq!(rest, [vec!["25", "30"], vec!["40", "50"]]);
    }
}

const FILTERED: &str = r#"
key = "key"

[columns]
key = { type = "text", index = true }
text = { type = "text", index = true, optional = true }
bigint = { type = "bigint", index = true, optional = true }
numeric = { type = "numeric", index = true, optional = true }
double = { type = "double", index = true, optional = true }
boolean = { type = "boolean", index = true, optional = true }
date = { type = "date", index = true, optional = true }
timestamp = { type = "timestamp", index = true, optional = true }
uuid = { type = "uuid", index = true, optional = true }
"#;

/// In two records, one of which has only these values; the third has others, the fourth none.
fn filtered() -> Vec<String> {
    let values = r#""text":"x","bigint":-7,"numeric":1.10,"double":0.1,"boolean":false,"date":"1969-12-31","timestamp":"2026-11-26T13:00:00.5+01:00","uuid":"6BA7B810-9dad-11d1-80b4-00c04fd430c8""#;
    let others = r#""text":"X","bigint":7,"numeric":1.11,"double":0.2,"boolean":true,"date":"1970-01-01","timestamp":"2026-11-26T12:00:00Z","uuid":"6ba7b810-9dad-11d1-80b4-00c04fd430c9""#;
    [("b", values), ("a", values), ("c", others)]
        .map(|(key, values)| format!(r#"{{"key":"{key}",{values}}}"#))
        .into_iter()
        .chain([r#"{"key":"d"}"#.to_owned()])
        .collect()
}

#[tokio::test]
async fn records_are_filtered_by_values_of_every_type() {
    for base in both().await {
        let (base, dataset) = stored(base, FILTERED, &filtered()).await;
        for (name, value, other) in [
            ("text", "x", "X"),
            ("bigint", "-7", "7"),
            ("numeric", "1.1", "1.110"),
            ("double", "1e-1", "0.2"),
            ("boolean", "false", "true"),
            ("date", "1969-12-31", "1970-01-01"),
            ("timestamp", "2026-11-26T12:00:00.500Z", "2026-11-26T12:00:00Z"),
            (
                "uuid",
                "6ba7b810-9DAD-11d1-80b4-00c04fd430c8",
                "6ba7b810-9dad-11d1-80b4-00c04fd430c9",
            ),
        ] {
            let list =
                async |value| list(&base, &dataset, filter(&dataset, &[(name, value)])).await;
            assert_eq!(list(value).await, ["a", "b"], "{name}");
            assert_eq!(list(other).await, ["c"], "{name}");
        }
        assert_eq!(list(&base, &dataset, filter(&dataset, &[("key", "d")])).await, ["d"]);
        assert!(list(&base, &dataset, filter(&dataset, &[("text", "")])).await.is_empty());
    }
}

#[tokio::test]
async fn record_that_is_listed_has_all_values_of_the_filter() {
    for base in both().await {
        let records: Vec<String> = (0..30)
            .map(|n| format!(r#"{{"key":"{n:02}","bigint":{},"boolean":{}}}"#, n % 3, n % 2 == 0))
            .collect();
        let (base, dataset) = stored(base, FILTERED, &records).await;
        let both = filter(&dataset, &[("bigint", "1"), ("boolean", "true")]);
        assert_eq!(list(&base, &dataset, both.clone()).await, ["04", "10", "16", "22", "28"]);
        let after = Filter { after: Some(Key::Text("10".to_owned())), ..both };
        assert_eq!(list(&base, &dataset, after).await, ["16", "22", "28"]);
        let none = filter(&dataset, &[("bigint", "1"), ("boolean", "true"), ("text", "x")]);
        assert!(list(&base, &dataset, none).await.is_empty());
    }
}

#[tokio::test]
async fn page_ends_after_the_requested_bytes_and_has_at_least_one_record() {
    let record = |key: i64| {
        format!(
            r#"{{"key":{key},"text":"{}","json":{{"a":"{}"}}}}"#,
            "\u{e4}".repeat(500),
            "x".repeat(992)
        )
    };
    let declaration = "key = 'key'\ncolumns = { key = 'bigint', text = 'text', json = 'json' }";
    // The text, the JSON with its field that is kept, and a constant.
    let each = 1_000 + 1_000 + 100;
    for base in both().await {
        let records = [1, 2, 3, 4, 5].map(record);
        let (base, dataset) = stored(base, declaration, &records).await;
        for (bytes, limit, expected) in [
            (1, 10, (1, true)),
            (each - 10, 10, (1, true)),
            (each + 10, 10, (2, true)),
            (each * 3 + 100, 10, (4, true)),
            (each * 4 + 100, 10, (5, false)),
            (each * 9, 3, (3, true)),
            (each * 9, 5, (5, false)),
        ] {
            let page = base.catalog.records_page(&dataset, &Filter::default(), limit, bytes).await;
            let page = page.unwrap();
            assert_eq!((page.records.len(), page.has_more), expected, "{bytes} {limit}");
        }
    }
}

#[tokio::test]
async fn filtered_page_reads_only_its_own_rows() {
    let records: Vec<String> =
        (0..3_000).map(|n| format!(r#"{{"key":"{n:04}","bigint":{}}}"#, n % 100)).collect();
    let (base, dataset) = stored(postgres().await, FILTERED, &records).await;
    base.run("ANALYZE things").await;
    // One connection: its statistics are complete, and its statement is planned for any values after some times.
    let database = Database::connect(&base.url, 1).await.unwrap();
    let catalog = Catalog::new(&database);
    let fetched = "SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'things'";
    let before = base.number(fetched).await.unwrap();
    for customer in 0..10 {
        let filter = filter(&dataset, &[("bigint", &customer.to_string())]);
        assert_eq!(pages(&catalog, &dataset, filter, 5).await.len(), 6);
    }
    let flush = "SELECT pg_stat_force_next_flush()";
    database.connection().execute_unprepared(flush).await.unwrap();
    // The rows of a page and the next one are measured, and those of the page are read.
    let fetched = base.number(fetched).await.unwrap() - before;
    assert!((10 * 6 * 5..=10 * (6 * 5 * 2 + 5)).contains(&fetched), "{fetched}");
}
