//! The same records in every format, through all services.

use jetline_oracle::{
    Expected, Format,
    catalogue::{Compression, compress, lines},
    products,
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
    let values: Vec<String> = all[3].iter().map(|record| format!("{record:#}\n")).collect();
    let (gzip, zstd, bzip2) =
        (Some(Compression::Gzip), Some(Compression::Zstd), Some(Compression::Bzip2));
    let objects = [
        ("a.csv", Format::Csv(b','), csv(&all[0], ",", "\n"), None),
        ("b.csv.gz", Format::Csv(b';'), csv(&all[1], ";", "\r\n"), gzip),
        ("c.json", Format::Json, serde_json::to_vec_pretty(&all[2]).unwrap(), None),
        ("d.json.zst", Format::Json, values.concat().into_bytes(), zstd),
        ("e.json.bz2", Format::Json, serde_json::to_vec(&all[4]).unwrap(), bzip2),
        ("f.tsv", Format::Csv(b'\t'), csv(&all[5], "\t", "\n"), None),
    ];
    let mut expected = Expected::default();
    for (second, (key, format, content, compression)) in (0..).zip(&objects) {
        match compression {
            Some(compression) => {
                deployment.put(key, second, &compress(*compression, content).await);
            }
            None => deployment.put(key, second, content),
        }
        expected.add(&products(), *format, content);
    }
    let _writers = deployment.writers(2);
    succeeded(deployment.fetch());
    deployment.ledger.assert_holds(&expected).await;
}
