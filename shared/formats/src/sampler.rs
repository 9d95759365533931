//! From the bytes of records to a proposed declaration.

use jetline_datasets::{Inference, Reason, Rejection};

use crate::{
    Format,
    csv::{self, Fields},
};

/// Adds the records of one object to what a declaration is proposed from.
pub struct Sampler {
    csv: Option<Result<(Fields, Vec<String>), Rejection>>,
}

impl Sampler {
    /// `header` is that of CSV, as [`detect`](crate::detect) found it.
    #[must_use]
    pub fn new(format: Format, header: &[u8]) -> Self {
        let Format::Csv(delimiter) = format else {
            return Self { csv: None };
        };
        let names = csv::names(delimiter, header);
        let csv = names.map(|names| (Fields::new(delimiter.byte()), names));
        Self { csv: Some(csv.map_err(|message| Rejection::new(Reason::InvalidCsv, message))) }
    }

    /// Adds a record, unless it is not of the format.
    pub fn add(&mut self, inference: &mut Inference, text: &[u8]) -> Result<(), Rejection> {
        match &mut self.csv {
            None => inference.add_json(text),
            Some(Err(rejection)) => Err(rejection.clone()),
            Some(Ok((fields, names))) => {
                fields.read_all(text, names.len())?;
                let texts = fields.iter().collect::<Result<Vec<&str>, Rejection>>()?;
                let fields: Vec<(&str, &str)> =
                    names.iter().map(|name| &**name).zip(texts).collect();
                inference.add_fields(&fields)
            }
        }
    }
}
