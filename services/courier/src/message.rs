//! A message: its body, its id, its sequence and its headers, as Standard Webhooks describes them.

use chrono::{DateTime, SecondsFormat, Utc};
use jetline_core::Fingerprint;
use jetline_datasets::{ChangeKind, Dataset};
use jetline_store::{catalog::records::StoredRecord, outbox::Attempt};

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) sequence: String,
    pub(crate) body: Vec<u8>,
}

/// The message of an attempt with its record.
pub(crate) fn message(
    installation: &str,
    dataset: &Dataset,
    destination: &str,
    attempt: &Attempt,
    record: &StoredRecord,
) -> serde_json::Result<Message> {
    let sequence = attempt.rank.sequence();
    let data = if attempt.kind == ChangeKind::Deleted {
        b"null".to_vec()
    } else {
        let mut data = Vec::new();
        dataset.write_json(&record.values, record.extra.as_deref(), &mut data)?;
        data
    };
    let head = format!(
        r#"{{"type":"{}.{}","timestamp":"{}","dataset":"{}","key":{},"sequence":"{sequence}","data":"#,
        dataset.name,
        attempt.kind.name(),
        timestamp(record.changed_at),
        dataset.name,
        serde_json::to_string(&attempt.key)?,
    );
    let mut body = head.into_bytes();
    body.extend(data);
    body.push(b'}');
    Ok(Message { id: id(installation, &dataset.name, destination, attempt), sequence, body })
}

fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Of a content of a record for a destination: every attempt to deliver it has the same id.
fn id(installation: &str, dataset: &str, destination: &str, attempt: &Attempt) -> String {
    let Attempt { key, rank, revision, .. } = attempt;
    let sequence = rank.sequence();
    // The key is last: no two different inputs give the same text.
    let text = format!("{installation}\0{dataset}\0{destination}\0{sequence}\0{revision}\0{key}");
    format!("msg_{}", Fingerprint::of(text.as_bytes()))
}
