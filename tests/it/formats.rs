//! The same records in every format, through all services.

use jetline_oracle::{
    catalogue::{Compression, compress, lines},
    fold,
};
use serde_json::Value;

use crate::deployment::{Deployment, succeeded};

const FIELDS: [&str; 7] = ["price", "title", "id", "category", "brand", "url", "description"];

/// Records whose descriptions have several lines.
fn records(seed: u64) -> Vec<Value> {
    let lines = String::from_utf8(lines(seed, 300, 200)).unwrap();
    let record = |line: &str| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        let description = record["description"].as_str().unwrap().replace(": ", ":\r\n\n");
        record["description"] = description.into();
        record
    };
    lines.lines().map(record).collect()
}

fn json_lines(records: &[Value]) -> Vec<u8> {
    records.iter().flat_map(|record| format!("{record}\n").into_bytes()).collect()
}

fn csv(records: &[Value], delimiter: &str, newline: &str) -> Vec<u8> {
    let mut csv = FIELDS.join(delimiter);
    for record in records {
        let fields = FIELDS.map(|field| match &record[field] {
            Value::String(text) => format!("\"{}\"", text.replace('"', "\"\"")),
            other => other.to_string(),
        });
        csv += newline;
        csv += &fields.join(delimiter);
    }
    csv.into_bytes()
}

#[tokio::test]
async fn records_give_the_same_table_in_every_format() {
    let deployment = Deployment::shared("formats").await;
    let all: Vec<Vec<Value>> = (1..=6).map(records).collect();
    let semicolons = compress(Compression::Gzip, &csv(&all[1], ";", "\r\n")).await;
    let values: Vec<String> = all[3].iter().map(|record| format!("{record:#}\n")).collect();
    let values = compress(Compression::Zstd, values.concat().as_bytes()).await;
    let array = serde_json::to_vec_pretty(&all[2]).unwrap();
    let compact = compress(Compression::Bzip2, &serde_json::to_vec(&all[4]).unwrap()).await;
    let objects: [(&str, Vec<u8>); 6] = [
        ("a.csv", csv(&all[0], ",", "\n")),
        ("b.csv.gz", semicolons),
        ("c.json", array),
        ("d.json.zst", values),
        ("e.json.bz2", compact),
        ("f.tsv", csv(&all[5], "\t", "\n")),
    ];
    for (second, (key, content)) in (0..).zip(&objects) {
        deployment.put(key, second, content);
    }
    let contents: Vec<Vec<u8>> = all.iter().map(|records| json_lines(records)).collect();
    let expected = fold(&contents);
    let _writers = deployment.writers(2);
    succeeded(deployment.fetch());
    deployment.ledger.assert_rows(&expected.rows).await;
    assert_eq!(deployment.ledger.lines().await.unwrap(), expected.total());
    let done = "SELECT CAST(count(*) AS text) AS text FROM objects WHERE state = 'done'";
    assert_eq!(deployment.ledger.texts(done).await.unwrap(), ["6"]);
}
