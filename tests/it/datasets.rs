//! Files of datasets that are declared, without Rust.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    os::unix::ffi::OsStrExt,
    process::{Child, Stdio},
};

use jetline_testkit::{http, process::Signal};
use rustix::{
    process::{Pid, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

use crate::{
    deployment::{failed, finish, interrupt, succeeded},
    standalone::Home,
    wait::until,
};

const ORDERS: &str = r#"
key = "order_id"
version = "updated_at"

[columns]
order_id = "text"
customer = { type = "bigint", path = "/customer/id", index = true }
total = { type = "numeric", minimum = 0 }
status = { type = "text", enum = ["open", "paid", "sent"] }
email = { type = "text", format = "email", optional = true }
updated_at = "timestamp"
lines = "json"
"#;

const FIRST: &str = r#"{"order_id":"A-1","customer":{"id":7,"name":"Ada"},"total":19.90,"status":"open","updated_at":"2026-11-26T12:00:00Z","lines":[]}
{"order_id":"A 2/ä","customer":{"id":8},"total":5,"status":"paid","updated_at":"2026-11-26T12:00:01Z","lines":[{"sku":1}],"gift":true}
{"order_id":"A-3","customer":{"id":8},"total":-5,"status":"paid","updated_at":"2026-11-26T12:00:01Z","lines":[]}
"#;

fn home(declaration: &str) -> Home {
    let home = Home::new();
    fs::write(home.folder.path().join("orders.toml"), declaration).unwrap();
    home
}

async fn get(home: &Home, path: &str) -> (u16, String) {
    let answer = http::get(home.address, path, &[]).await.unwrap();
    (answer.status, answer.body)
}

#[tokio::test]
async fn file_of_a_declared_dataset_is_loaded_and_served() {
    let home = home(ORDERS);
    home.put("orders.jsonl", 1, FIRST.as_bytes());
    let flags = ["--datasets", "orders.toml"];
    let running = home.start(&flags);
    home.loaded(1).await;
    let second = r#"{"order_id":"A 2/ä","customer":{"id":8},"total":5,"status":"paid","email":null,"updated_at":"2026-11-26T12:00:01Z","lines":[{"sku":1}],"gift":true}"#;
    let path = "/orders/A%202%2F%C3%A4";
    assert_eq!(get(&home, path).await, (200, format!("{second}\n")));
    let (status, both) = get(&home, "/orders?id=A-1&id=A%202%2F%C3%A4").await;
    assert_eq!(status, 200);
    let first = r#"{"order_id":"A-1","customer":{"id":7,"name":"Ada"},"total":19.9,"status":"open","email":null,"updated_at":"2026-11-26T12:00:00Z","lines":[]}"#;
    assert_eq!(both, format!("[{first},{second}]\n"));
    let (_, rejects) = get(&home, "/rejects").await;
    assert!(rejects.contains("total must be at least 0"), "{rejects}");
    assert_eq!(get(&home, "/products/1").await.0, 404);
    let (_, document) = get(&home, "/openapi.json").await;
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let customer = &document["components"]["schemas"]["OrdersRecord"]["properties"]["customer"];
    assert_eq!(customer["properties"]["id"]["type"], "integer");
    let gift = r#"{"path":"/gift","records":1,"types":["boolean"],"object":1,"line":2}"#;
    let name = r#"{"path":"/customer/name","records":1,"types":["string"],"object":1,"line":1}"#;
    let fields = get(&home, "/datasets/orders/fields").await.1;
    assert_eq!(fields, format!("[{name},{gift}]\n"));
    succeeded(interrupt(running));

    // Another column, which a later version of a record has; and an older version, which does not win.
    let wider = ORDERS
        .replace("[columns]\n", "[columns]\ngift = { type = \"boolean\", optional = true }\n");
    fs::write(home.folder.path().join("orders.toml"), wider).unwrap();
    let later = FIRST.replace("12:00:01Z", "12:00:02Z").replace("19.90", "1");
    let later = later.replace("12:00:00Z", "11:59:59Z");
    home.put("later.jsonl", 2, later.as_bytes());
    let running = home.start(&flags);
    home.loaded(2).await;
    let second = r#"{"gift":true,"order_id":"A 2/ä","customer":{"id":8},"total":5,"status":"paid","email":null,"updated_at":"2026-11-26T12:00:02Z","lines":[{"sku":1}]}"#;
    assert_eq!(get(&home, path).await, (200, format!("{second}\n")));
    let (_, first) = get(&home, "/orders/A-1").await;
    assert!(first.contains(r#""total":19.9,"#), "{first}");
    let fields = get(&home, "/datasets/orders/fields").await.1;
    assert_eq!(fields, format!("[{}]\n", name.replace(":1,\"types", ":2,\"types")));
    succeeded(interrupt(running));
}

#[test]
fn fault_in_a_declaration_is_named_with_its_file_and_line() {
    let home = home(&ORDERS.replace("\"numeric\"", "\"decimal\""));
    let error = failed(finish(home.start(&["--datasets", "orders.toml", "--exit"])));
    assert!(
        error.contains("orders.toml:8: total: there is no type \"decimal\"; there are:"),
        "{error}"
    );
    let error = failed(finish(home.start(&["--datasets", "none.toml", "--exit"])));
    assert!(error.contains("cannot read none.toml"), "{error}");
    let path = |name: &str| home.folder.path().join(name);
    fs::write(path("Orders.toml"), ORDERS).unwrap();
    fs::write(path("orders.toml"), "").unwrap();
    let error = failed(finish(home.start(&["check", "--datasets", "orders.toml"])));
    assert!(error.contains("orders.toml:1: it is empty: did `jetline infer` fail"), "{error}");
    fs::write(path("orders.toml"), ORDERS).unwrap();
    let error = failed(finish(home.start(&["check", "--datasets", "Orders.toml,orders.toml"])));
    assert!(error.contains("from which orders differs only in case"), "{error}");
}

#[test]
fn declared_sources_are_read_where_none_is_given() {
    let home = Home::new();
    let path = |name: &str| home.folder.path().join(name);
    for folder in ["datasets", "in", "other"] {
        fs::create_dir(path(folder)).unwrap();
    }
    for (name, source) in [("a", "in/a.jsonl"), ("b", "in/{b,c}.jsonl,other/b.jsonl")] {
        let text = format!("source = '{source}'\nkey = 'id'\ncolumns = {{ id = 'bigint' }}");
        fs::write(path(&format!("datasets/{name}.toml")), text).unwrap();
    }
    for file in ["in/a", "in/b", "in/c", "in/d", "other/b"] {
        fs::write(path(&format!("{file}.jsonl")), "{\"id\":1}\n").unwrap();
    }
    let loaded = |args: &[&str]| {
        let output = succeeded(finish(home.start(args)));
        // The output of all runs is in one file.
        let last = output.rsplit("\nid  object").next().unwrap_or_default().to_owned();
        let names =
            last.lines().filter(|line| line.contains(".jsonl  ") && line.contains("  done  "));
        let names = names.map(|line| line.split_whitespace().nth(1).unwrap().to_owned());
        let mut names: Vec<String> = names.collect();
        // The order of files is that of their modification times.
        names.sort();
        names
    };
    assert_eq!(loaded(&["--exit"]), ["a.jsonl", "b.jsonl", "b.jsonl", "c.jsonl"]);
    assert_eq!(loaded(&["--exit", "--source", "b=in/d.jsonl"]), ["d.jsonl"]);
    // A file that was read as the wrong dataset is read again as the right one.
    assert_eq!(loaded(&["--exit", "a=in/d.jsonl"]), ["d.jsonl"]);
    let output = succeeded(finish(home.start(&["--exit"])));
    assert!(
        output.ends_with("Nothing new: all 4 objects are known and were not read.\n"),
        "{output}"
    );
}

#[test]
fn wrong_source_of_a_declaration_is_named() {
    for (source, reason) in [
        ("ftp://in", "ftp:// is not known"),
        (
            "others=in",
            "the declaration of orders has the source others=in: it names another dataset",
        ),
        (" ", "orders.toml:1: source: it is empty"),
    ] {
        let home = home(&format!("source = '{source}'\n{ORDERS}"));
        let error = failed(finish(home.start(&["--datasets", "orders.toml", "--exit"])));
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn dropped_dataset_is_loaded_again_where_it_is_declared_again() {
    let home = home(ORDERS);
    let flags = ["--datasets", "orders.toml", "--exit"];
    home.put("orders.jsonl", 1, FIRST.as_bytes());
    succeeded(finish(home.start(&flags)));
    let refusals = [
        (&["drop", "orders"][..], "removes its table: add --yes"),
        (&["drop", "others", "--yes"], "there is no dataset others; there are: orders"),
    ];
    for (command, reason) in refusals {
        let error = failed(finish(home.start(command)));
        assert!(error.contains(reason), "{error}");
    }
    // What is declared in files is not declared by it.
    let declared = ["--datasets", "orders.toml"];
    let drop = [&declared[..], &["drop", "orders", "--yes"]].concat();
    let output = succeeded(finish(home.start(&drop)));
    assert!(output.contains("Dataset orders is dropped; objects: 1."), "{output}");
    let error = failed(finish(home.start(&drop)));
    assert!(error.contains("there is no dataset orders"), "{error}");
    // The key may be another one now.
    let changed =
        ORDERS.replace("key = \"order_id\"\nversion = \"updated_at\"", "key = \"number\"");
    let changed = changed
        .replace("order_id = \"text\"", "number = { type = \"text\", path = \"/order_id\" }");
    fs::write(home.folder.path().join("orders.toml"), changed).unwrap();
    let running = home.start(&["--datasets", "orders.toml"]);
    home.loaded(1).await;
    let (status, order) = get(&home, "/orders/A-1").await;
    assert!(status == 200 && order.contains(r#""order_id":"A-1""#), "{order}");
    assert_eq!(get(&home, "/objects/1").await.0, 404);
    assert!(get(&home, "/objects/2").await.1.contains(r#""inserted":2"#));
    succeeded(interrupt(running));
}

/// Runs `drop orders` with a terminal, and does something once it asks.
async fn drop_at_a_terminal(home: &Home, then: impl FnOnce(&mut File, &Child)) -> (bool, String) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let path = ptsname(&terminal, Vec::new()).unwrap();
    let mut keyboard = File::from(terminal);
    let mut command = home.command(&["drop", "orders"]);
    command
        .stdin(File::open(OsStr::from_bytes(path.as_bytes())).unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut dropping = command.spawn().unwrap();
    let mut stderr = BufReader::new(dropping.stderr.take().unwrap());
    let mut question = Vec::new();
    stderr.read_until(b'?', &mut question).unwrap();
    then(&mut keyboard, &dropping);
    let status = until("drop ends", async || dropping.try_wait().unwrap()).await;
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    (status.success(), rest)
}

#[tokio::test]
async fn dataset_is_dropped_after_a_confirmation() {
    let home = home(ORDERS);
    home.put("orders.jsonl", 1, FIRST.as_bytes());
    succeeded(finish(home.start(&["--datasets", "orders.toml", "--exit"])));
    let type_in = |answer: &'static [u8]| {
        move |keyboard: &mut File, _: &Child| keyboard.write_all(answer).unwrap()
    };
    let (done, error) = drop_at_a_terminal(&home, type_in(b"\n")).await;
    assert!(!done && error.contains("nothing was dropped"), "{error}");
    let (done, error) = drop_at_a_terminal(&home, |_, dropping| {
        kill_process(Pid::from_child(dropping), Signal::INT).unwrap();
    })
    .await;
    assert!(!done, "{error}");
    assert_eq!(home.ledger().await.objects().await.unwrap().len(), 1);
    let (done, error) = drop_at_a_terminal(&home, type_in(b"y\n")).await;
    assert!(done, "{error}");
    assert!(home.ledger().await.objects().await.unwrap().is_empty());
}
