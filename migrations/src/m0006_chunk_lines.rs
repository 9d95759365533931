//! The maximum number of lines of a chunk; existing objects have no such limit.

use sea_orm_migration::{prelude::*, schema::big_integer_null};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let add =
            Table::alter().table("objects").add_column(big_integer_null("chunk_lines")).take();
        manager.alter_table(add).await
    }
}
