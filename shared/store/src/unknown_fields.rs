//! The fields of records that no column takes. Those of a chunk stand in its entry, and are added to those of its dataset
//! when its object is settled.

use std::collections::{BTreeMap, BTreeSet};

use jetline_core::Position;
use jetline_datasets::{JsonType, UnknownField, UnknownFields};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Statement};

use crate::{
    Catalog, Error, ObjectLedger,
    database::query_failed,
    statement::{execute, named, query},
};

/// The operation, in errors and statements.
const READ: &str = "read unknown fields";

/// Maximum number of chunks whose fields are in memory at a time.
const BATCH: i64 = 64;

/// Path, records, position of the first one, and types, as they are stored in a chunk's entry.
type Entry = (String, u64, i64, BTreeSet<JsonType>);

/// The value of the column `unknown_fields` of a chunk.
pub(crate) fn to_json(fields: &UnknownFields) -> Result<Option<String>, Error> {
    if fields.is_empty() {
        return Ok(None);
    }
    let entries =
        fields.iter().map(|(path, field)| (path, field.records, field.first.get(), &field.types));
    let entries: Vec<_> = entries.collect();
    serde_json::to_string(&entries).map(Some).map_err(corrupt)
}

fn from_json(text: &str) -> Result<Vec<(String, UnknownField)>, Error> {
    let entries: Vec<Entry> = serde_json::from_str(text).map_err(corrupt)?;
    let fields = entries.into_iter().map(|(path, records, first, types)| {
        Ok((path, UnknownField { records, first: position(first)?, types }))
    });
    fields.collect()
}

fn position(number: i64) -> Result<Position, Error> {
    Position::from_number(number).ok_or_else(|| corrupt("a position is negative"))
}

fn corrupt(error: impl std::fmt::Display) -> Error {
    Error::Corrupt(format!("unknown fields: {error}"))
}

#[derive(FromQueryResult)]
struct OfChunk {
    object_id: i64,
    start_offset: i64,
    dataset: String,
    unknown_fields: String,
}

/// Adds the fields of the chunks of settled objects, which are about to be removed, to those of their datasets.
pub(crate) async fn fold(tx: &impl ConnectionTrait, settled: i64) -> Result<(), Error> {
    let sql = "SELECT c.object_id, c.start_offset, o.dataset, c.unknown_fields
         FROM chunks c JOIN objects o ON o.id = c.object_id
         WHERE c.object_id < $1 AND c.unknown_fields IS NOT NULL AND c.state = 'committed'
             AND (c.object_id > $2 OR (c.object_id = $2 AND c.start_offset > $3))
         ORDER BY c.object_id, c.start_offset LIMIT $4";
    let mut last = (0, 0);
    let mut found: BTreeMap<String, UnknownFields> = BTreeMap::new();
    loop {
        let values = [settled.into(), last.0.into(), last.1.into(), BATCH.into()];
        let chunks: Vec<OfChunk> = query(tx, "read unknown fields of chunks", sql, values).await?;
        let Some(end) = chunks.last() else { break };
        last = (end.object_id, end.start_offset);
        for chunk in chunks {
            let of_dataset = found.entry(chunk.dataset).or_default();
            for (path, field) in from_json(&chunk.unknown_fields)? {
                of_dataset.add(&path, field);
            }
        }
    }
    for (dataset, fields) in &found {
        add(tx, dataset, fields).await?;
    }
    Ok(())
}

async fn add(tx: &impl ConnectionTrait, dataset: &str, new: &UnknownFields) -> Result<(), Error> {
    let known = of_dataset(tx, dataset).await.map_err(|error| Error::classify(READ, error))?;
    let known = collect(known)?;
    let mut all = known.clone();
    for (path, field) in new.iter() {
        all.add(path, field.clone());
    }
    let sql = "INSERT INTO unknown_fields (dataset, path, records, first_position, types)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (dataset, path) DO UPDATE
         SET records = excluded.records, first_position = excluded.first_position, types = excluded.types";
    for (path, field) in all.iter().filter(|(path, field)| known.get(path) != Some(*field)) {
        let values = [
            dataset.into(),
            path.into(),
            field.records.cast_signed().into(),
            field.first.get().into(),
            serde_json::to_string(&field.types).map_err(corrupt)?.into(),
        ];
        execute(tx, "write unknown fields", sql, values).await?;
    }
    Ok(())
}

#[derive(FromQueryResult)]
struct OfDataset {
    path: String,
    records: i64,
    first_position: i64,
    types: String,
}

async fn of_dataset(db: &impl ConnectionTrait, dataset: &str) -> Result<Vec<OfDataset>, DbErr> {
    let sql = "SELECT path, records, first_position, types FROM unknown_fields WHERE dataset = $1";
    let values = [dataset.into()];
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    OfDataset::find_by_statement(named(READ, statement)).all(db).await
}

fn collect(rows: Vec<OfDataset>) -> Result<UnknownFields, Error> {
    let mut fields = UnknownFields::default();
    for row in rows {
        let field = UnknownField {
            records: row.records.cast_unsigned(),
            first: position(row.first_position)?,
            types: serde_json::from_str(&row.types).map_err(corrupt)?,
        };
        fields.add(&row.path, field);
    }
    Ok(fields)
}

impl Catalog {
    /// The fields that no column takes, of the records of settled objects of a dataset.
    pub async fn unknown_fields(&self, dataset: &str) -> Result<UnknownFields, Error> {
        let rows = of_dataset(&self.db, dataset).await;
        collect(rows.map_err(|error| query_failed(READ, error))?)
    }
}

#[derive(FromQueryResult)]
struct Number {
    dataset: String,
    number: i64,
}

impl ObjectLedger {
    /// The number of paths of fields that no column takes, by dataset.
    pub async fn count_unknown_fields(&self) -> Result<Vec<(String, u64)>, Error> {
        let sql = "SELECT dataset, COUNT(*) AS number FROM unknown_fields GROUP BY dataset";
        let rows: Vec<Number> = query(&self.db, "count unknown fields", sql, []).await?;
        Ok(rows.into_iter().map(|row| (row.dataset, row.number.cast_unsigned())).collect())
    }
}
