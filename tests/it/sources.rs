//! What is taken from a source, files as arguments, and the dataset that each of them has.

use std::fs;

use jetline_oracle::{catalogue::lines, fold};
use jetline_testkit::http;

use crate::{
    deployment::{failed, finish, interrupt, succeeded},
    standalone::Home,
};

const TICKETS: &str = "key = \"id\"\n[columns]\nid = \"bigint\"\n";

/// A home with these files in its directory, besides `samples`.
fn home_with(files: &[(&str, &str)]) -> Home {
    let home = Home::new();
    for (name, content) in files {
        let path = home.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    home
}

/// The keys of the objects, with their datasets.
async fn datasets(home: &Home) -> Vec<String> {
    let sql = "SELECT key || ' ' || dataset AS text FROM objects ORDER BY key";
    home.ledger().await.texts(sql).await.unwrap()
}

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
    let output = succeeded(interrupt(watching));
    for name in ["README.md", "data"] {
        let named = format!("/{name}: only names in .jsonl, .ndjson, .json,");
        let named: Vec<&str> = output.lines().filter(|line| line.contains(&named)).collect();
        assert_eq!(named.len(), 2, "a warning and the summary: {output}");
        assert!(named[0].contains("WARN") && named[1].starts_with("Skipped: "), "{output}");
    }
    succeeded(finish(home.start(&["--exit", "--source", "samples/data"])));
    home.ledger().await.assert_holds(&fold(&contents)).await;
}

#[tokio::test]
async fn files_as_arguments_replace_the_sources_and_are_of_the_datasets_of_their_names() {
    let home = home_with(&[
        ("datasets/orders.toml", TICKETS),
        ("datasets/tickets.toml", TICKETS),
        ("orders.json", "{\"id\":1}\n"),
        ("in/tickets.ndjson", "{\"id\":2}\n"),
        ("others=.jsonl", "{\"id\":3}\n"),
    ]);
    let files = ["--exit", "orders.json", "in/tickets.ndjson", "orders=./others=.jsonl"];
    let mut command = home.command(&files);
    command.env("SOURCE", "nowhere");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = ["orders.json orders", "others=.jsonl orders", "tickets.ndjson tickets"];
    assert_eq!(datasets(&home).await, expected);
    let ids = "SELECT CAST(id AS text) AS text FROM orders ORDER BY id";
    assert_eq!(home.ledger().await.texts(ids).await.unwrap(), ["1", "3"]);

    // DATASET is a name that is given, too; and a file with another name needs one.
    fs::write(home.folder.path().join("new.jsonl"), "{\"id\":4}\n").unwrap();
    let output = failed(finish(home.start(&["--exit", "new.jsonl"])));
    assert!(output.contains("new.jsonl: the dataset new is not declared"), "{output}");
    assert!(output.contains("NAME=new.jsonl; there are: orders, tickets"), "{output}");
    succeeded(finish(home.start(&["--exit", "--dataset", "tickets", "new.jsonl"])));
    assert_eq!(datasets(&home).await[0], "new.jsonl tickets");
}

#[tokio::test]
async fn file_of_an_undeclared_dataset_is_not_read_as_the_built_in_one() {
    let built_in = include_str!("../../datasets/products.toml");
    // As in a checkout of this repository, and as elsewhere.
    for declared in [&[("datasets/products.toml", built_in)][..], &[]] {
        let home = home_with(declared);
        for name in ["orders.jsonl", "my-orders.jsonl.gz", "products.jsonl"] {
            fs::write(home.folder.path().join(name), lines(1, 10, 10)).unwrap();
        }
        let output = failed(finish(home.start(&["--exit", "products.jsonl", "orders.jsonl"])));
        let mkdir = if declared.is_empty() { "mkdir datasets && " } else { "" };
        let message = format!(
            "orders.jsonl: the dataset orders is not declared: write datasets/orders.toml, or let \
             \"{mkdir}jetline infer orders.jsonl > datasets/orders.toml\" propose one"
        );
        assert!(output.contains(&message), "{output}");
        let output = failed(finish(home.start(&["--exit", "./my-orders.jsonl.gz"])));
        assert!(
            output.contains("name its dataset, as in my_orders=./my-orders.jsonl.gz"),
            "{output}"
        );
        let output = failed(finish(home.start(&["--exit", "order.jsonl"])));
        assert!(output.contains("order.jsonl: there is no such file or directory"), "{output}");
        assert_eq!(datasets(&home).await, [""; 0]);

        let files = ["--exit", "products.jsonl", "products=orders.jsonl"];
        succeeded(finish(home.start(&files)));
        let expected = ["orders.jsonl products", "products.jsonl products"];
        assert_eq!(datasets(&home).await, expected);
    }
}

#[tokio::test]
async fn files_as_arguments_exclude_the_flag_and_commands_keep_their_names() {
    let home = home_with(&[("replay", "{\"id\":1}\n"), ("datasets/notes.txt", "no declaration\n")]);
    home.put("a.jsonl", 0, &lines(1, 10, 10));
    let refused = |flags: &[&str], words: &str| {
        let output = home.command(flags).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {error}");
        assert!(error.contains(words), "{flags:?}: {error}");
    };
    refused(&["--source", "samples", "samples/a.jsonl"], "cannot be used with");
    refused(&["samples/a.jsonl", "replay"], "./replay");
    refused(&["reject"], "there is no such file, and no such command");
    succeeded(finish(home.start(&["--exit"])));
    assert_eq!(datasets(&home).await, ["a.jsonl products"]);
    let output = succeeded(finish(home.start(&["replay", "--object", "1", "--dry-run"])));
    assert!(output.contains("1 objects"), "{output}");
    let output = failed(finish(home.start(&["--exit", "./replay"])));
    assert!(output.contains("the dataset replay is not declared"), "{output}");
}

/// A file is not read as the only dataset that is declared, unless somebody says so.
#[tokio::test]
async fn file_of_another_dataset_is_not_read_as_the_only_one() {
    let home = home_with(&[
        ("datasets/shops.toml", "key = 'id'\ncolumns = { id = 'bigint' }"),
        ("shops.jsonl", "{\"id\":1}\n"),
        ("customers.jsonl", "{\"id\":1,\"email\":\"a\"}\n"),
    ]);
    for command in [&["--exit", "customers.jsonl"][..], &["check", "customers.jsonl"]] {
        let output = failed(finish(home.start(command)));
        let message = "customers.jsonl: the dataset customers is not declared";
        assert!(output.contains(message) && output.contains("there are: shops"), "{output}");
    }
    succeeded(finish(home.start(&["--exit", "shops.jsonl", "shops=customers.jsonl"])));
    assert_eq!(datasets(&home).await, ["customers.jsonl shops", "shops.jsonl shops"]);
    let status = || {
        let output = home.command(&["status"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(!status().contains("dataset"), "{}", status());
    succeeded(finish(home.start(&["--exit", "customers.jsonl", "--infer"])));
    let status = status();
    assert!(status.contains("  object           dataset    state  "), "{status}");
    assert!(status.contains("  customers.jsonl  customers  done  "), "{status}");
    assert!(status.contains("  customers.jsonl  shops      done  "), "{status}");
}

#[tokio::test]
async fn what_was_loaded_is_served_without_any_source() {
    let home = home_with(&[
        ("datasets/shops.toml", "key = 'id'\ncolumns = { id = 'bigint' }"),
        ("shops.jsonl", "{\"id\":1}\n"),
    ]);
    fs::remove_dir(home.folder.path().join("samples")).unwrap();
    let output = failed(finish(home.start(&[])));
    assert!(output.contains("there is nothing to load: give files"), "{output}");
    succeeded(finish(home.start(&["--exit", "shops.jsonl"])));
    fs::remove_file(home.folder.path().join("shops.jsonl")).unwrap();
    let output = failed(finish(home.start(&["replay", "--object", "1"])));
    assert!(output.contains("give the sources that the objects are in"), "{output}");
    let running = home.start(&[]);
    home.loaded(1).await;
    let answer = http::get(home.address, "/shops/1", &[]).await.unwrap();
    assert_eq!(answer.body, "{\"id\":1}\n");
    let output = succeeded(interrupt(running));
    assert!(output.contains("Nothing is loaded: no file is given"), "{output}");
    let output = failed(finish(home.start(&["--exit"])));
    assert!(output.contains("there is nothing to load: give files"), "{output}");
}
