//! A serialized record, shared by all requests for it.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use jetline_datasets::Dataset;
use jetline_store::catalog::records::StoredRecord;

use crate::{
    database::Error,
    http::{
        entity_tag,
        json::serialize,
        response_budget::{self, ResponseBudget},
    },
};

/// The body and the headers of a response with one record.
pub(crate) struct Rendered {
    pub(crate) body: Bytes,
    pub(crate) tag: String,
    /// The value of `Last-Modified`.
    pub(crate) modified: String,
    pub(crate) is_deleted: bool,
}

impl Rendered {
    /// Serializes a record; an error where the budget for responses is exhausted.
    pub(crate) fn of(
        dataset: &Dataset,
        found: &StoredRecord,
        budget: &ResponseBudget,
    ) -> Result<Self, Error> {
        let mut body = Vec::new();
        serialize(|| dataset.write_json(&found.values, found.extra.as_deref(), &mut body))?;
        Ok(Self {
            body: budget.count(body)?,
            tag: entity_tag::of(found.fingerprint, dataset.declaration),
            modified: http_date(found.changed_at),
            is_deleted: found.is_deleted,
        })
    }

    /// Whether it may be cached: a large one would displace thousands of others, and occupy the budget for responses.
    pub(crate) fn is_small(&self) -> bool {
        response_budget::is_small(&self.body)
    }

    /// Memory of its texts.
    pub(crate) fn bytes(&self) -> usize {
        self.body.len() + self.tag.len() + self.modified.len()
    }
}

fn http_date(time: DateTime<Utc>) -> String {
    time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
