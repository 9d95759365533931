//! The datasets of an installation.

use std::sync::Arc;

use crate::{Dataset, DeclarationError, parse};

/// The declaration of products, which is used when there is no other.
const PRODUCTS: &str = include_str!("../../../datasets/products.toml");

/// Datasets, by name.
#[derive(Clone, Debug)]
pub struct Datasets(Arc<[Arc<Dataset>]>);

impl Datasets {
    /// The datasets that are compiled in.
    pub fn built_in() -> Result<Self, DeclarationError> {
        let products = parse("products", "datasets/products.toml", PRODUCTS)?;
        Ok([products].into_iter().collect())
    }

    /// The dataset with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Dataset>> {
        self.iter().find(|dataset| dataset.name == name)
    }

    /// All datasets.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Dataset>> {
        self.0.iter()
    }

    /// The names of all datasets, for messages.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.iter().map(|dataset| &*dataset.name).collect();
        names.join(", ")
    }
}

impl FromIterator<Dataset> for Datasets {
    fn from_iter<I: IntoIterator<Item = Dataset>>(datasets: I) -> Self {
        Self(datasets.into_iter().map(Arc::new).collect())
    }
}
