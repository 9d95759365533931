//! `status` and `rejects`: they show what is in the ledger, and change nothing.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::Stdio,
};

use jetline_oracle::catalogue::{lines, lines_with_bad_ones};
use serde_json::Value;

use crate::{
    deployment::{Deployment, failed, finish, succeeded},
    standalone::Home,
};

/// The exit status of a command, its standard output and its log.
fn run(mut command: std::process::Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The content of a file that was written as JSON Lines.
fn read(home: &Home, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(home.folder.path().join(file)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn status_is_the_table_of_the_summary_and_fails_with_a_failed_object() {
    let home = Home::new();
    home.put("a.jsonl", 0, &lines_with_bad_ones(1, 50, 50, 10));
    succeeded(finish(home.start(&["--exit"])));
    let summary = fs::read_to_string(home.folder.path().join("log")).unwrap();
    let (code, shown, log) = run(home.command(&["status"]));
    assert_eq!((code, log.as_str()), (Some(0), ""));
    // All but the last line, which is about the time.
    let table: Vec<&str> = summary.lines().take_while(|line| !line.ends_with("s in all")).collect();
    assert_eq!(shown.lines().collect::<Vec<_>>(), table);
    assert!(shown.contains("rejected: 3 invalid_json"), "{shown}");

    home.put("b.jsonl", 1, b"id,title\na1,t\na2,u\n");
    failed(finish(home.start(&["--exit"])));
    let (code, shown, _) = run(home.command(&["status", "--object", "2"]));
    assert_eq!(code, Some(1));
    assert!(shown.contains("object 2 failed: none of its lines"), "{shown}");
    assert!(shown.contains("b.jsonl") && !shown.contains("a.jsonl"), "{shown}");
    let (code, shown, _) = run(home.command(&["status", "--object", "1"]));
    assert!(code == Some(0) && !shown.contains("b.jsonl"), "{shown}");
    assert_eq!(run(home.command(&["status"])).0, Some(1));
    succeeded(finish(home.start(&["dismiss", "2"])));
    let (code, shown, _) = run(home.command(&["status"]));
    assert_eq!(code, Some(0));
    assert!(shown.contains("object 2 failed and is dismissed: "), "{shown}");
    for command in ["status", "rejects"] {
        let (code, _, log) = run(home.command(&[command, "--object", "9"]));
        assert_eq!(code, Some(1));
        assert!(log.contains("there is no object 9"), "{log}");
    }
}

#[tokio::test]
async fn status_of_many_objects_is_shown_to_the_end() {
    let home = Home::new();
    home.put("a.jsonl", 0, &lines(1, 10, 10));
    succeeded(finish(home.start(&["--exit"])));
    let ledger = home.ledger().await;
    ledger.run("CREATE TABLE copies AS SELECT * FROM objects").await.unwrap();
    for number in 2..=1_500 {
        let copy = format!("UPDATE copies SET id = {number}, key = '{number}.jsonl'");
        ledger.run(&format!("{copy}; INSERT INTO objects SELECT * FROM copies")).await.unwrap();
    }
    ledger.run("UPDATE objects SET state = 'failed' WHERE id = 1300").await.unwrap();
    let (code, shown, _) = run(home.command(&["status"]));
    assert_eq!(code, Some(1));
    let rows = shown.lines().filter(|line| line.contains(".jsonl  "));
    assert!(rows.count() == 1_500 && shown.matches("superseded").count() == 1, "{shown}");
    let total = shown.lines().find_map(|line| line.strip_prefix("in all")).unwrap();
    assert_eq!(total.split_whitespace().next(), Some("15,000"));
}

/// Two good lines, a long line, a line that would clear a terminal, and a line that is not UTF-8.
fn odd_lines() -> [Vec<u8>; 4] {
    let long = format!("{{\"id\":7,\"title\":\"{}\n", "ü".repeat(10_000));
    let hostile = "{\"id\":\u{1b}[2J\u{202e}\n";
    let binary = [&b"caf\xe9 "[..], "x".repeat(9_000).as_bytes(), b"\n"].concat();
    [lines(1, 2, 2), long.into_bytes(), hostile.as_bytes().to_vec(), binary]
}

/// Loads them with others of which all are rejected.
fn load_odd_lines(home: &Home) {
    home.put("a.jsonl", 0, &odd_lines().concat());
    home.put("b.jsonl", 1, b"{\"id\":0}\n{\"id\":-1}\n");
    let mut command = home.command(&["--exit"]);
    command.env("MAX_LINE_BYTES", "64KiB");
    assert_eq!(run(command).0, Some(1));
}

#[tokio::test]
async fn rejects_are_shown_on_a_line_each_that_is_short_and_escaped() {
    let home = Home::new();
    load_odd_lines(&home);
    let (code, shown, log) = run(home.command(&["rejects"]));
    assert_eq!((code, log.as_str()), (Some(0), ""));
    let shown: Vec<&str> = shown.lines().collect();
    assert_eq!(shown.len(), 5, "{shown:?}");
    assert!(shown.iter().all(|line| line.chars().count() < 500), "{shown:?}");
    assert!(!shown.iter().any(|line| line.contains(char::is_control)), "{shown:?}");
    assert!(shown[0].starts_with("object 1, line 3: invalid_json: "), "{shown:?}");
    assert!(shown[0].contains("{\"id\":7,\"title\":\"ü") && shown[0].ends_with('…'), "{shown:?}");
    assert!(shown[1].ends_with(r#"{"id":\u{1b}[2J\u{202e}"#), "{shown:?}");
    assert!(shown[2].starts_with("object 1, line 5: invalid_utf8: "), "{shown:?}");

    let only = ["rejects", "--object", "1", "--reason", "invalid_json"];
    assert_eq!(run(home.command(&only)).1.lines().count(), 2);
    let (code, shown, _) = run(home.command(&["rejects", "--reason", "line_too_long"]));
    assert_eq!((code, shown.as_str()), (Some(0), "No such line was rejected.\n"));
    let (code, _, log) = run(home.command(&["rejects", "--reason", "bad_mood"]));
    assert!(code == Some(2) && log.contains("refused_by_database"), "{log}");
}

#[tokio::test]
async fn rejects_are_written_whole_into_a_new_file() {
    let home = Home::new();
    load_odd_lines(&home);
    let out = ["rejects", "--out", "rejects.jsonl"];
    let (code, shown, log) = run(home.command(&out));
    assert_eq!((code, log.as_str()), (Some(0), ""));
    assert_eq!(shown, "5 rejected lines written to rejects.jsonl\n");
    let written = read(&home, "rejects.jsonl");
    assert_eq!(written.len(), 5);
    let [good, odd @ ..] = odd_lines();
    let mut offset = good.len();
    for ((line, raw), number) in written.iter().zip(&odd).zip(3..) {
        assert_eq!((&line["object"], &line["line"]), (&1.into(), &number.into()));
        assert_eq!(line["offset"], offset);
        assert_eq!(line["raw"], String::from_utf8_lossy(raw).trim_end());
        assert!(line["uri"].as_str().unwrap().ends_with("/samples/a.jsonl"), "{line}");
        offset += raw.len();
    }
    assert_eq!((&written[4]["object"], &written[4]["line"]), (&2.into(), &2.into()));
    assert!(written[4]["uri"].as_str().unwrap().ends_with("/samples/b.jsonl"));
    assert!(!written[4]["message"].as_str().unwrap().is_empty());
    assert_eq!(written[2]["reason"], "invalid_utf8");
    assert_eq!(written[1].get("raw_base64"), None);
    // It begins with `caf\xe9 xxxx`.
    let encoded = written[2]["raw_base64"].as_str().unwrap();
    assert!(encoded.starts_with("Y2Fm6SB4eHh4") && encoded.len() > 12_000, "{encoded}");

    let (code, _, log) = run(home.command(&out));
    assert!(code == Some(1) && log.contains("rejects.jsonl exists"), "{log}");
    assert_eq!(read(&home, "rejects.jsonl").len(), 5);
    let (_, _, log) = run(home.command(&["rejects", "--out", "none/rejects.jsonl"]));
    assert!(log.contains("cannot create none/rejects.jsonl"), "{log}");
}

#[tokio::test]
async fn many_rejects_are_shown_page_by_page_until_the_output_is_closed() {
    let home = Home::new();
    let content = b"{\"id\":0}\n".repeat(25_000);
    home.put("a.jsonl", 0, &content);
    failed(finish(home.start(&["--exit"])));
    let (code, shown, _) = run(home.command(&["rejects"]));
    assert_eq!((code, shown.lines().count()), (Some(0), 25_000));
    assert!(shown.lines().next_back().unwrap().starts_with("object 1, line 25000: "));
    let (code, _, _) = run(home.command(&["rejects", "--out", "all.jsonl"]));
    assert_eq!((code, read(&home, "all.jsonl").len()), (Some(0), 25_000));

    let mut child =
        home.command(&["rejects"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(child.wait().unwrap().success() && log.is_empty(), "{log}");
}

#[tokio::test]
async fn commands_that_read_the_ledger_need_one_and_leave_it_unchanged() {
    let home = Home::new();
    let database = home.folder.path().join("jetline.db");
    for command in ["status", "rejects"] {
        let (code, _, log) = run(home.command(&[command]));
        assert!(code == Some(1) && log.contains("jetline.db does not exist"), "{log}");
        assert!(!database.exists());
    }
    let url = format!("sqlite://{}?mode=rwc", database.display());
    let old = sea_orm::Database::connect(url).await.unwrap();
    let dump = include_str!("first_version.sql");
    sea_orm::ConnectionTrait::execute_unprepared(&old, dump).await.unwrap();
    old.close().await.unwrap();
    let before = fs::read(&database).unwrap();
    for command in ["status", "rejects"] {
        let (code, _, log) = run(home.command(&[command]));
        assert!(code == Some(1), "{log}");
        assert!(log.contains("run jetline-migrate, or start jetline once"), "{log}");
    }
    assert!(fs::read(&database).unwrap() == before);

    fs::remove_file(&database).unwrap();
    home.put("a.jsonl", 0, &lines_with_bad_ones(1, 50, 50, 10));
    succeeded(finish(home.start(&["--exit"])));
    // They apply no declaration and read no source.
    fs::create_dir(home.folder.path().join("datasets")).unwrap();
    fs::write(home.folder.path().join("datasets/orders.toml"), "no declaration").unwrap();
    fs::remove_dir_all(home.folder.path().join("samples")).unwrap();
    let before = fs::read(&database).unwrap();
    for command in ["status", "rejects"] {
        let (code, shown, log) = run(home.command(&[command]));
        assert!(code == Some(0) && !shown.is_empty(), "{log}");
    }
    assert!(fs::read(&database).unwrap() == before);
    let beside = fs::read_dir(home.folder.path()).unwrap();
    let beside = beside.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(beside.filter(|name| name.starts_with("jetline.db")).count(), 1);
}

#[tokio::test]
async fn fetcher_has_them_too_on_postgres() {
    let deployment = Deployment::shared("ledger_commands").await;
    deployment.put("a.jsonl", 0, &lines(1, 20, 20));
    deployment.put("b.jsonl", 1, b"{\"id\":0}\n\xff\n");
    failed(deployment.load());
    let command = |flags: &[&str]| {
        let mut command = deployment.command("jetline-fetcher").unwrap();
        command.args(flags).env_remove("SOURCE").env_remove("NATS_URL");
        run(command)
    };
    let (code, shown, _) = command(&["status"]);
    assert!(code == Some(1) && shown.contains("object 2 failed: "), "{shown}");
    let (code, shown, _) = command(&["rejects", "--reason", "invalid_utf8"]);
    assert_eq!(code, Some(0));
    assert!(shown.starts_with("object 2, line 2: invalid_utf8: ") && shown.lines().count() == 1);
    let (code, shown, _) = command(&["rejects", "--object", "2", "--out", "out.jsonl"]);
    assert_eq!((code, shown.as_str()), (Some(0), "2 rejected lines written to out.jsonl\n"));
    deployment.ledger.remove_all_tables().await.unwrap();
    let (code, _, log) = command(&["status"]);
    assert!(code == Some(1) && log.contains("run jetline-migrate"), "{log}");
}

#[tokio::test]
async fn results_are_printed_as_json_where_that_is_wanted() {
    let home = Home::new();
    home.put("a.jsonl", 0, &lines_with_bad_ones(1, 50, 50, 10));
    let documents = |arguments: &[&str], status| {
        let (code, shown, log) = run(home.command(arguments));
        assert_eq!((code, log.as_str()), (Some(status), ""), "{arguments:?}: {shown}");
        let parse = |line| serde_json::from_str::<Value>(line).unwrap();
        shown.lines().map(parse).collect::<Vec<_>>()
    };
    let checked =
        &documents(&["check", "--output", "json", "samples/a.jsonl", "--dataset", "products"], 1)
            [0];
    assert_eq!(checked["objects"][0]["rejected"]["invalid_json"], 3, "{checked}");
    let inferred = &documents(&["infer", "samples/a.jsonl", "--output=json", "--key", "id"], 0)[0];
    assert!(inferred["declaration"].as_str().unwrap().contains("key = \"id\""), "{inferred}");

    let summary = &documents(&["--exit", "--output", "json"], 0)[0];
    assert_eq!((&summary["complete"], &summary["listed"]), (&true.into(), &1.into()), "{summary}");
    let object = &summary["objects"][0];
    assert_eq!((&object["state"], &object["inserted"]), (&"done".into(), &28.into()), "{summary}");
    assert_eq!(object["reasons"]["invalid_json"], 3, "{summary}");

    let status = documents(&["--output", "json", "status"], 0);
    assert_eq!(status, std::slice::from_ref(object));
    let rejects = documents(&["rejects", "--output", "json", "--reason", "invalid_json"], 0);
    assert_eq!(rejects.len(), 3);
    assert!(rejects[0]["uri"].as_str().unwrap().ends_with("a.jsonl"), "{}", rejects[0]);
    assert_eq!(rejects[0]["reason"], "invalid_json");
}
