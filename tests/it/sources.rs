//! What is taken from a source.

use jetline_oracle::{catalogue::lines, fold};
use jetline_testkit::process::Signal;

use crate::{
    deployment::{finish, succeeded},
    standalone::Home,
};

#[tokio::test]
async fn other_extensions_in_a_directory_are_skipped_and_named_once() {
    let home = Home::new();
    let contents = [lines(1, 30, 30), lines(2, 30, 30), lines(3, 30, 30)];
    home.put("a.jsonl", 0, &contents[0]);
    home.put("README.md", 1, b"# Read me\n");
    home.put("data", 2, &contents[2]);
    let watching = home.start(&["--watch", "100ms"]);
    home.loaded(1).await;
    home.put("b.json", 3, &contents[1]);
    home.loaded(2).await;
    watching.signal(Signal::INT);
    let output = succeeded(finish(watching));
    for name in ["README.md", "data"] {
        let named = format!("/{name}: only names in .jsonl, .ndjson, .json,");
        let named: Vec<&str> = output.lines().filter(|line| line.contains(&named)).collect();
        assert_eq!(named.len(), 2, "a warning and the summary: {output}");
        assert!(named[0].contains("WARN") && named[1].starts_with("Skipped: "), "{output}");
    }
    succeeded(finish(home.start(&["--exit", "--source", "samples/data"])));
    home.ledger().await.assert_holds(&fold(&contents)).await;
}
