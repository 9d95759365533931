//! Declarations of datasets, to which objects are bound; and names of Jetline's own columns that no column of a record
//! has.

use sea_orm::Statement;
use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, text},
};

/// The declaration of the products that databases of before have.
const PRODUCTS: &str = r#"# Products of a catalogue, as a shop lists them. This declaration is compiled in.
key = "id"
unknown = "ignore"

[columns]
id = { type = "bigint", minimum = 1 }
title = { type = "text", pattern = '\S' }
price = { type = "numeric", minimum = 0 }
category = { type = "text", pattern = '\S' }
brand = { type = "text", pattern = '\S' }
url = "text"
description = "text"
"#;

const RENAMED: [(&str, &str); 3] = [
    ("fingerprint", "jetline_fingerprint"),
    ("position", "jetline_position"),
    ("updated_at", "jetline_changed_at"),
];

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let declarations = Table::create()
            .table("declarations")
            .col(big_integer("number").primary_key())
            .col(text("dataset"))
            .col(text("declaration"))
            .take();
        manager.create_table(declarations).await?;
        let db = manager.get_connection();
        let backend = db.get_database_backend();
        let sql = "INSERT INTO declarations VALUES (1, 'products', $1)";
        db.execute_raw(Statement::from_sql_and_values(backend, sql, [PRODUCTS.into()])).await?;
        let bound = big_integer("declaration").default(1).take();
        manager.alter_table(Table::alter().table("objects").add_column(bound).take()).await?;
        // Records of other datasets, which were compiled in, have no declaration.
        let others = "UPDATE objects SET declaration = 0 WHERE dataset <> 'products'";
        db.execute_unprepared(others).await?;
        for (old, new) in RENAMED {
            let rename = format!("ALTER TABLE products RENAME COLUMN {old} TO {new}");
            db.execute_unprepared(&rename).await?;
        }
        Ok(())
    }
}
