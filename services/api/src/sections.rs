//! The tags of the OpenAPI document.

use poem_openapi::Tags;

/// The tags besides those of the datasets.
#[derive(Tags)]
pub(crate) enum Sections {
    /// Objects that were read, and their rejected lines.
    #[oai(rename = "ingestion")]
    Ingestion,
}
