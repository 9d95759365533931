//! Files of other shapes go through without a declaration that a person wrote: infer, check, load, serve.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::Path,
    time::{Duration, SystemTime},
};

use jetline_testkit::http;
use serde_json::{Map, Value, json};

use crate::{
    deployment::{failed, finish, interrupt, succeeded},
    standalone::{Home, workspace},
};

/// A file, its records as they must be served, and the field of the key.
struct Case {
    name: &'static str,
    file: &'static str,
    content: String,
    records: Vec<Value>,
    key: &'static str,
}

fn json_lines(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect::<Vec<String>>().concat()
}

fn orders() -> Case {
    let record = |number: u32| {
        let mut order = json!({
            "order_id": format!("A/{number} ä"),
            "customer": { "id": number % 40, "name": "Ada" },
            "total": 19.5 + f64::from(number),
            "items": [{ "sku": number, "qty": 1.25 }, {}],
            "paid": number.is_multiple_of(3),
            "ordered_at": format!("2026-11-{:02}T12:00:00Z", 1 + number % 28),
        });
        if number.is_multiple_of(5) {
            order["gift"] = json!("a \"text\"\n");
        }
        order
    };
    let records: Vec<Value> = (1..=120).map(record).collect();
    Case {
        name: "orders",
        file: "orders.jsonl",
        content: json_lines(&records),
        records,
        key: "order_id",
    }
}

/// Several versions of each event, of which the latest one is served.
fn events() -> Case {
    let record = |number: u64, version: u64| {
        json!({
            "event": number,
            "updated_at": format!("2026-11-26T12:00:{:02}.{:06}Z", 10 + version, number),
            "state": format!("state {version}"),
        })
    };
    let all: Vec<Value> = [2, 1, 0]
        .into_iter()
        .flat_map(|version| (1..=50).map(move |number| record(number, version)))
        .collect();
    let content: Vec<String> = all.iter().map(|record| format!("{record:#}\n")).collect();
    let records = (1..=50).map(|number| record(number, 2)).collect();
    Case { name: "events", file: "events.json", content: content.concat(), records, key: "event" }
}

fn activity() -> Case {
    let record = |number: u64| {
        json!({
            "id": (40_000_000_000 + number).to_string(),
            "type": "PushEvent",
            "actor": { "id": number, "login": format!("user-{number}"), "orgs": [[], [{ "a": { "b": [null] } }]] },
            "payload": { "commits": [{ "sha": "ab", "message": "mend \u{1f600}", "distinct": true }] },
            "public": true,
            "created_at": "2026-11-26T12:00:00Z",
        })
    };
    let records: Vec<Value> = (1..=60).map(record).collect();
    Case {
        name: "activity",
        file: "activity.ndjson",
        content: json_lines(&records),
        records,
        key: "id",
    }
}

fn catalogue() -> Case {
    let record = |number: u64| {
        json!({
            "sku": format!("6ba7b810-9dad-11d1-80b4-{number:012x}"),
            "title": format!("Item {number}"),
            "stock": number,
            "tags": ["a", number],
            "released": "1969-12-31",
        })
    };
    let records: Vec<Value> = (1..=80).map(record).collect();
    let content = serde_json::to_string_pretty(&records).unwrap();
    Case { name: "catalogue", file: "catalogue.json", content, records, key: "sku" }
}

fn prices() -> Case {
    let mut lines = vec!["\u{feff}code;name;price;valid from;note\r\n".to_owned()];
    let mut records = Vec::new();
    for number in 1..=70 {
        lines.push(format!(
            "{number};\"Say \"\"{number}\"\";\r\nplease\";{number}.50;2026-11-{:02};\r\n",
            1 + number % 28
        ));
        records.push(json!({
            "code": number,
            "name": format!("Say \"{number}\";\r\nplease"),
            "price": f64::from(number) + 0.5,
            "valid from": format!("2026-11-{:02}", 1 + number % 28),
        }));
    }
    Case { name: "prices", file: "prices.csv", content: lines.concat(), records, key: "code" }
}

/// Without fields that have no value.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let fields = fields.map(|(name, value)| (name.clone(), without_nulls(value)));
            Value::Object(fields.collect::<Map<String, Value>>())
        }
        other => other.clone(),
    }
}

/// A path segment with everything escaped.
fn segment(key: &Value) -> String {
    let text = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
    text.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<String>>().concat()
}

async fn goes_through(case: Case) {
    let Case { name, file, content, records, key } = case;
    let home = Home::new();
    let path = |name: &str| home.folder.path().join(name);
    fs::write(path(file), content).unwrap();
    fs::create_dir(path("datasets")).unwrap();
    let declaration = succeeded(finish(home.start(&["infer", file, "--key", key])));
    let declared = if name == "events" {
        declaration.replace("# version", "version")
    } else {
        declaration.clone()
    };
    fs::write(path(&format!("datasets/{name}.toml")), declared).unwrap();
    let checked = succeeded(finish(home.start(&["check", file, "--datasets", "datasets"])));
    assert!(checked.contains(", 0 rejected") || checked.contains(" 0 rejected"), "{checked}");
    let source = format!("{name}={file}");
    let running = home.start(&["--datasets", "datasets", "--source", &source]);
    home.loaded(1).await;
    for record in &records {
        let path = format!("/{name}/{}", segment(&record[key]));
        let answer = http::get(home.address, &path, &[]).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert_eq!(without_nulls(&answer.json()), without_nulls(record), "{declaration}");
    }
    succeeded(interrupt(running));
}

#[tokio::test]
async fn orders_with_nested_values_go_through() {
    goes_through(orders()).await;
}

#[tokio::test]
async fn events_with_timestamps_as_versions_go_through() {
    goes_through(events()).await;
}

#[tokio::test]
async fn deeply_nested_activity_goes_through() {
    goes_through(activity()).await;
}

#[tokio::test]
async fn catalogue_in_one_array_goes_through() {
    goes_through(catalogue()).await;
}

#[tokio::test]
async fn csv_with_semicolons_and_several_lines_goes_through() {
    goes_through(prices()).await;
}

#[test]
fn check_names_what_does_not_fit_and_writes_nothing() {
    let home = Home::new();
    let path = |name: &str| home.folder.path().join(name);
    let declaration =
        "key = 'id'\nunknown = 'ignore'\ncolumns = { id = 'bigint', total = 'numeric' }";
    fs::write(path("orders.toml"), declaration).unwrap();
    fs::write(path("orders.jsonl"), "{\"id\":1,\"total\":1,\"gift\":1}\n{\"id\":2,\"total\":\"x\"}\n\n{\"id\":3}\n{\"id\":4,\"total\":2,\"gift\":{\"a\":1}}\n").unwrap();
    let output =
        failed(finish(home.start(&["check", "orders.jsonl", "--datasets", "orders.toml"])));
    for line in [
        "orders.jsonl (orders, jsonl): 2 valid, 2 rejected",
        "  rejected: 1 missing_field, 1 wrong_type",
        "  line 2: wrong_type: total: a string is not a number",
        "  line 4: missing_field: the column total is missing",
        "  fields that no column takes, which are ignored:",
        "    /gift: 2 records, first line 1",
    ] {
        assert!(output.lines().any(|shown| shown == line), "{line}: {output}");
    }
    assert!(!path("jetline.db").exists());
    let output = succeeded(finish(home.start(&["check", "--datasets", "orders.toml"])));
    assert!(output.trim_end().ends_with("\ndataset orders: key id, 2 columns"), "{output}");
}

#[test]
fn check_tells_why_a_file_cannot_be_read_to_its_end() {
    let home = Home::new();
    let path = |name: &str| home.folder.path().join(name);
    fs::write(path("orders.toml"), "key = 'id'\ncolumns = { id = 'bigint' }").unwrap();
    for (file, content, line, error) in [
        (
            "orders.json",
            "[{\"id\":1},{\"id\":2}",
            "orders.json (orders, json-array): 2 valid, 0 rejected",
            "damaged at byte 18: the content ends before the end of the array",
        ),
        (
            "orders.json",
            "[{\"id\":1} {\"id\":2}]",
            "orders.json (orders, json-array): 1 valid, 0 rejected",
            "damaged at byte 10: a comma or the end of the array is missing",
        ),
        (
            "orders.csv",
            "id,id\n1,2\n",
            "orders.csv (orders, unknown format): 0 valid, 0 rejected",
            "columns 1 and 2 have the same name",
        ),
    ] {
        fs::write(path(file), content).unwrap();
        let output = failed(finish(home.start(&["check", file, "--datasets", "orders.toml"])));
        assert!(output.lines().any(|shown| shown == line), "{line}: {output}");
        assert!(output.contains("  cannot be read to its end: "), "{output}");
        assert!(output.contains(error), "{output}");
    }
}

#[tokio::test]
async fn declared_delimiter_is_used_whatever_the_file_is_called() {
    let home = Home::new();
    let path = |name: &str| home.folder.path().join(name);
    let declaration =
        "key = 'id'\nformat = 'csv'\ndelimiter = ';'\ncolumns = { id = 'bigint', note = 'text' }";
    fs::write(path("notes.toml"), declaration).unwrap();
    fs::write(path("notes.txt"), "id;note\n1;a,b,c\n").unwrap();
    let running = home.start(&["notes.txt", "--datasets", "notes.toml"]);
    home.loaded(1).await;
    let answer = http::get(home.address, "/notes/1", &[]).await.unwrap();
    assert_eq!(answer.json(), json!({ "id": 1, "note": "a,b,c" }));
    succeeded(interrupt(running));
}

#[test]
fn infer_without_a_key_says_which_fields_there_are() {
    let home = Home::new();
    fs::write(home.folder.path().join("a.csv"), "x,y\n1,a\n1,a\n").unwrap();
    let output = failed(finish(home.start(&["infer", "a.csv"])));
    assert!(output.contains("The fields are: x, y") && output.contains("--key"), "{output}");
    let output = failed(finish(home.start(&["infer", "missing.csv"])));
    assert!(output.contains("missing.csv"), "{output}");
}

#[tokio::test]
async fn undeclared_file_is_served_at_once_if_asked_for() {
    let home = Home::new();
    let path = |name: &str| home.folder.path().join(name);
    fs::write(path("people.csv"), "id,name\n1,Ada\n2,Grace\n").unwrap();
    let output = failed(finish(home.start(&["people.csv", "--exit"])));
    assert!(output.contains("jetline infer people.csv > datasets/people.toml"), "{output}");
    let running = home.start(&["people.csv", "--infer"]);
    home.loaded(1).await;
    let answer = http::get(home.address, "/people/2", &[]).await.unwrap();
    assert_eq!(answer.json(), json!({ "id": 2, "name": "Grace" }));
    assert!(succeeded(interrupt(running)).contains("The dataset people is declared"));
    // Declared once, it stays as it is.
    fs::write(path("people.csv"), "id,name,age\n3,Edsger,72\n").unwrap();
    succeeded(finish(home.start(&["people.csv", "--infer", "--exit"])));
    let status = succeeded(finish(home.start(&["status"])));
    assert!(status.lines().filter(|line| line.contains("people.csv")).count() >= 2, "{status}");
}

/// Every example's README shows what is printed.
#[test]
fn example_prints_what_its_readme_says() {
    let home = Home::new();
    let example = workspace().join("examples/catalogue");
    for folder in ["datasets", "files"] {
        fs::create_dir(home.folder.path().join(folder)).unwrap();
        for (second, name) in (1..).zip(names(&example.join(folder))) {
            let to = home.folder.path().join(folder).join(&name);
            fs::copy(example.join(folder).join(&name), &to).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second);
            File::open(&to).unwrap().set_modified(time).unwrap();
        }
    }
    let readme = fs::read_to_string(example.join("README.md")).unwrap();
    let (_, block) = readme.split_once("```text\n").unwrap();
    let (summary, _) = block.split_once("```").unwrap();
    let output = succeeded(finish(home.start(&["catalogue=files", "--exit"])));
    assert!(output.starts_with(summary), "{output}");
}

/// The names of the files in a folder, in order.
fn names(folder: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<OsString> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}
