//! A record as it goes out, written once for all who ask for it.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use jetline_records::Record;
use jetline_store::read::records::Found;

use crate::{
    answers::{self, Answers},
    database::Error,
    entity_tag,
    json::written,
};

/// What the answer to a request for one record consists of.
pub(crate) struct Rendered {
    pub(crate) body: Bytes,
    pub(crate) tag: String,
    /// For `Last-Modified`.
    pub(crate) modified: String,
}

impl Rendered {
    /// Refuses a large record where there is no memory to send it from.
    pub(crate) fn of<R: Record>(found: &Found<R>, answers: &Answers) -> Result<Self, Error> {
        let body = written(|| serde_json::to_vec(&found.record))?;
        Ok(Self {
            body: answers.count(body)?,
            tag: entity_tag::of(found.fingerprint),
            modified: http_date(found.updated_at),
        })
    }

    /// Whether it may be kept for others: a large one would take the place of thousands, and that of other answers.
    pub(crate) fn is_small(&self) -> bool {
        answers::is_small(&self.body)
    }

    /// Memory that its texts take.
    pub(crate) fn bytes(&self) -> usize {
        self.body.len() + self.tag.len() + self.modified.len()
    }
}

fn http_date(time: DateTime<Utc>) -> String {
    time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
