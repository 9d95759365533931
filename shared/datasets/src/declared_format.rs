//! The format that a declaration names for the objects of its dataset.

/// The format of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeclaredFormat {
    /// The one that the extension says, then the content.
    #[default]
    Auto,
    /// A JSON object per line.
    JsonLines,
    /// A JSON array, or values one after another.
    Json,
    /// CSV with this delimiter, or the one that the header has most of.
    Csv(Option<u8>),
}

/// What may separate the fields of CSV.
const DELIMITERS: [&str; 4] = [",", ";", "\t", "|"];

impl DeclaredFormat {
    /// Reads the name of a format; the error says what is allowed.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        match name {
            "auto" => Ok(Self::Auto),
            "jsonl" => Ok(Self::JsonLines),
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv(None)),
            _ => Err(format!("there is no format {name:?}; there are: auto, jsonl, json, csv")),
        }
    }

    /// The format with a delimiter; the error says what is allowed.
    pub(crate) fn with_delimiter(self, delimiter: &str) -> Result<Self, String> {
        if !matches!(self, Self::Csv(_)) {
            return Err("delimiter: only CSV has one: add format = \"csv\"".to_owned());
        }
        if !DELIMITERS.contains(&delimiter) {
            let allowed = DELIMITERS.map(|one| format!("{one:?}")).join(", ");
            return Err(format!("delimiter: {delimiter:?} is none; allowed: {allowed}"));
        }
        Ok(Self::Csv(delimiter.bytes().next()))
    }
}
