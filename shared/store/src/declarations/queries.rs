//! The queries of declarations: they may read datasets, and are checked.

use jetline_datasets::{Dataset, Datasets};

use crate::{Error, dialect, transaction::Transaction};

/// What to do where the role of queries is missing.
const NO_ROLE: &str = "its queries need the role jetline_queries, which this user may not create or take: run \
    `CREATE ROLE jetline_queries` and `GRANT jetline_queries TO` this user as one that may";

/// Lets queries read the tables of these datasets. Does nothing where there are no queries.
pub(super) async fn grant(tx: &Transaction, datasets: &Datasets) -> Result<(), Error> {
    let Some(first) = datasets.iter().find(|dataset| !dataset.queries.is_empty()) else {
        return Ok(());
    };
    let history = datasets.iter().filter(|dataset| dataset.has_history);
    let tables = datasets.iter().map(|dataset| dataset.name.clone());
    let tables = tables.chain(history.map(|dataset| dataset.history_table()));
    let granted = dialect::of(tx).grant_to_queries(tx, &tables.collect::<Vec<String>>()).await;
    granted.map_err(|error| match error {
        error if error.is_insufficient_privilege() => Error::Declaration {
            dataset: first.name.clone(),
            reason: format!("{NO_ROLE} ({})", error.database_message()),
        },
        error => error,
    })
}

/// Fails on a query that the database refuses, or that has not the declared columns. Those of other datasets than the `changed`
/// ones are only reported: a table that they read may have been dropped.
pub(super) async fn check(
    tx: &Transaction,
    datasets: &Datasets,
    changed: &[&str],
) -> Result<(), Error> {
    for dataset in datasets.iter() {
        tx.set_savepoint().await?;
        match check_all(tx, dataset).await {
            Err(error @ Error::Declaration { .. }) if !changed.contains(&&*dataset.name) => {
                let error = jetline_runtime::causes(&error);
                tracing::warn!(error, "a query of an earlier declaration cannot be run");
            }
            checked => checked?,
        }
        tx.roll_back_to_savepoint().await?;
    }
    Ok(())
}

async fn check_all(tx: &Transaction, dataset: &Dataset) -> Result<(), Error> {
    for query in &dataset.queries {
        let refused = |reason: String| Error::Declaration {
            dataset: dataset.name.clone(),
            reason: format!("query {}: {reason}", query.name),
        };
        match dialect::of(tx).check_query(tx, query).await {
            Ok(None) => {}
            Ok(Some(reason)) => return Err(refused(reason)),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => return Err(refused(error.database_message())),
        }
    }
    Ok(())
}
