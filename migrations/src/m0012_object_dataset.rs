//! The dataset of an object is part of what identifies it: a file that was read as the wrong dataset is read again as the
//! right one.

use sea_orm_migration::prelude::*;

const VERSION: [&str; 5] = ["root", "key", "etag", "last_modified", "size"];

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        replace_index(manager, VERSION.iter().chain(&["dataset"])).await
    }
}

async fn replace_index(
    manager: &SchemaManager<'_>,
    columns: impl Iterator<Item = &&'static str>,
) -> Result<(), DbErr> {
    manager.drop_index(Index::drop().name("objects_version").table("objects").to_owned()).await?;
    let mut index = Index::create().name("objects_version").table("objects").unique().take();
    for column in columns {
        index.col(*column);
    }
    manager.create_index(index).await
}
