//! The table of a dataset: created and extended for a declaration. What loses data or rewrites the table is refused.

use std::collections::HashSet;

use jetline_core::Fingerprint;
use jetline_datasets::{Column, Dataset, MAX_COLUMNS};
use sea_orm::{ConnectionTrait, FromQueryResult};

use crate::{
    Error,
    dialect::{self, Dialect},
    statement::{execute, query},
};

/// Jetline's own columns, besides those of the record.
const POSITION: &str = "jetline_position";
const FINGERPRINT: &str = "jetline_fingerprint";
const CHANGED_AT: &str = "jetline_changed_at";

#[derive(FromQueryResult)]
pub(crate) struct Existing {
    name: String,
    is_required: bool,
}

/// Makes the table fit a declaration; `before` has the earlier ones of the dataset. Returns what was done.
pub(super) async fn fit(
    tx: &impl ConnectionTrait,
    dataset: &Dataset,
    before: &[Dataset],
) -> Result<Vec<String>, Error> {
    let dialect = dialect::of(tx);
    let table = &dataset.name;
    let is_known = !before.is_empty();
    for earlier in before {
        compatible(earlier, dataset).map_err(|reason| refused(dataset, &reason))?;
    }
    let columns = before.iter().chain([dataset]).flat_map(|one| &one.columns);
    let columns: HashSet<&str> = columns.map(|column| &*column.name).collect();
    if columns.len() > MAX_COLUMNS {
        let reason = format!("all its declarations together have more than {MAX_COLUMNS} columns");
        return Err(refused(dataset, &reason));
    }
    let columns: Vec<&Column> = dataset.stored().collect();
    let (existing, done) = create_or_extend(tx, dataset, table, &columns, is_known).await?;
    for column in existing.iter().filter(|column| column.is_required) {
        if may_be_null(dataset, &column.name) {
            let sql = dialect.drop_not_null(table, &column.name).ok_or_else(|| {
                    let reason = format!(
                        "the column {} of an SQLite table cannot become optional: load into a new database",
                        column.name
                    );
                    refused(dataset, &reason)
                })?;
            execute(tx, "make a column optional", &sql, []).await?;
        }
    }
    for column in dataset.indexed().filter(|column| column.name != dataset.key().name) {
        execute(tx, "create an index", &create_index(dataset, column), []).await?;
    }
    Ok(done)
}

/// Creates a table, or adds the columns that it lacks. Returns the columns that it had, and what was done.
///
/// `is_known` says whether there should be one already.
pub(crate) async fn create_or_extend(
    tx: &impl ConnectionTrait,
    dataset: &Dataset,
    table: &str,
    columns: &[&Column],
    is_known: bool,
) -> Result<(Vec<Existing>, Vec<String>), Error> {
    let dialect = dialect::of(tx);
    let existing: Vec<Existing> =
        query(tx, "read the table's columns", dialect.table_columns(), [table.into()]).await?;
    if existing.is_empty() && is_known {
        let again = load_again(dataset);
        let reason = format!("the table {table} is missing: restore it, or {again}");
        return Err(refused(dataset, &reason));
    }
    if existing.is_empty() {
        execute(tx, "create a table", &create(dialect, dataset, table, columns), []).await?;
        return Ok((existing, vec![format!("table {table} created")]));
    }
    if !is_known {
        let reason =
            format!("the database has a table {table}, which is not Jetline's: rename one of them");
        return Err(refused(dataset, &reason));
    }
    let mut done = Vec::new();
    let missing = |column: &&&Column| existing.iter().all(|known| known.name != column.name);
    for column in columns.iter().filter(missing) {
        let sql = format!("ALTER TABLE {table:?} ADD COLUMN {}", declared(dialect, column));
        execute(tx, "add a column", &sql, []).await?;
        done.push(format!("column {} of {table} added: null in old rows", column.name));
    }
    Ok((existing, done))
}

/// The rows with a value are in the order of their keys in the index, so that a page of them is a part of it.
fn create_index(dataset: &Dataset, column: &Column) -> String {
    let (table, column, key) = (&dataset.name, &column.name, &dataset.key().name);
    let digest = Fingerprint::of(format!("{table}.{column}.{key}").as_bytes());
    format!("CREATE INDEX IF NOT EXISTS \"jetline_{digest}\" ON {table:?} ({column:?}, {key:?})")
}

/// Fails where rows of both declarations cannot be in one table.
fn compatible(earlier: &Dataset, later: &Dataset) -> Result<(), String> {
    for column in &later.columns {
        let is_same = |known: &&Column| known.name.eq_ignore_ascii_case(&column.name);
        let known = earlier.columns.iter().find(is_same);
        if let Some(known) = known.filter(|known| known.name != column.name) {
            let Column { name, .. } = column;
            return Err(format!(
                "there is the column {}, from which {name} differs only in case",
                known.name
            ));
        }
        if let Some(known) = known.filter(|known| known.column_type != column.column_type) {
            return Err(format!(
                "the column {} was {} and cannot become {}: use another name for one of them, or {}",
                column.name,
                known.column_type,
                column.column_type,
                load_again(later)
            ));
        }
    }
    let key = |dataset: &Dataset| dataset.key().name.clone();
    let version = |dataset: &Dataset| dataset.version().map(|column| column.name.clone());
    if key(earlier) != key(later) || version(earlier) != version(later) {
        return Err(format!(
            "key and version of a dataset cannot change: declare one of another name, or {}",
            load_again(later)
        ));
    }
    Ok(())
}

fn load_again(dataset: &Dataset) -> String {
    format!("run `jetline drop {}`, and load it again", dataset.name)
}

fn refused(dataset: &Dataset, reason: &str) -> Error {
    Error::Declaration { dataset: dataset.name.clone(), reason: reason.to_owned() }
}

/// Whether rows of this declaration may have no value in a column of the table.
fn may_be_null(dataset: &Dataset, name: &str) -> bool {
    let own = [POSITION, FINGERPRINT, CHANGED_AT];
    let column = dataset.columns.iter().find(|column| column.name == name);
    !own.contains(&name) && column.is_none_or(|column| dataset.is_nullable(column))
}

/// All columns are nullable except those that every declaration of the dataset has.
fn create(dialect: &dyn Dialect, dataset: &Dataset, table: &str, columns: &[&Column]) -> String {
    let key = &dataset.key().name;
    let version = dataset.version().map(|column| &column.name);
    let is_history = table != dataset.name;
    let mut definitions: Vec<String> = Vec::new();
    for column in columns {
        let mut definition = declared(dialect, column);
        if column.name == *key && !is_history {
            definition += " NOT NULL PRIMARY KEY";
        } else if column.name == *key || Some(&column.name) == version {
            definition += " NOT NULL";
        }
        definitions.push(definition);
    }
    let [binary, bigint, time] = dialect.own_types();
    for (name, of) in [(FINGERPRINT, binary), (POSITION, bigint), (CHANGED_AT, time)] {
        definitions.push(format!("{name:?} {of} NOT NULL"));
    }
    if let Some(version) = version.filter(|_| is_history) {
        definitions.push(format!("PRIMARY KEY ({key:?}, {version:?})"));
    }
    format!("CREATE TABLE {table:?} ({})", definitions.join(", "))
}

/// A column with its type. Texts are ordered by their bytes, in both databases.
fn declared(dialect: &dyn Dialect, column: &Column) -> String {
    format!("{:?} {}", column.name, dialect.sql_type(column.column_type))
}
