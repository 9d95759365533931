//! Datasets with text ids, versions and nullable columns; and the plans of their queries.

use std::sync::Arc;

use jetline_core::{Counts, Epoch, Key};
use jetline_datasets::{Dataset, Value, parse};
use jetline_store::{ChunkRows, Database};
use sea_orm::ConnectionTrait;

use crate::fixtures::{
    NO_COUNTS, TestDatabase, both, chunk, commit, declare, if_changed, postgres, products, rows,
};

/// Places, with a column whose name the upsert also uses.
const PLACES: &str = r#"
key = "name"
version = "revision"
unknown = "ignore"

[columns]
name = "text"
chunk = { type = "text", optional = true }
people = { type = "bigint", optional = true }
height = { type = "numeric", optional = true }
capital = { type = "boolean", optional = true }
revision = "bigint"
"#;

fn dataset() -> Arc<Dataset> {
    Arc::new(parse("places", "places.toml", PLACES).unwrap())
}

/// A place.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    name: String,
    chunk: Option<String>,
    people: Option<i64>,
    height: Option<&'static str>,
    capital: Option<bool>,
    revision: i64,
}

async fn create_places(base: &TestDatabase) {
    declare(&base.database, "places", PLACES).await;
}

fn place(name: &str, revision: i64) -> Place {
    Place {
        name: name.to_owned(),
        chunk: Some("text".to_owned()),
        people: Some(-1),
        height: Some("0.10"),
        capital: Some(true),
        revision,
    }
}

fn bare(name: &str, revision: i64) -> Place {
    Place { chunk: None, people: None, height: None, capital: None, ..place(name, revision) }
}

impl Place {
    fn json(&self) -> String {
        let Self { people, height, capital, revision, .. } = self;
        let text = |text: &Option<String>| serde_json::to_string(text).unwrap();
        let null = || "null".to_owned();
        format!(
            r#"{{"name":{},"chunk":{},"people":{},"height":{},"capital":{},"revision":{revision}}}"#,
            text(&Some(self.name.clone())),
            text(&self.chunk),
            people.map_or_else(null, |people| people.to_string()),
            height.unwrap_or("null"),
            capital.map_or_else(null, |capital| capital.to_string()),
        )
    }

    fn values(&self) -> Vec<Value> {
        dataset().parse_json(self.json().as_bytes()).unwrap().values
    }
}

fn places(object: i64, places: &[Place]) -> ChunkRows {
    rows(&dataset(), object, &places.iter().map(Place::json).collect::<Vec<_>>())
}

async fn counts(base: &TestDatabase, epoch: &Epoch, chunk: ChunkRows) -> Counts {
    commit(base, epoch, &dataset(), chunk).await
}

async fn stored(base: &TestDatabase, name: &str) -> Vec<Value> {
    let found = base.catalog.records(&dataset(), vec![Key::Text(name.to_owned())]).await;
    found.unwrap().remove(0).values
}

#[tokio::test]
async fn null_columns_and_any_text_are_stored_exactly() {
    for base in both().await {
        create_places(&base).await;
        let (base, epoch) = base.with_objects(2).await;
        let names = ["a", "Zürich", "O'Hare \"1\"", "{x,NULL}", "", "\\", "🦀", "12", "\u{1}\n"];
        let mut all: Vec<Place> = names.iter().map(|name| place(name, 1)).collect();
        all[0] = bare("a", 1);
        all[3] =
            Place { chunk: Some(String::new()), people: Some(i64::MIN), ..bare("{x,NULL}", 1) };
        let inserted = counts(&base, &epoch, places(1, &all)).await;
        assert_eq!(inserted.inserted, names.len() as u64);
        for place in &all {
            assert_eq!(stored(&base, &place.name).await, place.values());
        }
        // Columns become NULL and not NULL; one statement has only NULLs.
        let mut swapped: Vec<Place> = names.iter().map(|name| place(name, i64::MAX)).collect();
        swapped[1] = bare("Zürich", 2);
        let changed = counts(&base, &epoch, places(2, &swapped)).await;
        assert_eq!(changed.updated, names.len() as u64);
        for place in &swapped {
            assert_eq!(stored(&base, &place.name).await, place.values());
        }
    }
}

#[tokio::test]
async fn columns_that_are_null_in_every_row_are_written() {
    for base in both().await {
        create_places(&base).await;
        let (base, epoch) = base.with_objects(1).await;
        let all = [bare("a", 1), bare("b", 1)];
        assert_eq!(counts(&base, &epoch, places(1, &all)).await.inserted, 2);
        assert_eq!(stored(&base, "b").await, all[1].values());
    }
}

#[tokio::test]
async fn higher_version_wins_over_a_later_line() {
    for base in both().await {
        create_places(&base).await;
        let (base, epoch) = base.with_objects(6).await;
        counts(&base, &epoch, places(3, &[place("a", 5)])).await;
        let superseded = Counts { superseded: 1, ..NO_COUNTS };
        let later = counts(&base, &epoch, places(4, &[bare("a", 4)])).await;
        assert_eq!(later, superseded);
        let earlier = counts(&base, &epoch, places(2, &[bare("a", 5)])).await;
        assert_eq!(earlier, superseded);
        let unchanged = counts(&base, &epoch, if_changed(places(5, &[place("a", 5)]))).await;
        assert_eq!(unchanged.unchanged, 1);
        let higher = counts(&base, &epoch, if_changed(places(1, &[bare("a", 6)]))).await;
        assert_eq!(higher.updated, 1);
        assert_eq!(stored(&base, "a").await, bare("a", 6).values());
        let negative = counts(&base, &epoch, places(6, &[place("b", i64::MIN)])).await;
        assert_eq!(negative.inserted, 1);
    }
}

#[tokio::test]
async fn rows_are_looked_up_by_index_however_the_table_grows() {
    let (base, epoch) = postgres().await.with_objects(1).await;
    // One connection: the statement that was prepared on an empty table runs on a full one.
    let database = Database::connect(&base.url, 1).await.unwrap();
    let one = jetline_store::Ledger::new(&database, chrono::Utc::now);
    for part in 0..12 {
        let first = i64::from(part) * 250 + 1;
        let ids: Vec<_> = (first..first + 500).map(|id| (id, "a")).collect();
        let chunk = chunk(1, part * 500, &ids);
        one.chunks.commit(epoch.id, &products(), vec![chunk]).await.unwrap();
    }
    let flush = "SELECT pg_stat_force_next_flush()";
    database.connection().execute_unprepared(flush).await.unwrap();
    let scans = |kind: &str| {
        format!("SELECT {kind}::bigint FROM pg_stat_user_tables WHERE relname = 'products'")
    };
    assert_eq!(base.number(&scans("seq_scan")).await, Some(0));
    assert!(base.number(&scans("idx_scan")).await.unwrap() >= 12 * 500);
    let rows = base.number("SELECT COUNT(*) FROM products").await;
    assert_eq!(rows, Some(3_250));
}

#[tokio::test]
async fn server_jit_compiles_no_statement() {
    let base = postgres().await;
    let jit = "SELECT COUNT(*) FROM pg_settings WHERE (name, setting) IN (('jit', 'off'), ('enable_seqscan', 'off'))";
    assert_eq!(base.number(jit).await, Some(2));
}

/// They travel to the server in another way.
#[tokio::test]
async fn search_for_refused_rows_writes_the_values_of_the_commit() {
    let base = postgres().await;
    create_places(&base).await;
    let (base, epoch) = base.with_objects(1).await;
    let mut all = vec![bare("a", 1), bare("{x,NULL}", i64::MAX), place("\"', \\ 🦀", 1)];
    all[1].people = Some(i64::MIN);
    all[2].height = Some("-7922816251426433759354395.0335");
    let rows = places(1, &all);
    counts(&base, &epoch, rows.clone()).await;
    base.run(
        "CREATE TABLE written AS SELECT name, chunk, people, height, capital, revision, jetline_fingerprint, jetline_position FROM places;
         TRUNCATE places;
         CREATE FUNCTION compare() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
             IF NOT EXISTS (SELECT FROM written w WHERE w IS NOT DISTINCT FROM ROW(new.name, new.chunk, new.people,
                     new.height, new.capital, new.revision, new.jetline_fingerprint, new.jetline_position)::written)
                 THEN RAISE ''another row: %'', new; END IF;
             RETURN new; END';
         CREATE TRIGGER compare BEFORE INSERT ON places FOR EACH ROW EXECUTE FUNCTION compare()",
    )
    .await;
    let refused = base.ledger.chunks.refused(&dataset(), rows.rows).await.unwrap();
    assert_eq!(refused, []);
    base.run("DELETE FROM written WHERE name = 'a'").await;
    let refused = base.ledger.chunks.refused(&dataset(), places(1, &all).rows).await;
    assert_eq!(refused.unwrap().len(), 1);
}
