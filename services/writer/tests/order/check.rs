//! The result of a schedule.

use std::collections::BTreeMap;

use jetline_store::entities::objects;
use sea_orm::{ConnectionTrait, JsonValue, QueryResult, Statement};

use super::{
    declarations::Declaration,
    files::{File, Row, Table, fold},
    rule::Rule,
    simulation::Simulation,
};

impl Simulation<'_> {
    /// Checks the result: the table, the counts, the rejected lines.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let objects = self.objects().await;
        let in_order = objects.iter().map(|object| {
            let file: usize = object.key.parse().unwrap();
            (&self.files[file], &self.declarations[&object.declaration])
        });
        let (mut expected, table) = (fold(&self.kind, in_order.clone()), self.table().await);
        if self.without == Some(Rule::Tombstone) {
            expected.retain(|_, row| !row.is_deleted);
        }
        if table != expected {
            return Err(format!("the table is {table:?}, the fold is {expected:?}"));
        }
        for (object, (file, declaration)) in objects.iter().zip(in_order) {
            self.check_counts(object, file, declaration)?;
        }
        Ok(())
    }

    fn check_counts(
        &self,
        object: &objects::Model,
        file: &File,
        declaration: &Declaration,
    ) -> Result<(), String> {
        let of = file.count(&self.kind, declaration);
        let written = object.inserted + object.updated;
        let others = object.unchanged + object.superseded + object.rejected;
        let counted = (written + object.deleted + others).cast_unsigned();
        // A superseded line is not sent to the database, which may therefore not refuse it.
        let rejected = of.broken..=of.broken + of.refused;
        let right = (object.state == objects::State::Done || has_no_accepted_line(object))
            && counted == of.broken + of.refused + of.deletes + of.others
            && written.cast_unsigned() <= of.others
            && object.deleted.cast_unsigned() <= of.deletes
            && rejected.contains(&object.rejected.cast_unsigned());
        if right {
            return Ok(());
        }
        Err(format!("the counts do not add up: {object:?} of {file:?}"))
    }

    pub(crate) async fn table(&self) -> Table {
        let db = self.servers.ledger.database().connection();
        let version = match self.kind.version {
            Some(_) => "SUBSTR(CAST(version AS TEXT), 1, 4)",
            None => "'0'",
        };
        let sql = format!(
            "SELECT CAST(id AS TEXT) AS id, {version} AS version, text, more, jetline_extra, jetline_deleted FROM {}",
            self.kind.table()
        );
        let query = Statement::from_string(db.get_database_backend(), sql);
        let rows = db.query_all_raw(query).await.unwrap();
        rows.iter().map(|row| (row.try_get("", "id").unwrap(), stored(row))).collect()
    }
}

fn stored(row: &QueryResult) -> Row {
    let version: String = row.try_get("", "version").unwrap();
    let is_deleted: Option<bool> = row.try_get("", "jetline_deleted").unwrap();
    let mut values = BTreeMap::new();
    for column in ["text", "more"] {
        let value: Option<String> = row.try_get("", column).unwrap();
        values.extend(value.map(|value| (column.to_owned(), value)));
    }
    let extra: Option<JsonValue> = row.try_get("", "jetline_extra").unwrap();
    for (field, value) in extra.iter().flat_map(|extra| extra.as_object().unwrap()) {
        values.insert(format!("extra.{field}"), value.as_str().unwrap().to_owned());
    }
    let version = version.parse().unwrap();
    Row { version, is_deleted: is_deleted.unwrap_or_default(), values }
}

/// Whether an object failed because none of its lines was accepted.
pub(crate) fn has_no_accepted_line(object: &objects::Model) -> bool {
    let error = object.error.as_deref();
    error.is_some_and(|error| error.starts_with("none of its lines was accepted"))
}
