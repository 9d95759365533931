//! How the document is divided.

use poem_openapi::Tags;

/// The sections of the document besides the datasets' own.
#[derive(Tags)]
pub(crate) enum Sections {
    /// What was read and what became of it.
    #[oai(rename = "ingestion")]
    Ingestion,
}
