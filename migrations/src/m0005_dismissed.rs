//! Columns for dismissed objects, and for replays that write every row.

use sea_orm_migration::{prelude::*, schema::boolean};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const COLUMNS: [&str; 2] = ["dismissed", "rewrite"];
const FAILED: &str = "objects_failed";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite adds one column at a time.
        for name in COLUMNS {
            let column = boolean(name).not_null().default(false).take();
            let add = Table::alter().table("objects").add_column(column).take();
            manager.alter_table(add).await?;
        }
        manager.create_index(failed()).await
    }
}

/// The failed objects that are not dismissed: few, and queried with every listing of the sources.
fn failed() -> IndexCreateStatement {
    Index::create()
        .name(FAILED)
        .table("objects")
        .col("id")
        .and_where(Expr::col("state").eq("failed"))
        .and_where(Expr::col("dismissed").eq(false))
        .take()
}
