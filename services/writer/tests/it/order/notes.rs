//! A dataset with a version column.

use jetline_records::{Record, Violation, check};
use poem_openapi::Object;
use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait,
    EnumIter, PrimaryKeyTrait,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, DeriveEntityModel, Object)]
#[sea_orm(table_name = "notes")]
#[oai(rename = "Note")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: i64,
    pub(crate) text: String,
    pub(crate) version: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Record for Model {
    type Table = Entity;
    type Id = i64;

    const NAME: &'static str = "notes";
    const VERSION_COLUMN: Option<&'static str> = Some("version");

    fn id(&self) -> i64 {
        self.id
    }

    fn version(&self) -> i64 {
        self.version
    }

    fn validate(&self) -> Result<(), Violation> {
        check::positive("id", self.id)
    }
}
