//! What was read: objects and rejected lines.

mod objects;
mod rejects;

pub(crate) use objects::ObjectApi;
use poem_openapi::Tags;
pub(crate) use rejects::RejectApi;

/// The tags besides those of the datasets.
#[derive(Tags)]
pub(crate) enum Sections {
    /// Objects that were read, and their rejected lines.
    #[oai(rename = "ingestion")]
    Ingestion,
}
