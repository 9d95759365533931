//! The epoch, under which chunks are claimed and committed.
//!
//! A new epoch begins when the dedup store has lost entries, when the database was restored, when objects are replayed,
//! and when there are claims that will never be committed. It begins in one transaction that excludes commits.

use chrono::{DateTime, Utc};
use jetline_core::{Epoch, EpochId, Mode, ObjectId};
use sea_orm::{ConnectionTrait, FromQueryResult};

use super::EpochLedger;
use crate::{
    Error,
    database::begin_exclusive,
    dialect::{self, in_force},
    statement::{execute, query},
    watermark::{next_object, settled},
};

/// The ledger's epoch, and whether it is still in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentEpoch {
    /// The epoch.
    pub epoch: Epoch,
    /// Whether the database server has neither restarted nor crashed, the database was not restored, and no object was replayed
    /// since it began.
    pub in_force: bool,
}

/// Why an epoch did not begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError<E> {
    /// An error of the ledger.
    #[error(transparent)]
    Ledger(#[from] Error),
    /// An error of the dedup store.
    #[error(transparent)]
    Dedup(E),
}

#[derive(FromQueryResult)]
struct EpochRow {
    id: String,
    base: i64,
    recovery: i64,
    mode: String,
    write_through: String,
    in_force: bool,
}

impl EpochLedger {
    /// The epoch, if one ever began.
    pub async fn current(&self) -> Result<Option<CurrentEpoch>, Error> {
        current(&self.db).await
    }

    /// Begins the epoch `new`, unless another process began one since the caller saw the epoch `seen`; returns the one
    /// in force.
    ///
    /// `activate` prepares the dedup store, while commits are excluded. Where it fails, the epoch has not begun.
    pub async fn begin<E>(
        &self,
        mode: Mode,
        seen: Option<EpochId>,
        new: EpochId,
        activate: impl Future<Output = Result<(), E>>,
    ) -> Result<Epoch, BeginError<E>> {
        let tx = begin_exclusive(&self.db).await?;
        if let Some(current) = current(&tx).await? {
            check_mode(&tx, &current.epoch, mode, seen).await?;
            let adopt = current.in_force
                && current.epoch.mode == mode
                && mode != Mode::InOrder
                && seen != Some(current.epoch.id);
            if adopt {
                return Ok(current.epoch);
            }
        }
        activate.await.map_err(BeginError::Dedup)?;
        let epoch = replace(&tx, mode, new, (self.now)()).await?;
        if mode == Mode::InOrder {
            reopen_in_order(&tx).await?;
        }
        tx.commit("begin an epoch").await?;
        Ok(epoch)
    }

    /// Ends the epoch `seen`, if it is still in force, because some of its claims will never be committed.
    ///
    /// The dedup store does not know the new id, so that the next claim fails and begins another epoch.
    pub async fn end(&self, seen: EpochId, new: EpochId) -> Result<(), Error> {
        let tx = begin_exclusive(&self.db).await?;
        if current(&tx).await?.is_some_and(|current| current.epoch.id == seen) {
            end(&tx, new, (self.now)()).await?;
        }
        tx.commit("end an epoch").await
    }

    /// Disables claims for a dataset until a replay; returns whether they were enabled.
    ///
    /// The database refused a claimed record, which will never be committed. That ends the epoch, as the claims of
    /// other lines that depended on it have to be repeated; the next epoch gets the id `new`. Later refusals in this
    /// dataset end none.
    pub async fn write_through(&self, dataset: &str, new: EpochId) -> Result<bool, Error> {
        let tx = begin_exclusive(&self.db).await?;
        let Some(epoch) = current(&tx).await?.map(|current| current.epoch) else {
            return Ok(false);
        };
        if !epoch.claims(dataset) {
            return Ok(false);
        }
        let mut names = epoch.write_through;
        names.push(dataset.to_owned());
        let sql = "UPDATE epoch SET write_through = $1";
        execute(&tx, "disable claims", sql, [names.join(",").into()]).await?;
        end(&tx, new, (self.now)()).await?;
        tx.commit("disable claims").await?;
        Ok(true)
    }
}

/// Parses the column `write_through`: names of datasets, separated by commas.
fn names(text: &str) -> Vec<String> {
    let names = text.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// Ends the epoch in force, if it is a shared one; returns the next one.
pub(crate) async fn end(
    tx: &impl ConnectionTrait,
    new: EpochId,
    now: DateTime<Utc>,
) -> Result<Option<Epoch>, Error> {
    match current(tx).await? {
        Some(current) if current.epoch.mode == Mode::Shared => {
            replace(tx, Mode::Shared, new, now).await.map(Some)
        }
        _ => Ok(None),
    }
}

/// Ends the epoch in force, in any mode, as a restart of the database does: it can neither be committed under nor
/// joined. The next writer begins another one, with the base and recovery mark of that time. Claims are enabled again
/// for all datasets: the cause of refusals may be fixed.
pub(crate) async fn outdate(tx: &impl ConnectionTrait) -> Result<(), Error> {
    let sql = "UPDATE epoch SET replayed = TRUE, write_through = ''";
    execute(tx, "end the epoch", sql, []).await.map(drop)
}

pub(crate) async fn current(db: &impl ConnectionTrait) -> Result<Option<CurrentEpoch>, Error> {
    let sql = format!(
        "SELECT id, base, recovery, mode, write_through, {} AS in_force FROM epoch",
        in_force(db, "epoch")
    );
    let rows: Vec<EpochRow> = query(db, "read the epoch", &sql, []).await?;
    rows.first().map(EpochRow::read).transpose()
}

impl EpochRow {
    fn read(&self) -> Result<CurrentEpoch, Error> {
        let corrupt = |what: &str| Error::Corrupt(format!("the epoch's {what} cannot be read"));
        Ok(CurrentEpoch {
            epoch: Epoch {
                id: self.id.parse().map_err(|_| corrupt("id"))?,
                base: ObjectId::new(self.base).ok_or_else(|| corrupt("base"))?,
                recovery: ObjectId::new(self.recovery).ok_or_else(|| corrupt("recovery"))?,
                mode: self.mode.parse().map_err(|_| corrupt("mode"))?,
                write_through: names(&self.write_through),
            },
            in_force: self.in_force,
        })
    }
}

/// Checks that an epoch of this mode may begin. The mode changes only where the old one has no open claims: when
/// everything is settled, or after the in-order mode. A process in the in-order mode does not take over from its
/// successor.
async fn check_mode(
    tx: &impl ConnectionTrait,
    current: &Epoch,
    mode: Mode,
    seen: Option<EpochId>,
) -> Result<(), Error> {
    if mode == Mode::InOrder && seen.is_some_and(|seen| seen != current.id) {
        return Err(Error::TakenOver);
    }
    let changes = current.mode != mode && current.mode != Mode::InOrder;
    if changes && settled(tx).await? != next_object(tx).await? {
        return Err(Error::ModeMismatch { theirs: current.mode, ours: mode });
    }
    Ok(())
}

/// Puts a new epoch in force. In shared mode, chunks from its base on are to be claimed and committed again.
async fn replace(
    tx: &impl ConnectionTrait,
    mode: Mode,
    new: EpochId,
    now: DateTime<Utc>,
) -> Result<Epoch, Error> {
    let before = current(tx).await?;
    let epoch = Epoch {
        id: new,
        base: settled(tx).await?,
        recovery: next_object(tx).await?,
        mode,
        write_through: before.map_or_else(Vec::new, |before| before.epoch.write_through),
    };
    if mode == Mode::Shared {
        forget(tx, epoch.base).await?;
    }
    let sql = format!(
        "INSERT INTO epoch (slot, id, base, recovery, mode, server_started_at, began_at)
         VALUES (1, $1, $2, $3, $4, {}, $5)
         ON CONFLICT (slot) DO UPDATE SET id = excluded.id, base = excluded.base,
             recovery = excluded.recovery, mode = excluded.mode,
             server_started_at = excluded.server_started_at, began_at = excluded.began_at,
             replayed = FALSE",
        dialect::of(tx).instance()
    );
    let values = [
        new.to_string().into(),
        epoch.base.get().into(),
        epoch.recovery.get().into(),
        mode.as_str().into(),
        now.into(),
    ];
    execute(tx, "write the epoch", &sql, values).await?;
    if let Some(sql) = dialect::of(tx).note_epoch() {
        execute(tx, "note the epoch", sql, [new.to_string().into()]).await?;
    }
    Ok(epoch)
}

/// Marks all chunks from `base` on to be committed again. Their counts are kept: they are those of the first commit.
async fn forget(tx: &impl ConnectionTrait, base: ObjectId) -> Result<(), Error> {
    let chunks =
        "UPDATE chunks SET state = 'forgotten' WHERE object_id >= $1 AND state = 'committed'";
    execute(tx, "forget chunks", chunks, [base.get().into()]).await?;
    let dead = "UPDATE chunks SET unclaimed = TRUE WHERE state = 'dead' AND NOT unclaimed";
    execute(tx, "forget dead chunks", dead, []).await?;
    let objects = "UPDATE objects SET state = 'loading', done_at = NULL
         WHERE id >= $1 AND state IN ('done', 'failed')";
    execute(tx, "reopen objects", objects, [base.get().into()]).await.map(drop)
}

/// Reopens unfinished objects in the in-order mode. Its process is the only one: leases of an earlier one are void, and
/// chunks that were published and not committed are lost with its queue. All of them are read again, in order.
async fn reopen_in_order(tx: &impl ConnectionTrait) -> Result<(), Error> {
    let sql = "UPDATE objects SET state = 'registered', lease_owner = NULL, lease_until = NULL
         WHERE state IN ('reading', 'loading') AND NOT unreadable";
    execute(tx, "reopen objects in order", sql, []).await.map(drop)
}
