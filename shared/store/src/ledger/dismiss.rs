//! Failed objects that somebody has seen and lives with, and objects that stay open because they may not be read.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use jetline_records::{EpochId, ObjectId};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{Ledger, NewObject, commit, register::Version};
use crate::{
    Error,
    backend::execute,
    entities::objects::{self, State},
};

/// The number of an object, and its version.
type Failed = (i64, String, String, String, DateTime<Utc>, i64);

/// What became of a dismissal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dismissal {
    /// The object has failed, and runs do not count it any more.
    Dismissed,
    /// It is dismissed, and ends failed as soon as everything before it has ended.
    Ending,
    /// Nothing is changed: it is open, and nothing says that it cannot be read.
    Open,
    /// Nothing is changed: it is done.
    Done,
    /// Nothing is changed: no object has this number.
    Unknown,
}

impl Ledger {
    /// Dismisses a failed object, or ends an open one that its reader was refused.
    ///
    /// Of the latter, what is missing counts as unreadable from here on: it ends like any such object, when everything
    /// below it is settled, and the epoch with it, for which `new_epoch` is used.
    pub async fn dismiss(&self, object: ObjectId, new_epoch: EpochId) -> Result<Dismissal, Error> {
        let tx = self.alone().await?;
        let Some(found) = find(&tx, object).await? else {
            return Ok(Dismissal::Unknown);
        };
        match found.state {
            State::Done => return Ok(Dismissal::Done),
            State::Failed => {}
            State::Loading if found.error.is_some() => {}
            State::Registered | State::Reading if refusal(&found).is_some() => {
                give_up(&tx, object, refusal(&found)).await?;
            }
            State::Registered | State::Reading | State::Loading => return Ok(Dismissal::Open),
        }
        let sql = "UPDATE objects SET dismissed = TRUE WHERE id = $1";
        execute(&tx, "dismiss an object", sql, [object.get().into()]).await?;
        commit(tx, "dismiss an object").await?;
        if found.state == State::Failed || self.fail(object, new_epoch).await? {
            return Ok(Dismissal::Dismissed);
        }
        Ok(Dismissal::Ending)
    }

    /// Those of the listed object versions that have failed and are not dismissed.
    pub async fn failed(&self, listed: &[NewObject]) -> Result<Vec<ObjectId>, Error> {
        let failed: Vec<Failed> = objects::Entity::find()
            .select_only()
            .columns([
                objects::Column::Id,
                objects::Column::Root,
                objects::Column::Key,
                objects::Column::Etag,
                objects::Column::LastModified,
                objects::Column::Size,
            ])
            .filter(objects::Column::State.eq(State::Failed))
            .filter(objects::Column::Dismissed.eq(false))
            .order_by_asc(objects::Column::Id)
            .into_tuple()
            .all(&self.db)
            .await
            .map_err(|error| Error::of("look for failed objects", error))?;
        if failed.is_empty() {
            return Ok(Vec::new());
        }
        let listed: HashSet<Version> = listed.iter().map(NewObject::version).collect();
        let failed = failed.into_iter().filter_map(|row| {
            let (id, root, key, etag, last_modified, size) = row;
            let version = (root, key, etag, last_modified, size);
            listed.contains(&version).then(|| ObjectId::new(id))?
        });
        Ok(failed.collect())
    }
}

async fn find(
    db: &impl ConnectionTrait,
    object: ObjectId,
) -> Result<Option<objects::Model>, Error> {
    let found = objects::Entity::find_by_id(object.get()).one(db).await;
    found.map_err(|error| Error::of("read an object", error))
}

/// Why the reader of an open object was refused, if it was.
fn refusal(object: &objects::Model) -> Option<&str> {
    object.refusal.as_deref()
}

/// From here on what is missing of an object counts as unreadable; whoever reads it has lost it.
async fn give_up(
    tx: &impl ConnectionTrait,
    object: ObjectId,
    refusal: Option<&str>,
) -> Result<(), Error> {
    let sql =
        "UPDATE objects SET state = 'loading', unreadable = TRUE, error = COALESCE(error, $2),
             lease_owner = NULL, lease_until = NULL
         WHERE id = $1";
    let values = [object.get().into(), refusal.into()];
    execute(tx, "give up an object", sql, values)
        .await
        .map(drop)
}
