//! The ledger's entries of objects that are gone.

use std::time::Duration;

use jetline_fetcher::Keep;
use sea_orm::{ConnectionTrait, DbBackend, Statement};

use crate::scene::{BUCKET, Scene, lines};

const ROOMY: u32 = 1 << 20;

async fn entries(scene: &Scene) -> Vec<(i64, String)> {
    let sql = Statement::from_string(DbBackend::Sqlite, "SELECT id, key FROM objects ORDER BY id");
    let rows = scene.ledger.database().connection().query_all_raw(sql).await.unwrap();
    let entry = |row: &sea_orm::QueryResult| {
        (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap())
    };
    rows.iter().map(entry).collect()
}

fn named(entries: &[(i64, &str)]) -> Vec<(i64, String)> {
    entries.iter().map(|(id, key)| (*id, (*key).to_owned())).collect()
}

#[tokio::test]
async fn entries_of_versions_that_no_source_has_are_removed() {
    let mut scene = Scene::new(ROOMY).await;
    for key in ["a.jsonl", "b.jsonl", "c.jsonl", "d.txt"] {
        scene.s3.put(BUCKET, key, lines(10));
    }
    scene.settings.source = vec![format!("s3://{BUCKET}/*").parse().unwrap()];
    scene.spawn_writer();
    scene.fetch().await;
    let all = [(1, "a.jsonl"), (2, "b.jsonl"), (3, "c.jsonl"), (4, "d.txt")];
    assert_eq!(entries(&scene).await, named(&all));

    scene.s3.delete(BUCKET, "a.jsonl");
    scene.s3.put(BUCKET, "b.jsonl", lines(20));
    // The last one is not listed any more, and exists.
    scene.settings.source = vec![format!("s3://{BUCKET}/*.jsonl").parse().unwrap()];
    scene.fetch().await;
    let with_new = [&all[..], &[(5, "b.jsonl")]].concat();
    assert_eq!(entries(&scene).await, named(&with_new));

    scene.settings.keep_objects = Keep::For(Duration::from_hours(1));
    scene.fetch().await;
    assert_eq!(entries(&scene).await, named(&with_new));
    scene.settings.keep_objects = Keep::For(Duration::ZERO);
    scene.fetch().await;
    assert_eq!(entries(&scene).await, named(&[(3, "c.jsonl"), (4, "d.txt"), (5, "b.jsonl")]));

    // A source in which there is nothing may be a disk that is not mounted.
    scene.settings.source = vec![format!("s3://{BUCKET}").parse().unwrap()];
    for key in ["b.jsonl", "c.jsonl", "d.txt"] {
        scene.s3.delete(BUCKET, key);
    }
    scene.fetch().await;
    assert_eq!(entries(&scene).await.len(), 3);
}
