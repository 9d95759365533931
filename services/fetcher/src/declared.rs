//! The formats that declarations name, by the declarations of objects.

use std::sync::{Mutex, PoisonError};

use jetline_datasets::{Datasets, DeclaredFormat};
use jetline_store::{Database, Error, objects::LeasedObject};

/// The declarations that were read from the ledger.
pub(crate) struct DeclaredFormats {
    database: Database,
    known: Mutex<Datasets>,
}

impl DeclaredFormats {
    pub(crate) fn new(database: &Database, known: Datasets) -> Self {
        Self { database: database.clone(), known: Mutex::new(known) }
    }

    /// The format that the declaration of an object names. Declarations never change, so that only unknown ones are read.
    pub(crate) async fn of(&self, object: &LeasedObject) -> Result<DeclaredFormat, Error> {
        let find = |datasets: &Datasets| Some(datasets.declaration(object.declaration)?.format);
        let known = find(&self.known.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(format) = known {
            return Ok(format);
        }
        let datasets = self.database.datasets().await?;
        let format = find(&datasets).unwrap_or_default();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = datasets;
        Ok(format)
    }
}
