//! A record as it goes out, written once for all who ask for it.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use jetline_records::Record;
use jetline_store::read::records::Found;

use crate::entity_tag;

/// What the answer to a request for one record consists of.
pub(crate) struct Rendered {
    pub(crate) body: Bytes,
    pub(crate) tag: String,
    /// For `Last-Modified`.
    pub(crate) modified: String,
}

impl Rendered {
    pub(crate) fn of<R: Record>(found: &Found<R>) -> serde_json::Result<Self> {
        let body = serde_json::to_vec(&found.record)?;
        Ok(Self {
            // No larger than it is, for it may stay for a moment.
            body: body.into_boxed_slice().into(),
            tag: entity_tag::of(found.fingerprint),
            modified: http_date(found.updated_at),
        })
    }

    /// Memory that its texts take.
    pub(crate) fn bytes(&self) -> usize {
        self.body.len() + self.tag.len() + self.modified.len()
    }
}

fn http_date(time: DateTime<Utc>) -> String {
    time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
