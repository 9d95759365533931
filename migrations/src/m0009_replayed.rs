//! A column for an epoch that ended with a replay, instead of a text in `server_started_at`.

use sea_orm_migration::{prelude::*, schema::boolean};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let replayed = boolean("replayed").default(false).take();
        let alter = Table::alter().table("epoch").add_column(replayed).take();
        manager.alter_table(alter).await?;
        let update = "UPDATE epoch SET replayed = TRUE WHERE server_started_at = 'before a replay'";
        manager.get_connection().execute_unprepared(update).await.map(drop)
    }
}
