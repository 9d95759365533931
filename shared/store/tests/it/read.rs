//! The queries of the API, on both databases.

use chrono::{DateTime, SubsecRound, Utc};
use jetline_core::Key;
use jetline_datasets::{Datasets, Reason};
use jetline_store::{
    catalog::{
        objects::Filter,
        rejects::{self, Cursor, Reject, RejectSummary, SHOWN_BYTES},
    },
    entities::{chunks, objects, rejected_lines},
};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, Set, Statement, Value};

use crate::fixtures::{both, declare, products};

fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}

/// A product, as the JSON of its line.
fn product(id: i64, price: &str) -> String {
    format!(
        r#"{{"id":{id},"title":"title {id}","price":{price},"category":"c","brand":"b","url":"u","description":"d"}}"#
    )
}

async fn store(db: &DatabaseConnection, product: &str, at: DateTime<Utc>) {
    let row = products().parse_json(product.as_bytes()).unwrap();
    let text = |at: usize| Value::from(row.values[at].to_text());
    let price = match db.get_database_backend() {
        DbBackend::Sqlite => "$3",
        _ => "$3::text::numeric",
    };
    let fingerprint = row.fingerprint.as_bytes().to_vec();
    let Key::Int(id) = row.key else { panic!("{row:?}") };
    let values = [id.into(), text(1), text(2), fingerprint.into(), at.into()];
    let sql = format!(
        "INSERT INTO products \
         (id, title, price, category, brand, url, description, jetline_fingerprint, jetline_position, jetline_changed_at) \
         VALUES ($1, $2, {price}, 'c', 'b', 'u', 'd', $4, 1, $5)"
    );
    let insert = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    db.execute_raw(insert).await.unwrap();
}

fn object(id: i64, state: objects::State) -> objects::ActiveModel {
    objects::ActiveModel {
        id: Set(id),
        incarnation: Set("r".to_owned()),
        dataset: Set("products".to_owned()),
        root: Set("s3://bucket".to_owned()),
        key: Set(format!("in/{id}.jsonl")),
        etag: Set("e".to_owned()),
        size: Set(1_000),
        last_modified: Set(now()),
        chunk_bytes: Set(100),
        max_line_bytes: Set(50),
        state: Set(state),
        folded_bytes: Set(100),
        inserted: Set(1),
        updated: Set(2),
        deleted: Set(6),
        unchanged: Set(3),
        superseded: Set(4),
        rejected: Set(5),
        registered_at: Set(now()),
        ..Default::default()
    }
}

fn chunk(object: i64, start: i64, state: chunks::State) -> chunks::ActiveModel {
    chunks::ActiveModel {
        object_id: Set(object),
        start_offset: Set(start),
        end_offset: Set(start + 10),
        first_line: Set(1),
        line_count: Set(5),
        state: Set(state),
        attempts: Set(0),
        inserted: Set(10),
        updated: Set(20),
        deleted: Set(60),
        unchanged: Set(30),
        superseded: Set(40),
        rejected: Set(50),
        blank: Set(0),
        outdone_by: Set(None),
        unknown_fields: Set(None),
        unclaimed: Set(false),
        committed_at: Set(now()),
    }
}

#[tokio::test]
async fn database_with_tables_is_ready_and_one_without_is_not() {
    for base in both().await {
        base.catalog.check(&Datasets::built_in().unwrap()).await.unwrap();
        base.run("DROP TABLE objects").await;
        assert!(base.catalog.check(&Datasets::built_in().unwrap()).await.is_err());
    }
}

#[tokio::test]
async fn records_are_found_by_their_ids_with_fingerprint_and_time() {
    for base in both().await {
        let (db, catalog) = (base.db(), &base.catalog);
        let at = now();
        let exact = product(2, "12345678901234567890.12345678");
        store(db, &product(1, "7072.16"), at).await;
        store(db, &exact, at).await;
        store(db, &product(i64::MAX, "0"), at).await;

        let keys = [2, 2, 7, i64::MAX].map(Key::Int).to_vec();
        let mut found = catalog.records(&products(), keys).await.unwrap();
        found.sort_by_key(|found| found.key.clone());
        let [second, last] = found.try_into().unwrap();
        let row = products().parse_json(exact.as_bytes()).unwrap();
        assert_eq!(second.fingerprint, row.fingerprint);
        assert_eq!(second.values, row.values);
        assert_eq!(second.changed_at, at);
        assert_eq!(last.key, Key::Int(i64::MAX));
    }
}

#[tokio::test]
async fn no_ids_find_no_records() {
    for base in both().await {
        let found = base.catalog.records(&products(), Vec::new()).await.unwrap();
        assert!(found.is_empty());
    }
}

#[tokio::test]
async fn counts_are_of_the_folded_the_committed_and_the_forgotten_chunks() {
    for base in both().await {
        let (db, catalog) = (base.db(), &base.catalog);
        objects::Entity::insert(object(1, objects::State::Reading)).exec(db).await.unwrap();
        objects::Entity::insert(object(2, objects::State::Done)).exec(db).await.unwrap();
        for (start, state) in [
            (0, chunks::State::Committed),
            (10, chunks::State::Forgotten),
            (20, chunks::State::Suspect),
            (30, chunks::State::Dead),
            (40, chunks::State::Committed),
        ] {
            chunks::Entity::insert(chunk(1, start, state)).exec(db).await.unwrap();
        }

        let open = catalog.object(1).await.unwrap().unwrap();
        assert_eq!(open.uri, "s3://bucket/in/1.jsonl");
        assert_eq!((open.bytes, open.committed_bytes), (1_000, 120));
        let counts = [
            open.inserted,
            open.updated,
            open.deleted,
            open.unchanged,
            open.superseded,
            open.rejected,
        ];
        assert_eq!(counts, [31, 62, 186, 93, 124, 155]);
        assert_eq!(open.lines(), counts.iter().sum::<i64>());

        let done = catalog.object(2).await.unwrap().unwrap();
        assert_eq!((done.lines(), done.committed_bytes), (21, 100));
        assert_eq!(catalog.object(3).await.unwrap(), None);
    }
}

#[tokio::test]
async fn objects_are_listed_in_order_by_state_dataset_and_page() {
    for base in both().await {
        let (db, catalog) = (base.db(), &base.catalog);
        for id in 1..=5 {
            let state = [objects::State::Done, objects::State::Failed][usize::from(id % 2 == 1)];
            objects::Entity::insert(object(id, state)).exec(db).await.unwrap();
        }
        let list = async |state, dataset: Option<&str>, after, limit| {
            let datasets = dataset.map(|name| vec![name.to_owned(), "none".to_owned()]);
            let filter = Filter { state, datasets, ..Filter::default() };
            let found = catalog.objects(&filter, after, limit).await.unwrap();
            found.iter().map(|object| object.id).collect::<Vec<_>>()
        };
        assert_eq!(list(None, None, None, 10).await, [1, 2, 3, 4, 5]);
        assert_eq!(list(None, None, Some(2), 2).await, [3, 4]);
        assert_eq!(list(Some(objects::State::Failed), None, Some(1), 10).await, [3, 5]);
        assert_eq!(list(None, Some("products"), Some(4), 10).await, [5]);
        assert!(list(None, Some("others"), None, 10).await.is_empty());
    }
}

#[tokio::test]
async fn rejected_lines_are_listed_in_order_by_object_and_page() {
    for base in both().await {
        let (db, catalog) = (base.db(), &base.catalog);
        for (object_id, line, reason) in
            [(2, 1, "invalid_utf8"), (1, 9, "invalid_utf8"), (1, 2, "wrong_type")]
        {
            let reject = rejected_lines::ActiveModel {
                object_id: Set(object_id),
                line: Set(line),
                byte_offset: Set(7),
                reason: Set(reason.to_owned()),
                message: Set("m".to_owned()),
                raw: Set(vec![0xff, 0, b'a']),
            };
            rejected_lines::Entity::insert(reject).exec(db).await.unwrap();
        }
        let list_only = async |filter: rejects::Filter, after, limit| {
            let page = catalog.rejects(&filter, after, limit, 1_000).await;
            let found = page.unwrap().rejects;
            assert!(found.iter().all(|reject| reject.raw == [0xff, 0, b'a']));
            found.iter().map(|reject| (reject.object_id, reject.line)).collect::<Vec<_>>()
        };
        let list = async |object, after, limit| {
            list_only(rejects::Filter { object, ..rejects::Filter::default() }, after, limit).await
        };
        let after = |object_id, line| Some(Cursor { object_id, line });
        assert_eq!(list(None, None, 10).await, [(1, 2), (1, 9), (2, 1)]);
        assert_eq!(list(None, after(1, 2), 1).await, [(1, 9)]);
        assert_eq!(list(Some(1), after(1, 2), 10).await, [(1, 9)]);
        assert_eq!(list(Some(2), None, 10).await, [(2, 1)]);
        assert!(list(Some(3), None, 10).await.is_empty());
        let mut filter =
            rejects::Filter { reason: Some(Reason::InvalidUtf8), ..rejects::Filter::default() };
        assert_eq!(list_only(filter.clone(), None, 1).await, [(1, 9)]);
        assert_eq!(list_only(filter.clone(), after(1, 9), 1).await, [(2, 1)]);
        filter.object = Some(1);
        assert_eq!(list_only(filter, None, 10).await, [(1, 9)]);
    }
}

#[tokio::test]
async fn list_of_rejected_lines_ends_after_the_requested_bytes() {
    for base in both().await {
        let (db, catalog) = (base.db(), &base.catalog);
        for line in 1..=5 {
            let reject = rejected_lines::ActiveModel {
                object_id: Set(1),
                line: Set(line),
                byte_offset: Set(7),
                reason: Set("r".to_owned()),
                message: Set("m".repeat(100)),
                raw: Set(vec![b'x'; 10_000]),
            };
            let inserted = rejected_lines::Entity::insert(reject).exec(db).await;
            inserted.unwrap();
        }
        // A line counts with its truncated bytes.
        let each = 100 + SHOWN_BYTES;
        for (bytes, limit, expected) in [
            (1, 10, (1, true)),
            (each, 10, (1, true)),
            (each + 1, 10, (2, true)),
            (each * 4, 10, (4, true)),
            (each * 4 + 1, 10, (5, false)),
            (each * 9, 3, (3, true)),
            (each * 9, 5, (5, false)),
        ] {
            let page = catalog.rejects(&rejects::Filter::default(), None, limit, bytes).await;
            let page = page.unwrap();
            assert_eq!((page.rejects.len(), page.has_more), expected, "{bytes} {limit}");
            let cut = |reject: &Reject| {
                (reject.raw.len(), reject.raw_bytes, reject.is_truncated())
                    == (SHOWN_BYTES, 10_000, true)
            };
            assert!(page.rejects.iter().all(cut));
        }
        let at = Cursor { object_id: 1, line: 3 };
        assert!(catalog.reject(at, None).await.unwrap().unwrap().is_truncated());
        let raw = catalog.rejected_bytes(at).await.unwrap();
        assert_eq!(raw, Some(vec![b'x'; 10_000]));
        let nowhere = Cursor { object_id: 1, line: 9 };
        assert_eq!(catalog.reject(nowhere, None).await.unwrap(), None);
        assert_eq!(catalog.rejected_bytes(nowhere).await.unwrap(), None);
    }
}

#[tokio::test]
async fn records_come_in_parts_of_the_requested_bytes_in_the_order_of_their_ids() {
    for base in both().await {
        let (db, catalog) = (base.db(), &base.catalog);
        for id in 1..=4 {
            store(db, &product(id, "1"), now()).await;
        }
        let long = "d".repeat(1_000);
        base.run(&format!("UPDATE products SET description = '{long}'")).await;
        for (ids, bytes, expected, answered) in [
            (&[4, 9, 2, 4, 1][..], 10_000, &[4, 2, 4, 1][..], 5),
            (&[4, 9, 2, 4, 1], 1, &[4], 1),
            (&[9, 4, 2], 1, &[4], 2),
            (&[4, 9, 2, 4, 1], 1_200, &[4, 2], 3),
            (&[9, 8], 1, &[], 2),
            (&[], 1, &[], 0),
        ] {
            let keys = |ids: &[i64]| ids.iter().copied().map(Key::Int).collect::<Vec<_>>();
            let part = catalog.records_part(&products(), &keys(ids), bytes).await.unwrap();
            let found: Vec<Key> = part.found.into_iter().map(|found| found.key).collect();
            assert_eq!((found, part.keys), (keys(expected), answered), "{ids:?}");
        }
    }
}

#[tokio::test]
async fn records_are_found_by_text_ids_whatever_is_in_them() {
    for base in both().await {
        let (db, catalog) = (base.db(), &base.catalog);
        let cities =
            "key = 'id'\ncolumns = { id = 'text', country = { type = 'text', optional = true } }";
        let cities = declare(&base.database, "cities", cities).await;
        let ids = ["a", "Zürich", "O'Hare \"1\"", "{x,y}", "", "\\"].map(str::to_owned);
        for id in &ids {
            let values = [id.clone().into(), vec![7_u8; 16].into(), now().into()];
            let sql = "INSERT INTO cities (id, jetline_fingerprint, jetline_changed_at, jetline_position) VALUES ($1, $2, $3, 1)";
            let insert = Statement::from_sql_and_values(base.backend(), sql, values);
            db.execute_raw(insert).await.unwrap();
        }
        let mut keys = ids.map(Key::Text).to_vec();
        let asked = [&keys[..], &[Key::Text("b".to_owned())]].concat();
        let part = catalog.records_part(&cities, &asked, 10_000).await.unwrap();
        assert!(part.found.into_iter().map(|found| found.key).eq(keys.clone()));
        let found = catalog.records(&cities, asked).await.unwrap();
        let mut found: Vec<_> = found.into_iter().map(|found| found.key).collect();
        keys.sort();
        found.sort();
        assert_eq!(found, keys);
    }
}

#[tokio::test]
async fn rejected_lines_of_each_object_are_counted_by_reason_and_the_first_is_shown() {
    for base in both().await {
        let (db, catalog) = (base.db(), &base.catalog);
        let lines = [(1, 9, "a"), (1, 7, "b"), (1, 8, "a"), (2, 3, "c"), (3, 1, "a")];
        let rows = lines.map(|(object, line, reason)| rejected_lines::ActiveModel {
            object_id: Set(object),
            line: Set(line),
            byte_offset: Set(0),
            reason: Set(reason.to_owned()),
            message: Set(format!("{line} {}", "ä".repeat(300))),
            raw: Set(Vec::new()),
        });
        let insert = rejected_lines::Entity::insert_many(rows);
        insert.exec_without_returning(db).await.unwrap();
        let found = catalog.reject_summaries(&[1, 2, 4]).await.unwrap();
        assert_eq!(found.len(), 2);
        let expected = RejectSummary {
            reasons: vec![("a".to_owned(), 2), ("b".to_owned(), 1)],
            line: 7,
            reason: "b".to_owned(),
            message: format!("7 {}", "ä".repeat(198)),
        };
        assert_eq!(found[&1], expected);
        assert_eq!(found[&2].reasons, [("c".to_owned(), 1)]);
        assert!(catalog.reject_summaries(&[]).await.unwrap().is_empty());
    }
}
