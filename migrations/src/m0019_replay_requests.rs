//! Replays that an api asks for and a fetcher makes.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, boolean, text_null, timestamp_with_time_zone},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let requests = Table::create()
            .table("replay_requests")
            .col(big_integer("id").primary_key())
            .col(big_integer("object_id"))
            .col(boolean("dry_run"))
            // Who asked does not wait longer.
            .col(timestamp_with_time_zone("expires_at"))
            .col(boolean("is_taken").default(false))
            .col(text_null("answer"))
            .col(boolean("is_refused").default(false))
            .take();
        manager.create_table(requests).await
    }
}
