//! Posts: records that clients sent over HTTP, by the first line of each in the object into which it was written; and which
//! objects are written from posts.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, binary, boolean, text, text_null},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let posts = Table::create()
            .table("intake")
            .col(big_integer("object_id"))
            .col(big_integer("first_line"))
            .col(big_integer("lines"))
            .col(text("dataset"))
            // Who sent it; empty where nobody has to authenticate.
            .col(text("caller"))
            .col(text_null("idempotency_key"))
            .col(binary("body_hash"))
            .col(big_integer("created_at"))
            .primary_key(Index::create().col("object_id").col("first_line"))
            .take();
        manager.create_table(posts).await?;
        let posted = boolean("is_posted").default(false).take();
        manager.alter_table(Table::alter().table("objects").add_column(posted).take()).await?;
        let key = Index::create()
            .name("intake_idempotency_key")
            .table("intake")
            .unique()
            .col("caller")
            .col("dataset")
            .col("idempotency_key")
            .and_where(Expr::col("idempotency_key").is_not_null())
            .take();
        manager.create_index(key).await?;
        let age =
            Index::create().name("intake_created_at").table("intake").col("created_at").take();
        manager.create_index(age).await
    }
}
