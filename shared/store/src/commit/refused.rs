//! Lines that the database did not accept, which their claims do not know.

use std::collections::BTreeMap;

use jetline_records::{EpochId, Reason, Rejection};
use sea_orm::FromQueryResult;

use super::{ChunkEntry, ChunkRows, entries, rejects};
use crate::{
    Error, Ledger,
    backend::{self, Lock, query},
    database,
    ledger::{commit, epoch},
};

#[derive(FromQueryResult)]
struct RefusedLine {
    line: i64,
    message: String,
}

impl Ledger {
    /// Rejects lines, by their chunks, that were claimed under `epoch` and that the database does not accept.
    ///
    /// Their claims will never be committed, which ends the epoch; the next one gets the id `new`. Before anything of the
    /// chunks is claimed again, [`Ledger::refused`] says which lines are to be left out.
    pub async fn refuse(
        &self,
        epoch: EpochId,
        chunks: &[ChunkRows],
        new: EpochId,
    ) -> Result<(), Error> {
        let tx = database::begin(&self.db).await?;
        backend::lock(&tx, Lock::EpochExclusive).await?;
        let entries::Check::Known(known) = entries::check(&tx, epoch, chunks).await? else {
            return Ok(());
        };
        let open: Vec<&ChunkRows> = chunks
            .iter()
            .filter(|chunk| !known.is_committed(&chunk.entry))
            .collect();
        rejects::insert(&tx, &open).await?;
        epoch::end(&tx, new, (self.now)()).await?;
        commit(tx, "reject what the database refused").await
    }

    /// The lines of a chunk, by number, that the database did not accept.
    pub async fn refused(&self, chunk: &ChunkEntry) -> Result<BTreeMap<u32, Rejection>, Error> {
        let sql = "SELECT line, message FROM rejected_lines
             WHERE object_id = $1 AND line >= $2 AND line < $3 AND reason = $4";
        let first = i64::from(chunk.first_line);
        let values = [
            chunk.object.get().into(),
            first.into(),
            (first + i64::from(chunk.lines)).into(),
            Reason::RefusedByDatabase.code().into(),
        ];
        let lines: Vec<RefusedLine> = query(&self.db, "read refused lines", sql, values).await?;
        let lines = lines.into_iter().filter_map(|line| {
            let rejection = Rejection::new(Reason::RefusedByDatabase, line.message);
            Some((u32::try_from(line.line).ok()?, rejection))
        });
        Ok(lines.collect())
    }
}
