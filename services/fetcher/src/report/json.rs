//! Objects and the summary as JSON.

use serde::{Serialize, Serializer, ser::SerializeStruct};
use std::collections::BTreeMap;

use jetline_store::catalog::{objects::ObjectStatus, rejects::RejectSummary};

use super::Report;

/// An object as `GET /objects` shows it, with the numbers of its stored rejected lines by reason.
#[derive(Serialize)]
pub(super) struct Object<'a> {
    #[serde(flatten)]
    status: &'a ObjectStatus,
    lines: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasons: Option<BTreeMap<&'a str, i64>>,
}

impl<'a> Object<'a> {
    pub(super) fn new(object: &'a ObjectStatus, rejects: Option<&'a RejectSummary>) -> Self {
        let reasons = rejects.map(|rejects| {
            rejects.reasons.iter().map(|(reason, lines)| (&**reason, *lines)).collect()
        });
        Self { status: object, lines: object.lines(), reasons }
    }
}

#[derive(Serialize)]
struct Skipped<'a> {
    count: u64,
    named: &'a [String],
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let objects: Vec<Object<'_>> =
            self.objects.iter().map(|one| Object::new(one, self.rejects.get(&one.id))).collect();
        let failed: Vec<Object<'_>> =
            self.first_failed.iter().map(|one| Object::new(one, None)).collect();
        let mut report = serializer.serialize_struct("Report", 8)?;
        report.serialize_field("complete", &self.is_complete())?;
        report.serialize_field("listed", &self.listed)?;
        report.serialize_field("seconds", &self.elapsed.as_secs_f64())?;
        report.serialize_field("objects", &objects)?;
        report.serialize_field("failed_before", &self.failed_before)?;
        report.serialize_field("first_failed_before", &failed)?;
        let skipped = Skipped { count: self.skipped.count(), named: self.skipped.named() };
        report.serialize_field("skipped", &skipped)?;
        report.serialize_field("missing", &self.missing)?;
        report.end()
    }
}
