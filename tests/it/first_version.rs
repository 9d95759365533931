//! A database that the first version of the schema filled is migrated, and goes on.

use std::fs;

use jetline_oracle::fold;
use sea_orm::ConnectionTrait;

use crate::{
    deployment::{finish, succeeded},
    standalone::{Home, samples},
};

/// The two files that are in the database.
fn loaded_files() -> [String; 2] {
    let samples = fs::read_to_string(samples().join("products-1.jsonl")).unwrap();
    let line: Vec<&str> = samples.lines().take(5).collect();
    let first = [line[0], line[1], line[2], line[3], "{\"id\": 0}"];
    let cheaper = line[0].replace("856.09", "1.25");
    let second = [&cheaper, line[1], line[4], line[4]];
    [first.join("\n") + "\n", second.join("\n") + "\n"]
}

#[tokio::test]
async fn database_of_the_first_version_goes_on() {
    let home = Home::new();
    let [first, second] = loaded_files();
    let third = second.replace("1.25", "2.5");
    let url = format!("sqlite://{}?mode=rwc", home.folder.path().join("jetline.db").display());
    let old = sea_orm::Database::connect(url).await.unwrap();
    let root = home.folder.path().join("samples").canonicalize().unwrap();
    let dump = include_str!("first_version.sql").replace("/ROOT", &root.display().to_string());
    old.execute_unprepared(&dump).await.unwrap();
    old.close().await.unwrap();
    // New versions of the files that were loaded, and a new file.
    for (second, (name, content)) in
        (3..).zip([("a.jsonl", &first), ("b.jsonl", &second), ("c.jsonl", &third)])
    {
        home.put(name, second, content.as_bytes());
    }
    succeeded(finish(home.start(&["--exit"])));
    let all =
        [&first, &second, &first, &second, &third].map(|content| content.clone().into_bytes());
    home.ledger().await.assert_holds(&fold(&all)).await;
    let output = succeeded(finish(home.start(&["--exit"])));
    assert!(output.contains("Nothing new: all 3"), "{output}");
}
