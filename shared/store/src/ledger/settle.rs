//! Objects end: done when their committed chunks tile them, failed when they were damaged, cannot be completed, have too
//! many rejected lines, or none that was taken.

use jetline_records::{EpochId, ObjectId};
use sea_orm::{ConnectionTrait, FromQueryResult, Value};

use super::{
    Ledger, commit, epoch,
    hopeless::{hopeless, too_many},
    nothing_taken::nothing_taken,
    outdone::{Outdone, outdone},
    settled,
};
use crate::{
    Error,
    backend::{execute, placeholders, query},
};

/// How many objects one statement ends.
const BATCH: usize = 500;

/// An object that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub object: ObjectId,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// An object whose chunks tile it.
#[derive(FromQueryResult)]
struct Tiled {
    id: i64,
    error: Option<String>,
    total_lines: i64,
    lines: i64,
    rejected: i64,
    taken: i64,
    dead: i64,
}

/// An object that ends failed, and the epoch with it, when everything below it is settled.
struct Failing {
    id: i64,
    error: String,
}

impl Ledger {
    /// Ends every object whose chunks tile it, and folds the chunks of settled objects into their rows.
    ///
    /// An object with dead chunks ends only when everything below it is settled: until then its unchanged lines stand
    /// in the dedup store alone. So does one that is broken off with more than `max_rejects` rejected lines. It ends the
    /// epoch, for which `new_epoch` is used.
    ///
    /// None ends while lines of it were outdone by lines that are not committed; where these may never be, the epoch ends.
    pub async fn settle(
        &self,
        new_epoch: EpochId,
        max_rejects: Option<u64>,
    ) -> Result<Vec<Ended>, Error> {
        if !Candidates::of(&self.db, max_rejects).await?.may_change() {
            return Ok(Vec::new());
        }
        let tx = self.alone().await?;
        let mut ended = Vec::new();
        let candidates = Candidates::of(&tx, max_rejects).await?;
        let (dead, whole): (Vec<_>, Vec<_>) = candidates
            .tiled
            .into_iter()
            .filter(|object| candidates.outdone.may_end(object.id))
            .partition(|object| object.dead > 0);
        for batch in whole.chunks(BATCH) {
            self.end_whole(&tx, batch, max_rejects, &mut ended).await?;
        }
        let whole = ended.len();
        for Failing { id, error } in failing(&tx, &dead, max_rejects).await? {
            if settled(&tx).await?.get() == id && outdone(&tx, &[id]).await?.may_break_off(id) {
                self.end_failed(&tx, id, &error).await?;
                ended.extend(as_ended(id, Some(error)));
            }
        }
        if (ended.len() > whole || candidates.outdone.needs_epoch())
            && let Some(epoch) = epoch::end(&tx, new_epoch, (self.now)()).await?
        {
            // What lies beyond the new epoch's base is to be committed again.
            ended.retain(|one| one.object < epoch.base);
        }
        fold(&tx).await?;
        commit(tx, "settle objects").await?;
        Ok(ended)
    }

    /// Ends an object that cannot be completed, if everything below it is settled and no line of it was outdone by one that
    /// is not committed; says whether it did.
    ///
    /// Claims of chunks that are lost now may stand in the dedup store: it ends the epoch, for which `new_epoch` is used.
    pub async fn fail(&self, object: ObjectId, new_epoch: EpochId) -> Result<bool, Error> {
        let tx = self.alone().await?;
        let id = object.get();
        if settled(&tx).await? != object || !outdone(&tx, &[id]).await?.may_end(id) {
            return Ok(false);
        }
        let sql = "UPDATE objects SET state = 'failed', done_at = $1
             WHERE id = $2 AND state = 'loading' AND unreadable";
        let values = [(self.now)().into(), id.into()];
        let failed = execute(&tx, "fail an object", sql, values).await? == 1;
        if failed {
            epoch::end(&tx, new_epoch, (self.now)()).await?;
            fold(&tx).await?;
            commit(tx, "fail an object").await?;
        }
        Ok(failed)
    }

    async fn end_whole(
        &self,
        tx: &impl ConnectionTrait,
        objects: &[Tiled],
        max_rejects: Option<u64>,
        ended: &mut Vec<Ended>,
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
                && let Some(limit) =
                    max_rejects.filter(|limit| object.rejected.cast_unsigned() > *limit)
            {
                let many = too_many(tx, object.id, limit).await?;
                self.end_failed(tx, object.id, &many).await?;
                error = Some(many);
            } else if error.is_none()
                && let Some(why) =
                    nothing_taken(tx, object.id, object.taken, object.rejected).await?
            {
                // Every chunk is committed: no claim of it is open, and the epoch goes on.
                self.end_failed(tx, object.id, &why).await?;
                error = Some(why);
            }
            ended.extend(as_ended(object.id, error));
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

fn as_ended(id: i64, error: Option<String>) -> Option<Ended> {
    ObjectId::new(id).map(|object| Ended { object, error })
}

/// The objects that may end.
struct Candidates {
    watermark: i64,
    tiled: Vec<Tiled>,
    /// Whether the object at the watermark is to be broken off.
    is_hopeless: bool,
    outdone: Outdone,
}

impl Candidates {
    async fn of(db: &impl ConnectionTrait, max_rejects: Option<u64>) -> Result<Self, Error> {
        let watermark = settled(db).await?.get();
        let tiled = tiled(db).await?;
        let is_hopeless = hopeless(db, max_rejects).await?.contains(&watermark);
        let mut ids: Vec<i64> = tiled.iter().map(|object| object.id).collect();
        // The one at the watermark may be about to fail.
        if is_hopeless || is_unreadable(db, watermark).await? {
            ids.push(watermark);
        }
        Ok(Self {
            outdone: outdone(db, &ids).await?,
            watermark,
            tiled,
            is_hopeless,
        })
    }

    /// Whether one of them ends now, or the epoch.
    fn may_change(&self) -> bool {
        let mut tiled = self.tiled.iter().filter(|one| self.outdone.may_end(one.id));
        tiled.any(|object| object.dead == 0 || object.id == self.watermark)
            || (self.is_hopeless && self.outdone.may_break_off(self.watermark))
            || self.outdone.needs_epoch()
    }
}

async fn is_unreadable(db: &impl ConnectionTrait, object: i64) -> Result<bool, Error> {
    let sql = "SELECT id FROM objects WHERE id = $1 AND unreadable";
    let found: Vec<Id> = query(db, "look for an unreadable object", sql, [object.into()]).await?;
    Ok(!found.is_empty())
}

#[derive(FromQueryResult)]
struct Id {
    #[expect(dead_code, reason = "that there is a row says all")]
    id: i64,
}

async fn failing(
    tx: &impl ConnectionTrait,
    dead: &[Tiled],
    max_rejects: Option<u64>,
) -> Result<Vec<Failing>, Error> {
    let dead = dead.iter().map(|object| Failing {
        id: object.id,
        error: format!(
            "{} chunks crashed their writer too often and were given up",
            object.dead
        ),
    });
    let mut failing: Vec<Failing> = dead.collect();
    for id in hopeless(tx, max_rejects).await? {
        let error = too_many(tx, id, max_rejects.unwrap_or_default()).await?;
        failing.push(Failing { id, error });
    }
    failing.sort_by_key(|object| object.id);
    Ok(failing)
}

/// Committed chunks never overlap, so that they tile an object as soon as they are as long. Their lines are those that a
/// writer accounted for, which is then compared with those that the fetcher read.
async fn tiled(db: &impl ConnectionTrait) -> Result<Vec<Tiled>, Error> {
    let sql = "SELECT o.id, o.error, o.total_lines, CAST(COALESCE(SUM(CASE WHEN c.state = 'dead' THEN c.line_count
                 ELSE c.inserted + c.updated + c.unchanged + c.superseded + c.rejected + c.blank END), 0) AS BIGINT)
                 AS lines,
             CAST(COALESCE(SUM(c.rejected), 0) AS BIGINT) AS rejected,
             CAST(COALESCE(SUM(c.inserted + c.updated + c.unchanged + c.superseded), 0) AS BIGINT) AS taken,
             COALESCE(SUM(CASE WHEN c.state = 'dead' THEN 1 ELSE 0 END), 0) AS dead
         FROM objects o LEFT JOIN chunks c ON c.object_id = o.id AND c.state IN ('committed', 'dead')
         WHERE o.state = 'loading' AND o.total_bytes IS NOT NULL
         GROUP BY o.id, o.error, o.total_lines, o.total_bytes
         HAVING COALESCE(SUM(c.end_offset - c.start_offset), 0) = o.total_bytes
         ORDER BY o.id";
    query(db, "look for complete objects", sql, []).await
}

/// What is settled is never read again: its chunks become part of its row, which keeps the ledger small.
async fn fold(tx: &impl ConnectionTrait) -> Result<(), Error> {
    let settled = settled(tx).await?.get();
    let sum = "UPDATE objects AS o SET inserted = o.inserted + c.inserted, updated = o.updated + c.updated,
             unchanged = o.unchanged + c.unchanged, superseded = o.superseded + c.superseded,
             rejected = o.rejected + c.rejected, folded_bytes = o.folded_bytes + c.bytes
         FROM (SELECT object_id, SUM(inserted) AS inserted, SUM(updated) AS updated,
                 SUM(unchanged) AS unchanged, SUM(superseded) AS superseded, SUM(rejected) AS rejected,
                 SUM(CASE WHEN state = 'committed' THEN end_offset - start_offset ELSE 0 END) AS bytes
             FROM chunks WHERE object_id < $1 GROUP BY object_id) AS c
         WHERE c.object_id = o.id";
    execute(tx, "fold chunks", sum, [settled.into()]).await?;
    let delete = "DELETE FROM chunks WHERE object_id < $1";
    execute(tx, "fold chunks", delete, [settled.into()])
        .await
        .map(drop)
}
