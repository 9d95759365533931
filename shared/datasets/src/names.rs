//! Names of datasets and columns.

/// Maximum number of bytes of a name, as in PostgreSQL.
pub(crate) const MAX_NAME_BYTES: usize = 63;

/// Columns that PostgreSQL has in every table.
const SYSTEM_COLUMNS: [&str; 6] = ["cmax", "cmin", "ctid", "tableoid", "xmax", "xmin"];

/// The prefix of tables that are SQLite's.
const SQLITE_PREFIX: &str = "sqlite_";

/// The prefix of Jetline's own columns.
const OWN_PREFIX: &str = "jetline_";

/// Names that no dataset can have: tables of the ledger, and routes and operations of the API, some of them planned.
const RESERVED_DATASETS: [&str; 26] = [
    "api_keys",
    "chunks",
    "dataset",
    "datasets",
    "declarations",
    "deliveries",
    "delivery_cancellations",
    "delivery_changes",
    "delivery_destinations",
    "docs",
    "epoch",
    "epoch_unlogged",
    "healthz",
    "intake",
    "ledger",
    "listed_objects",
    "metrics",
    "object",
    "objects",
    "readyz",
    "reject",
    "rejected_lines",
    "rejects",
    "replay_requests",
    "seaql_migrations",
    "unknown_fields",
];

/// Whether a dataset or a column can be called so, unless the name is reserved.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_first = |character: char| character.is_ascii_alphabetic() || character == '_';
    text.starts_with(is_first)
        && text.len() <= MAX_NAME_BYTES
        && text.chars().all(|character| is_first(character) || character.is_ascii_digit())
}

/// Checks that a dataset can have this name.
pub(crate) fn check_dataset_name(name: &str) -> Result<(), String> {
    check_name(name, "dataset")?;
    let lower = name.to_ascii_lowercase();
    if RESERVED_DATASETS.contains(&&*lower) || lower.starts_with(SQLITE_PREFIX) {
        return Err(format!("no dataset can be called {name}: Jetline uses the name"));
    }
    Ok(())
}

/// Checks that a column can have this name.
pub(crate) fn check_column_name(name: &str) -> Result<(), String> {
    check_name(name, "column")?;
    let lower = name.to_ascii_lowercase();
    if lower.starts_with(OWN_PREFIX) {
        return Err(format!("{name}: names that begin with {OWN_PREFIX} are Jetline's"));
    }
    if SYSTEM_COLUMNS.contains(&&*lower) {
        return Err(format!("{name}: PostgreSQL has a column of this name in every table"));
    }
    Ok(())
}

fn check_name(name: &str, of: &str) -> Result<(), String> {
    if is_name(name) {
        return Ok(());
    }
    Err(format!(
        "{name:?} cannot be the name of a {of}: use letters, digits and _, at most {MAX_NAME_BYTES}, no digit first"
    ))
}
