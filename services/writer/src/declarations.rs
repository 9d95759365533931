//! The declarations by which a writer parses chunks, read from the ledger.

use std::sync::{Arc, PoisonError, RwLock};

use jetline_core::EpochId;
use jetline_datasets::{Dataset, Datasets};
use jetline_queue::Chunk;
use jetline_store::{Database, Error};

/// The declarations that were read.
pub struct Declarations {
    database: Database,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    datasets: Datasets,
    /// The epoch in force when they were read.
    epoch: Option<EpochId>,
}

impl Declarations {
    /// None is read yet.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        Self { database: database.clone(), known: RwLock::default() }
    }

    /// Reads the declarations from the ledger.
    pub async fn read(&self) -> Result<Datasets, Error> {
        // Perhaps as they were before the epoch in force: they are read again under it.
        self.read_under(None).await
    }

    async fn read_under(&self, epoch: Option<EpochId>) -> Result<Datasets, Error> {
        let datasets = self.database.datasets().await?;
        let known = Known { datasets: datasets.clone(), epoch };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(datasets)
    }

    /// The dataset of a chunk, by its declaration.
    #[must_use]
    pub fn of(&self, chunk: &Chunk) -> Option<Arc<Dataset>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let dataset = known.datasets.declaration(chunk.declaration);
        dataset.filter(|dataset| dataset.name == chunk.dataset).cloned()
    }

    /// The same declaration, with the columns of its table as of this epoch: another declaration that adds some ends the
    /// epoch.
    pub async fn under(
        &self,
        epoch: EpochId,
        dataset: &Arc<Dataset>,
    ) -> Result<Arc<Dataset>, Error> {
        let number = dataset.declaration;
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if known.epoch == Some(epoch) {
                return Ok(known.datasets.declaration(number).unwrap_or(dataset).clone());
            }
        }
        let datasets = self.read_under(Some(epoch)).await?;
        Ok(datasets.declaration(number).unwrap_or(dataset).clone())
    }
}
