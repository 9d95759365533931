//! Dismissal: an operator accepts that an object has failed, or gives up one that stays open because reading it is
//! refused.

use jetline_core::{EpochId, ObjectId};
use sea_orm::{ConnectionTrait, EntityTrait, QueryTrait};

use super::ObjectLedger;
use crate::{
    Error,
    database::begin_exclusive,
    entities::objects::{self, State},
    statement::{execute, query_built},
};

/// The outcome of a dismissal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dismissal {
    /// The object has failed, and runs do not report it any more.
    Dismissed,
    /// It is dismissed, and fails as soon as everything before it has ended.
    Ending,
    /// Nothing was changed: it is open, and reading it was not refused.
    Open,
    /// Nothing was changed: it is done.
    Done,
    /// Nothing was changed: no object has this number.
    Unknown,
}

impl ObjectLedger {
    /// Dismisses a failed object, or an open one that was refused.
    ///
    /// The missing chunks of the latter count as unreadable from here on: it fails like any such object, when
    /// everything below it is settled, which ends the epoch; the next one gets the id `new_epoch`.
    pub async fn dismiss(&self, object: ObjectId, new_epoch: EpochId) -> Result<Dismissal, Error> {
        let tx = begin_exclusive(&self.db).await?;
        let Some(found) = find(&tx, object).await? else {
            return Ok(Dismissal::Unknown);
        };
        match found.state {
            State::Done => return Ok(Dismissal::Done),
            State::Failed => {}
            State::Loading if found.error.is_some() => {}
            State::Registered | State::Reading if refusal(&found).is_some() => {
                mark_unreadable(&tx, object, refusal(&found)).await?;
            }
            State::Registered | State::Reading | State::Loading => return Ok(Dismissal::Open),
        }
        let sql = "UPDATE objects SET dismissed = TRUE WHERE id = $1";
        execute(&tx, "dismiss an object", sql, [object.get().into()]).await?;
        tx.commit("dismiss an object").await?;
        if found.state == State::Failed || self.fail(object, new_epoch).await? {
            return Ok(Dismissal::Dismissed);
        }
        Ok(Dismissal::Ending)
    }
}

async fn find(
    db: &impl ConnectionTrait,
    object: ObjectId,
) -> Result<Option<objects::Model>, Error> {
    let find = objects::Entity::find_by_id(object.get()).build(db.get_database_backend());
    Ok(query_built(db, "read an object", find).await?.pop())
}

/// Why reading an open object was refused, if it was.
fn refusal(object: &objects::Model) -> Option<&str> {
    object.refusal.as_deref()
}

/// Marks the missing chunks of an object as unreadable; a fetcher that is reading it loses its lease.
async fn mark_unreadable(
    tx: &impl ConnectionTrait,
    object: ObjectId,
    refusal: Option<&str>,
) -> Result<(), Error> {
    let sql =
        "UPDATE objects SET state = 'loading', unreadable = TRUE, error = COALESCE(error, $2),
             lease_owner = NULL, lease_until = NULL
         WHERE id = $1";
    let values = [object.get().into(), refusal.into()];
    execute(tx, "mark an object unreadable", sql, values).await.map(drop)
}
