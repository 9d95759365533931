//! Ends objects: done when committed chunks cover them; failed when they are damaged, cannot be completed, have too
//! many rejected lines, or no accepted one.

use jetline_core::{EpochId, ObjectId};
use sea_orm::{ConnectionTrait, FromQueryResult, Value};

use super::{
    ObjectLedger,
    no_accepted_lines::no_accepted_lines,
    reject_limit::{RejectLimit, over_reject_limit, too_many_rejects},
    superseded::{Blocked, blocked},
};
use crate::{
    Error,
    database::begin_exclusive,
    epochs::epoch,
    statement::{execute, placeholders, query},
    unknown_fields,
    watermark::settled,
};

/// Maximum number of objects in one statement.
const BATCH: usize = 500;

/// An object that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedObject {
    /// Its number.
    pub object: ObjectId,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// An object that its committed and dead chunks cover.
#[derive(FromQueryResult)]
struct Complete {
    id: i64,
    error: Option<String>,
    total_lines: i64,
    lines: i64,
    rejected: i64,
    accepted: i64,
    dead: i64,
}

impl Complete {
    fn is_over(&self, limit: RejectLimit) -> bool {
        let lines = self.rejected + self.accepted;
        limit.is_exceeded(self.rejected.cast_unsigned(), lines.cast_unsigned())
    }
}

/// An object that fails, which ends the epoch, when everything below it is settled.
struct Failing {
    id: i64,
    error: String,
}

impl ObjectLedger {
    /// Ends every object that its chunks cover, and folds the chunks of settled objects into their rows.
    ///
    /// An object with dead chunks ends only when everything below it is settled: until then, its unchanged lines exist
    /// only in the dedup store. So does an object with more rejected lines than `max_rejects`, a limit in lines, which fails before
    /// it is complete. Both end the epoch; the next one gets the id `new_epoch`.
    ///
    /// No object ends while lines of it are superseded by lines that are not committed; where these may never be
    /// committed, the epoch ends.
    pub async fn settle(
        &self,
        new_epoch: EpochId,
        max_rejects: Option<RejectLimit>,
    ) -> Result<Vec<EndedObject>, Error> {
        if !Candidates::of(&self.db, max_rejects).await?.may_change() {
            return Ok(Vec::new());
        }
        let tx = begin_exclusive(&self.db).await?;
        let mut ended = Vec::new();
        let candidates = Candidates::of(&tx, max_rejects).await?;
        let (dead, committed): (Vec<_>, Vec<_>) = candidates
            .complete
            .into_iter()
            .filter(|object| candidates.blocked.may_end(object.id))
            .partition(|object| object.dead > 0);
        for batch in committed.chunks(BATCH) {
            self.end_complete(&tx, batch, max_rejects, &mut ended).await?;
        }
        let complete = ended.len();
        for Failing { id, error } in failing(&tx, &dead, max_rejects).await? {
            if settled(&tx).await?.get() == id && blocked(&tx, &[id]).await?.may_end_incomplete(id)
            {
                self.end_failed(&tx, id, &error).await?;
                ended.extend(ended_object(id, Some(error)));
            }
        }
        if (ended.len() > complete || candidates.blocked.needs_epoch())
            && let Some(epoch) = epoch::end(&tx, new_epoch, (self.now)()).await?
        {
            // Objects from the new epoch's base on are to be committed again.
            ended.retain(|one| one.object < epoch.base);
        }
        fold(&tx).await?;
        tx.commit("settle objects").await?;
        Ok(ended)
    }

    /// Ends the epoch in force, if it is a shared one, because some of its claims will not be committed soon.
    pub async fn end_epoch(&self, new: EpochId) -> Result<(), Error> {
        let tx = begin_exclusive(&self.db).await?;
        epoch::end(&tx, new, (self.now)()).await?;
        tx.commit("end an epoch").await
    }

    /// Fails an object that cannot be completed, if everything below it is settled and no line of it is superseded by
    /// one that is not committed; returns whether it did.
    ///
    /// The dedup store may have claims of its missing chunks, so that this ends the epoch; the next one gets the id
    /// `new_epoch`.
    pub async fn fail(&self, object: ObjectId, new_epoch: EpochId) -> Result<bool, Error> {
        let tx = begin_exclusive(&self.db).await?;
        let id = object.get();
        if settled(&tx).await? != object || !blocked(&tx, &[id]).await?.may_end(id) {
            return Ok(false);
        }
        let sql = "UPDATE objects SET state = 'failed', done_at = $1
             WHERE id = $2 AND state = 'loading' AND unreadable";
        let values = [(self.now)().into(), id.into()];
        let failed = execute(&tx, "fail an object", sql, values).await? == 1;
        if failed {
            epoch::end(&tx, new_epoch, (self.now)()).await?;
            fold(&tx).await?;
            tx.commit("fail an object").await?;
        }
        Ok(failed)
    }

    async fn end_complete(
        &self,
        tx: &impl ConnectionTrait,
        objects: &[Complete],
        max_rejects: Option<RejectLimit>,
        ended: &mut Vec<EndedObject>,
    ) -> Result<(), Error> {
        let sql = format!(
            "UPDATE objects SET done_at = $1,
                 state = CASE WHEN error IS NULL THEN 'done' ELSE 'failed' END
             WHERE id IN ({})",
            placeholders(2, objects.len())
        );
        let mut values: Vec<Value> = vec![(self.now)().into()];
        values.extend(objects.iter().map(|object| Value::from(object.id)));
        execute(tx, "end objects", &sql, values).await?;
        for object in objects {
            let mut error = object.error.clone();
            if object.lines != object.total_lines {
                let (read, committed) = (object.total_lines, object.lines);
                let differ = format!("{read} lines were read and {committed} are accounted for");
                self.end_failed(tx, object.id, &differ).await?;
                error = Some(differ);
            } else if error.is_none()
                && let Some(limit) = max_rejects.filter(|limit| object.is_over(*limit))
            {
                let many = too_many_rejects(tx, object.id, limit).await?;
                self.end_failed(tx, object.id, &many).await?;
                error = Some(many);
            } else if error.is_none()
                && let Some(why) =
                    no_accepted_lines(tx, object.id, object.accepted, object.rejected).await?
            {
                // Every chunk is committed: there are no open claims of it, and the epoch need not end.
                self.end_failed(tx, object.id, &why).await?;
                error = Some(why);
            }
            ended.extend(ended_object(object.id, error));
        }
        Ok(())
    }

    async fn end_failed(
        &self,
        tx: &impl ConnectionTrait,
        id: i64,
        error: &str,
    ) -> Result<(), Error> {
        let sql = "UPDATE objects SET state = 'failed', error = $1, done_at = $2,
                 lease_owner = NULL, lease_until = NULL
             WHERE id = $3";
        let values = [error.into(), (self.now)().into(), id.into()];
        execute(tx, "fail an object", sql, values).await.map(drop)
    }
}

fn ended_object(id: i64, error: Option<String>) -> Option<EndedObject> {
    ObjectId::new(id).map(|object| EndedObject { object, error })
}

/// The objects that may end.
struct Candidates {
    watermark: i64,
    complete: Vec<Complete>,
    /// Whether the object at the watermark is over the reject limit.
    is_over_reject_limit: bool,
    blocked: Blocked,
}

impl Candidates {
    async fn of(
        db: &impl ConnectionTrait,
        max_rejects: Option<RejectLimit>,
    ) -> Result<Self, Error> {
        let watermark = settled(db).await?.get();
        let complete = complete(db).await?;
        let is_over_reject_limit = over_reject_limit(db, max_rejects).await?.contains(&watermark);
        let mut ids: Vec<i64> = complete.iter().map(|object| object.id).collect();
        // The one at the watermark may be about to fail.
        if is_over_reject_limit || is_unreadable(db, watermark).await? {
            ids.push(watermark);
        }
        Ok(Self { blocked: blocked(db, &ids).await?, watermark, complete, is_over_reject_limit })
    }

    /// Whether one of them ends now, or the epoch.
    fn may_change(&self) -> bool {
        let mut complete = self.complete.iter().filter(|one| self.blocked.may_end(one.id));
        complete.any(|object| object.dead == 0 || object.id == self.watermark)
            || (self.is_over_reject_limit && self.blocked.may_end_incomplete(self.watermark))
            || self.blocked.needs_epoch()
    }
}

async fn is_unreadable(db: &impl ConnectionTrait, object: i64) -> Result<bool, Error> {
    let sql = "SELECT id FROM objects WHERE id = $1 AND unreadable";
    let found: Vec<Id> = query(db, "look for an unreadable object", sql, [object.into()]).await?;
    Ok(!found.is_empty())
}

#[derive(FromQueryResult)]
struct Id {
    #[expect(dead_code, reason = "only the existence of the row matters")]
    id: i64,
}

async fn failing(
    tx: &impl ConnectionTrait,
    dead: &[Complete],
    max_rejects: Option<RejectLimit>,
) -> Result<Vec<Failing>, Error> {
    let dead = dead.iter().map(|object| Failing {
        id: object.id,
        error: format!(
            "{} chunks crashed their writer too often and were dead-lettered",
            object.dead
        ),
    });
    let mut failing: Vec<Failing> = dead.collect();
    if let Some(limit) = max_rejects {
        for id in over_reject_limit(tx, max_rejects).await? {
            let error = too_many_rejects(tx, id, limit).await?;
            failing.push(Failing { id, error });
        }
    }
    failing.sort_by_key(|object| object.id);
    Ok(failing)
}

/// The loading objects that their chunks cover: chunks never overlap, so that they cover an object when their total
/// length is that of the object. Their counts say how many lines the writers accounted for, to be compared with those
/// that the fetcher read.
async fn complete(db: &impl ConnectionTrait) -> Result<Vec<Complete>, Error> {
    let sql = "SELECT o.id, o.error, o.total_lines, CAST(COALESCE(SUM(CASE WHEN c.state = 'dead' THEN c.line_count
                 ELSE c.inserted + c.updated + c.deleted + c.unchanged + c.superseded + c.rejected + c.blank END), 0) AS BIGINT)
                 AS lines,
             CAST(COALESCE(SUM(c.rejected), 0) AS BIGINT) AS rejected,
             CAST(COALESCE(SUM(c.inserted + c.updated + c.deleted + c.unchanged + c.superseded), 0) AS BIGINT) AS accepted,
             COALESCE(SUM(CASE WHEN c.state = 'dead' THEN 1 ELSE 0 END), 0) AS dead
         FROM objects o LEFT JOIN chunks c ON c.object_id = o.id AND c.state IN ('committed', 'dead')
         WHERE o.state = 'loading' AND o.total_bytes IS NOT NULL
         GROUP BY o.id, o.error, o.total_lines, o.total_bytes
         HAVING COALESCE(SUM(c.end_offset - c.start_offset), 0) = o.total_bytes
         ORDER BY o.id";
    query(db, "look for complete objects", sql, []).await
}

/// Settled objects are never read again, except in a replay: their chunks are summed up in the object's row and
/// deleted, which keeps the ledger small.
async fn fold(tx: &impl ConnectionTrait) -> Result<(), Error> {
    let settled = settled(tx).await?.get();
    unknown_fields::fold(tx, settled).await?;
    let sum = "UPDATE objects AS o SET inserted = o.inserted + c.inserted, updated = o.updated + c.updated,
             deleted = o.deleted + c.deleted, unchanged = o.unchanged + c.unchanged, superseded = o.superseded + c.superseded,
             rejected = o.rejected + c.rejected, folded_bytes = o.folded_bytes + c.bytes
         FROM (SELECT object_id, SUM(inserted) AS inserted, SUM(updated) AS updated,
                 SUM(deleted) AS deleted, SUM(unchanged) AS unchanged, SUM(superseded) AS superseded, SUM(rejected) AS rejected,
                 SUM(CASE WHEN state = 'committed' THEN end_offset - start_offset ELSE 0 END) AS bytes
             FROM chunks WHERE object_id < $1 GROUP BY object_id) AS c
         WHERE c.object_id = o.id";
    execute(tx, "fold chunks", sum, [settled.into()]).await?;
    let delete = "DELETE FROM chunks WHERE object_id < $1";
    execute(tx, "remove folded chunks", delete, [settled.into()]).await.map(drop)
}
