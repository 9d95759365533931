//! The declarations of datasets in the ledger.
//!
//! A declaration is never changed: another one gets a higher number. Every object is bound to the one with which it was
//! registered, so that all writers parse it alike. The last one of a dataset is the current one.

mod drop;
mod queries;
mod settings;
pub(crate) mod table;

use std::collections::HashMap;

use jetline_datasets::{Dataset, Datasets, Destination, parse};
use sea_orm::{ConnectionTrait, FromQueryResult};
pub use settings::{
    DatasetSettings, DeclarationFile, RedactionSettings, is_directory_of_declarations,
};

use crate::{
    Database, Error,
    database::begin_exclusive,
    dialect::{self, Lock},
    epochs::epoch::outdate,
    history, outbox,
    statement::{execute, query},
    watermark::Number,
};

#[derive(FromQueryResult)]
struct Declared {
    number: i64,
    dataset: String,
    declaration: String,
}

impl Database {
    /// The datasets of the ledger, with all their declarations.
    pub async fn datasets(&self) -> Result<Datasets, Error> {
        datasets(self.connection()).await
    }

    /// Makes declarations the current ones, and creates or extends the tables of their datasets. Returns what was done, for
    /// the log. Everything or nothing is done.
    pub async fn declare(&self, declared: &[DeclarationFile]) -> Result<Vec<String>, Error> {
        let tx = begin_exclusive(self.connection()).await?;
        dialect::of(&tx).lock(&tx, Lock::Registration).await?;
        let (mut done, mut changed) = (Vec::new(), Vec::new());
        for file in declared {
            let known = declarations(&tx).await?;
            let before: Vec<&Declared> =
                known.iter().filter(|one| one.dataset == file.dataset.name).collect();
            if file.is_built_in && before.is_empty() {
                continue;
            }
            check_case(&known, &file.dataset)?;
            if before.last().is_some_and(|last| last.declaration == file.text) {
                continue;
            }
            let before = before.into_iter().map(read).collect::<Result<Vec<Dataset>, Error>>()?;
            done.extend(table::fit(&tx, &file.dataset, &before).await?);
            done.extend(history::fit(&tx, &file.dataset, &before).await?);
            done.extend(outbox::declare(&tx, &file.dataset).await?);
            let number = next_number(&tx).await?;
            let sql = "INSERT INTO declarations (number, dataset, declaration) VALUES ($1, $2, $3)";
            let values =
                [number.into(), file.dataset.name.as_str().into(), file.text.as_str().into()];
            execute(&tx, "write a declaration", sql, values).await?;
            done.push(format!("dataset {} declared as number {number}", file.dataset.name));
            changed.push(&*file.dataset.name);
        }
        done.extend(drop_unused_products(&tx, declared).await?);
        if !done.is_empty() {
            let current = datasets(&tx).await?;
            queries::grant(&tx, &current).await?;
            queries::check(&tx, &current, &changed).await?;
            // Writers know the columns of a table as of the beginning of the epoch.
            outdate(&tx).await?;
        }
        tx.commit("declare datasets").await?;
        Ok(done)
    }
}

/// SQLite does not distinguish upper and lower case in the names of tables.
fn check_case(known: &[Declared], dataset: &Dataset) -> Result<(), Error> {
    let is_other = |one: &&Declared| {
        one.dataset != dataset.name && one.dataset.eq_ignore_ascii_case(&dataset.name)
    };
    match known.iter().find(is_other) {
        Some(other) => Err(Error::Declaration {
            dataset: dataset.name.clone(),
            reason: format!("there is the dataset {}, which differs only in case", other.dataset),
        }),
        None => Ok(()),
    }
}

/// Drops the dataset that is compiled in where only others are declared and it was never used.
async fn drop_unused_products(
    tx: &impl ConnectionTrait,
    declared: &[DeclarationFile],
) -> Result<Option<String>, Error> {
    let known = declarations(tx).await?;
    // The migration wrote it. No other number is ever used again.
    let of_products = known.iter().filter(|one| one.dataset == "products");
    let is_built_in = of_products.map(|one| one.number).eq([1]);
    let is_declared = declared.iter().any(|file| file.dataset.name == "products");
    if declared.is_empty() || is_declared || !is_built_in {
        return Ok(None);
    }
    let sql = "DELETE FROM declarations WHERE dataset = 'products'
         AND NOT EXISTS (SELECT 1 FROM objects WHERE dataset = 'products')
         AND NOT EXISTS (SELECT 1 FROM products)";
    if execute(tx, "drop the built-in dataset", sql, []).await? == 0 {
        return Ok(None);
    }
    execute(tx, "drop the built-in table", "DROP TABLE products", []).await?;
    Ok(Some("dataset products dropped: it was not used".to_owned()))
}

async fn declarations(db: &impl ConnectionTrait) -> Result<Vec<Declared>, Error> {
    let sql = "SELECT number, dataset, declaration FROM declarations ORDER BY number";
    query(db, "read the declarations: run jetline-migrate", sql, []).await
}

/// No number is given twice, also if its declaration was removed.
async fn next_number(db: &impl ConnectionTrait) -> Result<i64, Error> {
    let sql = "SELECT MAX(number) + 1 AS number FROM
         (SELECT MAX(number) AS number FROM declarations UNION ALL SELECT last_declaration FROM ledger) AS last";
    let rows: Vec<Number> = query(db, "read the last declaration", sql, []).await?;
    Ok(rows.first().map_or(1, |row| row.number))
}

async fn datasets(db: &impl ConnectionTrait) -> Result<Datasets, Error> {
    let declared = declarations(db).await?;
    let mut datasets = declared.iter().map(read).collect::<Result<Vec<Dataset>, Error>>()?;
    let mut columns: HashMap<String, Vec<String>> = HashMap::new();
    for dataset in &datasets {
        let of_table = columns.entry(dataset.name.clone()).or_default();
        for column in dataset.stored() {
            if !of_table.contains(&column.name) {
                of_table.push(column.name.clone());
            }
        }
    }
    for dataset in &mut datasets {
        let stored: Vec<&str> = dataset.stored().map(|column| &*column.name).collect();
        let of_table = columns[&dataset.name].iter();
        dataset.absent = of_table.filter(|column| !stored.contains(&&***column)).cloned().collect();
    }
    // Changes are delivered and versions are kept as the current declaration says, whatever the one of a record is.
    let current = |dataset: &Dataset| (dataset.has_history, dataset.destinations.clone());
    let current: HashMap<String, (bool, Vec<Destination>)> =
        datasets.iter().map(|dataset| (dataset.name.clone(), current(dataset))).collect();
    for dataset in &mut datasets {
        (dataset.has_history, dataset.destinations) = current[&dataset.name].clone();
    }
    if datasets.iter().any(|dataset| !dataset.destinations.is_empty()) {
        outbox::number(db, &mut datasets).await?;
    }
    Ok(datasets.into_iter().collect())
}

fn read(declared: &Declared) -> Result<Dataset, Error> {
    let Declared { number, dataset, declaration } = declared;
    let file = format!("declaration {number} of the dataset {dataset} in the ledger");
    let mut read = parse(dataset, &file, declaration)
        .map_err(|error| Error::Corrupt(format!("{error}; was it written by a later version?")))?;
    read.declaration = *number;
    Ok(read)
}
