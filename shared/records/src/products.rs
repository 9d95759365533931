//! Products of a catalogue.

use poem_openapi::Object;
use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use serde::{Deserialize, Serialize};

use crate::{Decimal, Record, Violation, check};

/// A product as a shop lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DeriveEntityModel, Object)]
#[sea_orm(table_name = "products")]
#[oai(rename = "Product")]
pub struct Model {
    /// Identifies the product; above 0.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// What it is called; not empty.
    pub title: String,
    /// What it costs, exactly; 0 or more.
    pub price: Decimal,
    /// The shelf it stands on; not empty.
    pub category: String,
    /// Who makes it; not empty.
    pub brand: String,
    /// Its page.
    pub url: String,
    /// What is said about it.
    pub description: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Record for Model {
    type Table = Entity;
    type Id = i64;

    const NAME: &'static str = "products";

    fn id(&self) -> i64 {
        self.id
    }

    fn validate(&self) -> Result<(), Violation> {
        check::positive("id", self.id)?;
        check::not_empty("title", &self.title)?;
        check::not_negative("price", self.price)?;
        check::not_empty("category", &self.category)?;
        check::not_empty("brand", &self.brand)
    }
}
