//! Registers new object versions and assigns their numbers.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU32,
};

use chrono::{DateTime, SubsecRound, Utc};
use jetline_core::{ObjectId, ObjectVersion};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter, QueryTrait, Set,
};

use super::ObjectLedger;
use crate::{
    Error,
    dialect::{self, Lock},
    entities::objects::{self, State},
    statement::{execute_built, query, query_built},
    transaction::Transaction,
    watermark::next_object,
};

/// Maximum number of rows in one statement.
pub(super) const BATCH: usize = 500;

/// Maximum number of keys that one statement looks up: those of a page of S3.
const PAGE: usize = 1_000;

/// An object version as it was listed.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct NewObject {
    /// The version.
    pub version: ObjectVersion,
    /// Random; see [`objects::Model::incarnation`].
    pub incarnation: String,
    /// The dataset of its lines.
    pub dataset: String,
    /// Whether an API wrote it from posted records.
    pub is_posted: bool,
    /// Target size of its chunks, in bytes.
    pub chunk_bytes: u64,
    /// Maximum number of lines of a chunk.
    pub chunk_lines: NonZeroU32,
    /// Maximum number of bytes of a line.
    pub max_line_bytes: u64,
}

/// What identifies an object version in the ledger.
#[derive(PartialEq, Eq, Hash, FromQueryResult)]
pub(super) struct Version {
    root: String,
    key: String,
    etag: String,
    last_modified: DateTime<Utc>,
    size: i64,
    dataset: String,
}

#[derive(FromQueryResult)]
struct KnownObject {
    id: i64,
    state: State,
    dismissed: bool,
    #[sea_orm(nested)]
    version: Version,
}

/// Listed object versions, as far as the ledger has them.
#[derive(Debug, Default)]
pub struct Split {
    /// Those that it has not.
    pub unknown: Vec<NewObject>,
    /// Those that have failed and are not dismissed.
    pub failed: Vec<ObjectId>,
}

impl Version {
    fn of(model: &objects::Model) -> Self {
        Self {
            root: model.root.clone(),
            key: model.key.clone(),
            etag: model.etag.clone(),
            last_modified: model.last_modified,
            size: model.size,
            dataset: model.dataset.clone(),
        }
    }
}

impl NewObject {
    pub(super) fn stored_version(&self) -> Version {
        Version {
            root: self.version.root.clone(),
            key: self.version.key.clone(),
            etag: self.version.etag.clone(),
            // As PostgreSQL stores it.
            last_modified: self.version.last_modified.trunc_subsecs(6),
            size: self.version.size.cast_signed(),
            dataset: self.dataset.clone(),
        }
    }
}

impl ObjectLedger {
    /// Why the database cannot store such an object, if it cannot.
    #[must_use]
    pub fn skip_reason(&self, object: &NewObject) -> Option<&'static str> {
        dialect::of(&self.db).skip_reason(&object.version)
    }

    /// Splits object versions into those that are not in the ledger with their dataset, and the others.
    pub async fn split_known(&self, listed: Vec<NewObject>) -> Result<Split, Error> {
        let mut split = Split::default();
        let mut listed = listed.into_iter();
        loop {
            let batch: Vec<NewObject> = listed.by_ref().take(PAGE).collect();
            if batch.is_empty() {
                return Ok(split);
            }
            let found = find_known(&self.db, &batch).await?.into_iter();
            let known: HashMap<Version, (i64, bool)> = found
                .map(|found| {
                    let has_failed = found.state == State::Failed && !found.dismissed;
                    (found.version, (found.id, has_failed))
                })
                .collect();
            for object in batch {
                match known.get(&object.stored_version()) {
                    None => split.unknown.push(object),
                    Some((id, true)) => split.failed.extend(ObjectId::new(*id)),
                    Some((_, false)) => {}
                }
            }
        }
    }

    /// Registers the object versions that are not in the ledger with their dataset, in the order given; returns their number.
    pub async fn register(&self, listed: &[NewObject]) -> Result<usize, Error> {
        if listed.is_empty() {
            return Ok(0);
        }
        let tx = Transaction::begin(&self.db).await?;
        dialect::of(&tx).lock(&tx, Lock::Registration).await?;
        let now = (self.now)();
        let mut new = 0;
        for batch in listed.chunks(BATCH) {
            new += register_new(&tx, batch, now).await?;
        }
        tx.commit("register objects").await?;
        Ok(new)
    }
}

/// Registers those of a batch that are not in the ledger with their dataset; returns their number. In the transaction that has
/// the lock.
pub(super) async fn register_new(
    tx: &impl ConnectionTrait,
    batch: &[NewObject],
    now: DateTime<Utc>,
) -> Result<usize, Error> {
    let found = find_known(tx, batch).await?;
    let mut known: HashSet<Version> = found.into_iter().map(|object| object.version).collect();
    let new = batch.iter().filter(|object| known.insert(object.stored_version()));
    let new: Vec<&NewObject> = new.collect();
    if !new.is_empty() {
        insert(tx, &new, now).await?;
    }
    Ok(new.len())
}

/// Inserts new object versions, bound to the current declarations of their datasets; returns the number of the first. In
/// the transaction that has the lock.
pub(super) async fn insert(
    tx: &impl ConnectionTrait,
    new: &[&NewObject],
    now: DateTime<Utc>,
) -> Result<ObjectId, Error> {
    let first = next_object(tx).await?;
    let mut id = first;
    let current = current_declarations(tx).await?;
    for batch in new.chunks(BATCH) {
        let mut rows = Vec::with_capacity(batch.len());
        for object in batch {
            let declaration = current
                .get(&object.dataset)
                .copied()
                .ok_or_else(|| Error::Corrupt(format!("there is no dataset {}", object.dataset)))?;
            rows.push(row(id, declaration, object, now));
            if id == ObjectId::MAX {
                let limit = "more than 2,147,483,647 object versions";
                return Err(Error::Corrupt(limit.to_owned()));
            }
            id = id.next();
        }
        let insert = objects::Entity::insert_many(rows).build(tx.get_database_backend());
        execute_built(tx, "register objects", insert).await?;
    }
    Ok(first)
}

/// The number of an object version, if it is in the ledger.
pub(super) async fn find(
    tx: &impl ConnectionTrait,
    object: &NewObject,
) -> Result<Option<ObjectId>, Error> {
    let version = object.stored_version();
    let select = objects::Entity::find()
        .filter(objects::Column::Root.eq(&version.root))
        .filter(objects::Column::Key.eq(&version.key))
        .filter(objects::Column::Dataset.eq(&version.dataset))
        .build(tx.get_database_backend());
    let found = query_built::<objects::Model>(tx, "find an object", select).await?;
    let found = found.into_iter().find(|model| Version::of(model) == version);
    Ok(found.and_then(|model| ObjectId::new(model.id)))
}

/// The objects of the ledger that have the keys of some.
async fn find_known(
    db: &impl ConnectionTrait,
    batch: &[NewObject],
) -> Result<Vec<KnownObject>, Error> {
    let dialect = dialect::of(db);
    let roots: HashSet<&String> = batch.iter().map(|object| &object.version.root).collect();
    let roots = roots.into_iter().cloned().collect();
    let keys = batch.iter().map(|object| object.version.key.clone()).collect();
    let sql = format!(
        "SELECT id, state, dismissed, root, key, etag, last_modified, size, dataset FROM objects
         WHERE root {} AND key {}",
        dialect.is_any_text(1),
        dialect.is_any_text(2)
    );
    let parameters = [dialect.texts(roots), dialect.texts(keys)];
    query(db, "read the known objects", &sql, parameters).await
}

#[derive(FromQueryResult)]
struct Declared {
    dataset: String,
    number: i64,
}

/// The number of the current declaration of each dataset.
pub(super) async fn current_declarations(
    db: &impl ConnectionTrait,
) -> Result<HashMap<String, i64>, Error> {
    let sql = "SELECT dataset, MAX(number) AS number FROM declarations GROUP BY dataset";
    let current: Vec<Declared> = query(db, "read the declarations", sql, []).await?;
    Ok(current.into_iter().map(|one| (one.dataset, one.number)).collect())
}

fn row(
    id: ObjectId,
    declaration: i64,
    object: &NewObject,
    now: DateTime<Utc>,
) -> objects::ActiveModel {
    let Version { root, key, etag, last_modified, size, dataset } = object.stored_version();
    objects::ActiveModel {
        id: Set(id.get()),
        incarnation: Set(object.incarnation.clone()),
        dataset: Set(dataset),
        declaration: Set(declaration),
        is_posted: Set(object.is_posted),
        root: Set(root),
        key: Set(key),
        etag: Set(etag),
        size: Set(size),
        last_modified: Set(last_modified),
        chunk_bytes: Set(object.chunk_bytes.cast_signed()),
        chunk_lines: Set(Some(object.chunk_lines.get().into())),
        max_line_bytes: Set(object.max_line_bytes.cast_signed()),
        state: Set(objects::State::Registered),
        registered_at: Set(now),
        ..Default::default()
    }
}
