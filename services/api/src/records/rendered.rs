//! A serialized record, shared by all requests for it.

use std::time::SystemTime;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use headers::LastModified;
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

/// Transactions are shorter than this, and copies younger.
const SETTLED_AFTER: TimeDelta = TimeDelta::minutes(1);

/// The body and the headers of a response with one record.
pub(crate) struct Rendered {
    pub(crate) body: Bytes,
    pub(crate) tag: String,
    /// When its content changed last, if no other content can have the same second.
    pub(crate) modified: Option<LastModified>,
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
        body.push(b'\n');
        Ok(Self {
            body: budget.count(body)?,
            tag: entity_tag::of(found.fingerprint, dataset.declaration),
            modified: last_modified(found.changed_at, Utc::now()),
            is_deleted: found.is_deleted,
        })
    }

    /// Whether it may be cached: a large one would displace thousands of others, and occupy the budget for responses.
    pub(crate) fn is_small(&self) -> bool {
        response_budget::is_small(&self.body)
    }

    /// Memory of its texts.
    pub(crate) fn bytes(&self) -> usize {
        self.body.len() + self.tag.len()
    }
}

/// None while another content may still be committed with the same second: a client that had the first one would be told that it
/// is current.
fn last_modified(changed_at: DateTime<Utc>, now: DateTime<Utc>) -> Option<LastModified> {
    (now - changed_at > SETTLED_AFTER).then(|| SystemTime::from(changed_at).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_a_change_is_told_when_it_is_certain() {
        let changed_at = DateTime::from_timestamp(1_795_000_000, 900_000_000).unwrap();
        let after = |seconds| last_modified(changed_at, changed_at + TimeDelta::seconds(seconds));
        assert_eq!(after(0), None);
        assert_eq!(after(60), None);
        let told = after(61).unwrap();
        assert_eq!(
            SystemTime::from(told),
            SystemTime::from(DateTime::from_timestamp(1_795_000_000, 0).unwrap())
        );
    }
}
