//! The tables of the ledger.

use sea_orm_migration::{
    prelude::*,
    schema::{
        big_integer, big_integer_null, binary, boolean, integer, text, text_null,
        timestamp_with_time_zone, timestamp_with_time_zone_null,
    },
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(objects()).await?;
        manager.create_index(object_versions()).await?;
        manager.create_index(open_objects()).await?;
        manager.create_table(chunks()).await?;
        manager.create_table(rejected_lines()).await?;
        manager.create_table(epoch()).await
    }
}

fn objects() -> TableCreateStatement {
    let mut table = Table::create()
        .table("objects")
        .col(big_integer("id").primary_key())
        .col(text("registration"))
        .col(text("dataset"))
        .col(text("root"))
        .col(text("key"))
        .col(text("etag"))
        .col(big_integer("size"))
        .col(timestamp_with_time_zone("last_modified"))
        .col(big_integer("chunk_bytes"))
        .col(big_integer("max_line_bytes"))
        .col(text("state"))
        .col(text_null("error"))
        .col(boolean("unreadable").default(false))
        .col(big_integer("readings").default(0))
        .col(big_integer_null("total_bytes"))
        .col(big_integer_null("total_lines"))
        .col(text_null("lease_owner"))
        .col(big_integer_null("lease_until"))
        .col(big_integer("folded_bytes").default(0))
        .take();
    counts(&mut table)
        .col(timestamp_with_time_zone("registered_at"))
        .col(timestamp_with_time_zone_null("done_at"))
        .take()
}

/// An object version is registered once. The same content with a later modification time is another version.
fn object_versions() -> IndexCreateStatement {
    Index::create()
        .name("objects_version")
        .table("objects")
        .col("root")
        .col("key")
        .col("etag")
        .col("last_modified")
        .col("size")
        .unique()
        .take()
}

/// The open objects, which are few and often queried.
fn open_objects() -> IndexCreateStatement {
    Index::create()
        .name("objects_open")
        .table("objects")
        .col("id")
        .and_where(Expr::col("state").is_not_in(["done", "failed"]))
        .take()
}

fn chunks() -> TableCreateStatement {
    let mut table = Table::create()
        .table("chunks")
        .col(big_integer("object_id"))
        .col(big_integer("start_offset"))
        .col(big_integer("end_offset"))
        .col(big_integer("first_line"))
        .col(big_integer("line_count"))
        .col(text("state"))
        .col(integer("attempts").default(0))
        .take();
    counts(&mut table)
        .col(big_integer("blank").default(0))
        .col(timestamp_with_time_zone("committed_at"))
        .primary_key(Index::create().col("object_id").col("start_offset"))
        .take()
}

fn counts(table: &mut TableCreateStatement) -> &mut TableCreateStatement {
    for count in ["inserted", "updated", "unchanged", "superseded", "rejected"] {
        table.col(big_integer(count).default(0));
    }
    table
}

fn rejected_lines() -> TableCreateStatement {
    Table::create()
        .table("rejected_lines")
        .col(big_integer("object_id"))
        .col(big_integer("line"))
        .col(big_integer("byte_offset"))
        .col(text("reason"))
        .col(text("message"))
        .col(binary("raw"))
        .primary_key(Index::create().col("object_id").col("line"))
        .take()
}

fn epoch() -> TableCreateStatement {
    Table::create()
        .table("epoch")
        .col(integer("slot").primary_key())
        .col(text("id"))
        .col(big_integer("base"))
        .col(big_integer("recovery"))
        .col(text("mode"))
        .col(text("server_started_at"))
        .col(timestamp_with_time_zone("began_at"))
        .take()
}
