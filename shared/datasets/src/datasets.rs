//! The datasets of an installation.

use std::{collections::BTreeMap, sync::Arc};

use crate::{Dataset, DeclarationError, parse};

/// The declaration of products, which is used when there is no other.
pub const PRODUCTS: &str = include_str!("../../../datasets/products.toml");

/// Datasets with all their declarations.
#[derive(Clone, Debug, Default)]
pub struct Datasets {
    by_number: Arc<BTreeMap<i64, Arc<Dataset>>>,
    current: Arc<BTreeMap<String, Arc<Dataset>>>,
}

impl Datasets {
    /// The dataset that is compiled in, as an empty ledger has it.
    pub fn built_in() -> Result<Self, DeclarationError> {
        let mut products = parse("products", "products.toml", PRODUCTS)?;
        products.declaration = 1;
        Ok([products].into_iter().collect())
    }

    /// The current declaration of a dataset.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Dataset>> {
        self.current.get(name)
    }

    /// The declaration with this number.
    #[must_use]
    pub fn declaration(&self, number: i64) -> Option<&Arc<Dataset>> {
        self.by_number.get(&number)
    }

    /// The current declarations of all datasets, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Dataset>> {
        self.current.values()
    }

    /// Only the datasets for whose names this is true.
    #[must_use]
    pub fn only(&self, is_wanted: impl Fn(&str) -> bool) -> Self {
        let current = self.current.iter().filter(|(name, _)| is_wanted(name));
        let current = current.map(|(name, dataset)| (name.clone(), dataset.clone()));
        Self { current: Arc::new(current.collect()), by_number: self.by_number.clone() }
    }

    /// The names of all datasets, for messages.
    #[must_use]
    pub fn names(&self) -> String {
        if self.current.is_empty() {
            return "none".to_owned();
        }
        let names: Vec<&str> = self.current.keys().map(|name| &**name).collect();
        names.join(", ")
    }
}

impl FromIterator<Dataset> for Datasets {
    fn from_iter<I: IntoIterator<Item = Dataset>>(declared: I) -> Self {
        let declared = declared.into_iter().map(|dataset| (dataset.declaration, Arc::new(dataset)));
        let by_number: BTreeMap<i64, Arc<Dataset>> = declared.collect();
        let current = by_number.values().map(|dataset| (dataset.name.clone(), dataset.clone()));
        Self { current: Arc::new(current.collect()), by_number: Arc::new(by_number) }
    }
}
