//! Values, records and files of a declared dataset that are wrong: what is said of them, by `check` and in the ledger.

use std::fs;

use jetline_testkit::http;

use crate::{
    deployment::{interrupt, succeeded},
    standalone::Home,
};

const VALUES: &str = r#"
key = "id"

[columns]
id = "bigint"
n = { type = "bigint", optional = true }
d = { type = "numeric", optional = true }
t = { type = "timestamp", optional = true }
day = { type = "date", optional = true }
s = { type = "text", optional = true }
j = { type = "json", optional = true }
"#;

const TEXTS: &str = "key = 'name'\ncolumns = { name = 'text' }";

fn home() -> Home {
    let home = Home::new();
    let folder = home.folder.path().join("datasets");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("values.toml"), VALUES).unwrap();
    fs::write(folder.join("texts.toml"), TEXTS).unwrap();
    home
}

/// What `check` says of a file, without its first line, and whether all of it is valid.
fn check(home: &Home, file: &str, content: &str) -> (bool, Vec<String>) {
    fs::write(home.folder.path().join(file), content).unwrap();
    let output = home.command(&["check", &format!("values={file}"), "--show", "99"]).output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let lines = said.lines().skip(1).map(|line| line.trim().to_owned());
    (output.status.success(), lines.collect())
}

#[tokio::test]
async fn wrong_value_costs_its_record_and_is_named() {
    let deep = "[".repeat(200) + &"]".repeat(200);
    let lines = [
        // Exact integers, any spelling of a number, dates before 1970 and time zones are not wrong.
        (r#"{"id":9007199254740993,"d":123456789012345678.5,"n":-0}"#.to_owned(), ""),
        (r#"{"id":2,"n":1.0,"day":"1901-02-03","t":"1969-12-31T23:59:59.5+01:00"}"#.to_owned(), ""),
        (
            r#"{"id":9223372036854775808}"#.to_owned(),
            "out_of_range: id: 9223372036854775808 is out of the range of bigint",
        ),
        (
            r#"{"id":1,"n":1e400}"#.to_owned(),
            "out_of_range: n: 1e400 is out of the range of bigint",
        ),
        (
            r#"{"id":1,"d":123456789012345678901234567890}"#.to_owned(),
            "out_of_range: d: 123456789012345678901234567890 is out of the range of numeric",
        ),
        (
            r#"{"id":1,"t":"2016-12-31T23:59:60Z"}"#.to_owned(),
            r#"out_of_range: t: "2016-12-31T23:59:60Z" is a leap second"#,
        ),
        (
            r#"{"id":1,"t":"2026-01-01T00:00:00"}"#.to_owned(),
            r#"wrong_type: t: "2026-01-01T00:00:00" is not a timestamp such as "2026-11-26T12:00:00Z""#,
        ),
        (r#"{"id":1,"n":NaN}"#.to_owned(), "invalid_json: expected value at line 1 column 13"),
        (
            r#"{"id":1,"s":"\ud800"}"#.to_owned(),
            "invalid_json: s: unexpected end of hex escape at line 1 column 8",
        ),
        (
            r#"{"id":1,"s":"\u0000"}"#.to_owned(),
            "nul_character: s: a text holds the character U+0000",
        ),
        (
            r#"{"id":1,"a":1,"kept":"\u0000"}"#.to_owned(),
            "nul_character: kept: a text holds the character U+0000",
        ),
        (
            r#"{"id":1,"j":["\u0000"]}"#.to_owned(),
            "nul_character: j: a text holds the character U+0000",
        ),
        (r#"{"id":1,"id":1}"#.to_owned(), r#"duplicate_field: the field "id" occurs twice"#),
        (
            r#"{"id":1,"kept":1,"kept":1}"#.to_owned(),
            r#"duplicate_field: the field "kept" occurs twice"#,
        ),
        (
            format!(r#"{{"id":1,"j":{deep}}}"#),
            "invalid_json: j: more than 128 nested arrays and objects",
        ),
        (
            format!(r#"{{"id":1,"kept":{deep}}}"#),
            "invalid_json: kept: more than 128 nested arrays and objects",
        ),
        (r#"{"id":null}"#.to_owned(), "wrong_type: id: null, and the column is not optional"),
        (r#"{"n":1}"#.to_owned(), "missing_field: the column id is missing"),
        (
            format!(r#"{{"id":1,"s":"{}"}}"#, "x".repeat(5_000_000)),
            "line_too_long: the record has 5000015 bytes, more than the limit (MAX_LINE_BYTES)",
        ),
    ];
    let home = home();
    let content: Vec<&str> = lines.iter().map(|(line, _)| &**line).collect();
    let (is_valid, said) = check(&home, "values.jsonl", &content.join("\n"));
    let of_lines: Vec<&String> = said.iter().filter(|line| line.starts_with("line ")).collect();
    let expected = (1..).zip(&lines).filter(|(_, (_, said))| !said.is_empty());
    let expected: Vec<String> =
        expected.map(|(number, (_, said))| format!("line {number}: {said}")).collect();
    assert_eq!(of_lines, expected.iter().collect::<Vec<_>>());
    assert!(!is_valid);

    // The ledger says the same.
    let running = home.start(&["values.jsonl"]);
    home.loaded(1).await;
    let rejects = http::get(home.address, "/rejects", &[]).await.unwrap().json();
    let rejects = rejects.as_array().unwrap().iter().map(|reject| {
        let message = reject["message"].as_str().unwrap();
        // It also says how much of a long record is kept.
        let message = message.split(';').next().unwrap_or_default();
        format!("line {}: {}: {message}", reject["line"], reject["reason"].as_str().unwrap())
    });
    assert_eq!(rejects.collect::<Vec<_>>(), expected);
    let first = http::get(home.address, "/values/9007199254740993", &[]).await.unwrap().body;
    assert!(first.contains(r#""n":0,"d":123456789012345678.5"#), "{first}");
    let second = http::get(home.address, "/values/2", &[]).await.unwrap().body;
    assert!(second.contains(r#""t":"1969-12-31T22:59:59.500Z","day":"1901-02-03""#), "{second}");
    succeeded(interrupt(running));
}

#[test]
fn key_that_is_too_long_for_an_index_is_rejected() {
    let home = home();
    let content = format!("{{\"name\":\"{}\"}}\n{{\"name\":\"ok\"}}\n", "k".repeat(1_500));
    fs::write(home.folder.path().join("texts.jsonl"), content).unwrap();
    let output = home.command(&["check", "texts.jsonl"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("texts.jsonl (texts, jsonl): 1 valid, 1 rejected\n"), "{said}");
    assert!(said.contains("line 1: out_of_range: name is longer than 1024 bytes"), "{said}");
}

#[test]
fn wrong_file_says_where_and_why() {
    let home = home();
    let end = "cannot be read to its end: ";
    for (file, content, expected) in [
        (
            "cut.json",
            r#"[{"id":1},{"id":"#,
            "damaged at byte 16: the content ends inside a value: it is truncated",
        ),
        (
            "comma.json",
            r#"[{"id":1},]"#,
            "damaged at byte 10: a comma is followed by the end of the array",
        ),
        (
            "behind.json",
            r#"[{"id":1}] x"#,
            "damaged at byte 11: the end of the array is followed by other text",
        ),
        (
            "two.json",
            "[{\"id\":1}]\n[{\"id\":2}]",
            "damaged at byte 11: the end of the array is followed by other text",
        ),
        ("empty.csv", "id,,s\n1,a,b\n", "the header of the CSV is not valid: column 2 has no name"),
        (
            "twice.csv",
            "id,s,s\n1,a,b\n",
            "the header of the CSV is not valid: columns 2 and 3 have the same name",
        ),
    ] {
        assert_eq!(
            check(&home, file, content),
            (false, vec![format!("{end}{expected}")]),
            "{file}"
        );
    }
    for (file, content, line) in [
        ("more.csv", "id,s\n1,a,b\n3,c\n", "line 2: invalid_csv: 3 fields, and the header has 2"),
        ("fewer.csv", "id,s\n2\n3,c\n", "line 2: invalid_csv: 1 fields, and the header has 2"),
        (
            "open.csv",
            "id,s\n1,\"open\n2,b\n3,c\n",
            "line 2: invalid_csv: the record does not end within its limits: a quote is not closed",
        ),
    ] {
        let (is_valid, said) = check(&home, file, content);
        assert_eq!((is_valid, &*said[1]), (false, line), "{file}");
    }
    for (file, content) in [
        ("header.csv", "id,s\n"),
        ("mark.csv", "\u{feff}id;s\r\n1;\"a\r\nb\"\r\n2;b\r\n"),
        ("tab.tsv", "id\ts\n1\ta,b\n"),
    ] {
        assert_eq!(check(&home, file, content), (true, vec![]), "{file}");
    }
}
