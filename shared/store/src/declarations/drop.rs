//! Removes a dataset: its table, its declarations, and what the ledger has of its objects.

use super::{Declared, declarations, read};
use crate::{
    Database, Error,
    database::begin_exclusive,
    dialect::{self, Lock},
    epochs::epoch::outdate,
    history, outbox,
    statement::{execute, query},
    watermark::Number,
};

impl Database {
    /// The number of objects of a dataset; none if there is no such dataset.
    pub async fn objects_of(&self, dataset: &str) -> Result<Option<u64>, Error> {
        let known = declarations(self.connection()).await?;
        if !known.iter().any(|one| one.dataset == dataset) {
            return Ok(None);
        }
        let sql = "SELECT COUNT(*) AS number FROM objects WHERE dataset = $1";
        let rows: Vec<Number> =
            query(self.connection(), "count the objects", sql, [dataset.into()]).await?;
        Ok(rows.first().map(|row| row.number.cast_unsigned()))
    }

    /// Removes a dataset. The numbers of its objects and declarations are not given again: chunks of them may be in a queue.
    /// The epoch ends, as the dedup store has its records. Returns whether there was such a dataset.
    pub async fn drop_dataset(&self, dataset: &str) -> Result<bool, Error> {
        let tx = begin_exclusive(self.connection()).await?;
        dialect::of(&tx).lock(&tx, Lock::Registration).await?;
        let declared = declarations(&tx).await?;
        let declared: Vec<&Declared> =
            declared.iter().filter(|one| one.dataset == dataset).collect();
        if declared.is_empty() {
            return Ok(false);
        }
        let keep = "UPDATE ledger SET
             last_object = COALESCE((SELECT MAX(id) FROM objects WHERE id > last_object), last_object),
             last_declaration = COALESCE(
                 (SELECT MAX(number) FROM declarations WHERE number > last_declaration), last_declaration)";
        execute(&tx, "keep the last numbers", keep, []).await?;
        for table in ["chunks", "rejected_lines"] {
            let sql = format!(
                "DELETE FROM {table} WHERE object_id IN (SELECT id FROM objects WHERE dataset = $1)"
            );
            execute(&tx, "remove what was committed", &sql, [dataset.into()]).await?;
        }
        outbox::forget(&tx, dataset).await?;
        for table in ["objects", "unknown_fields", "intake", "declarations"] {
            let sql = format!("DELETE FROM {table} WHERE dataset = $1");
            execute(&tx, "remove a dataset", &sql, [dataset.into()]).await?;
        }
        execute(&tx, "drop a table", &format!("DROP TABLE IF EXISTS {dataset:?}"), []).await?;
        for declared in declared {
            let declared = read(declared)?;
            if declared.has_history {
                history::drop(&tx, &declared).await?;
            }
        }
        outdate(&tx).await?;
        tx.commit("drop a dataset").await?;
        Ok(true)
    }
}
