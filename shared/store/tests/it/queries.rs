//! Declarations with queries: who may declare them, and what they may read.

use std::time::Duration;

use jetline_datasets::Value;
use jetline_migrations::Migrator;
use jetline_store::{
    Catalog, DeclarationFile,
    catalog::queries::{QueryEnd, QueryLimits},
};
use sea_orm_migration::MigratorTrait;

use crate::fixtures::{TestDatabase, both, postgres};

const LIMITS: QueryLimits =
    QueryLimits { time: Duration::from_secs(10), rows: 10, row_bytes: 1_000 };

fn file(name: &str, rest: &str) -> DeclarationFile {
    let text = format!("key = 'id'\ncolumns = {{ id = 'text' }}\n{rest}");
    DeclarationFile::new(name, "declaration", &text).unwrap()
}

fn with_query(name: &str, sql: &str) -> DeclarationFile {
    file(name, &format!("[queries.q]\nsql = \"{sql}\"\ncolumns = {{ a = 'text' }}"))
}

/// The rows of the query of a dataset.
async fn rows(base: &TestDatabase, dataset: &str) -> Vec<String> {
    let datasets = base.database.datasets().await.unwrap();
    let query = &datasets.get(dataset).unwrap().queries[0];
    let mut rows = Vec::new();
    let mut each = |values: Vec<Value>| {
        rows.push(values[0].to_text());
        true
    };
    let catalog = Catalog::new(&base.database);
    let end = catalog.query(query, Vec::new(), LIMITS, &mut each).await.unwrap();
    assert_eq!(end, QueryEnd::Complete { has_more: false });
    rows
}

/// A database of which a user with a schema of the same name has nothing but that schema.
async fn of_user(prefix: &str, attributes: &str) -> (TestDatabase, String) {
    let base = postgres().await;
    // The role of queries exists in the server from now on.
    base.database.declare(&[with_query("others", "SELECT 'x' AS a")]).await.unwrap();
    let name = base.text(&format!("SELECT '{prefix}_' || current_database()")).await;
    base.run(&format!(
        "CREATE ROLE {name} LOGIN {attributes} PASSWORD '{name}'; CREATE SCHEMA {name} AUTHORIZATION {name}"
    ))
    .await;
    if !attributes.is_empty() {
        // Otherwise, since PostgreSQL 16, only who created the role may grant it.
        base.run(&format!("GRANT jetline_queries TO {name} WITH ADMIN OPTION")).await;
    }
    let base = base.connected_as(&name).await;
    Migrator::up(base.db(), None).await.unwrap();
    (base, name)
}

#[tokio::test]
async fn user_who_may_create_roles_declares_queries_in_a_schema_of_its_own() {
    let (base, name) = of_user("owner", "CREATEROLE").await;
    let sql = "SELECT current_user || ' ' || count(*) AS a FROM accounts";
    base.database.declare(&[with_query("accounts", sql)]).await.unwrap();
    assert_eq!(rows(&base, "accounts").await, ["jetline_queries 0"]);
    let now = base.text("SELECT current_user::text || ' ' || current_schema()").await;
    assert_eq!(now, format!("{name} {name}"));
}

#[tokio::test]
async fn user_who_may_not_take_the_role_is_told_what_to_run() {
    let (base, _) = of_user("poor", "").await;
    let declared = base.database.declare(&[with_query("accounts", "SELECT 'x' AS a")]).await;
    let refused = declared.unwrap_err().to_string();
    assert!(refused.contains("`GRANT jetline_queries TO` this user"), "{refused}");
}

#[tokio::test]
async fn query_whose_table_was_dropped_stops_no_other_declaration() {
    for base in both().await {
        let reader = with_query("accounts", "SELECT id AS a FROM orders");
        base.database.declare(&[file("orders", ""), reader.clone()]).await.unwrap();
        assert!(base.database.drop_dataset("orders").await.unwrap());
        base.database.declare(&[reader, file("invoices", "")]).await.unwrap();
        let changed = with_query("accounts", "SELECT id AS a FROM orders LIMIT 1");
        let refused = base.database.declare(&[changed]).await.unwrap_err().to_string();
        assert!(refused.contains("accounts is refused: query q: "), "{refused}");
        assert!(refused.contains("orders"), "{refused}");
        // The connections can still write.
        base.run("DELETE FROM invoices").await;
    }
}
