//! Removes the entries of ended epochs, in small steps that do not block claims.

use jetline_core::EpochId;
use redis::{RedisError, aio::ConnectionManager, cmd};

use super::layout::Keys;

/// How many keys one `SCAN` visits.
const SCAN_COUNT: u32 = 1_000;

/// The epochs that began on this server and were not forgotten.
pub(super) async fn epochs(
    connection: &mut ConnectionManager,
    keys: &Keys,
) -> Result<Vec<EpochId>, RedisError> {
    let members: Vec<String> = cmd("SMEMBERS").arg(keys.epochs()).query_async(connection).await?;
    Ok(members.iter().filter_map(|member| member.parse().ok()).collect())
}

/// Removes an epoch's entries, and then its id, so that an interrupted sweep is repeated.
pub(super) async fn remove(
    connection: &mut ConnectionManager,
    keys: &Keys,
    epoch: EpochId,
) -> Result<u64, RedisError> {
    end(connection, keys, epoch).await?;
    let removed = sweep(connection, &keys.pattern(epoch)).await?;
    cmd("SREM").arg(keys.epochs()).arg(epoch.to_string()).exec_async(connection).await?;
    Ok(removed)
}

/// Ends the epoch if it is the current one: claims must not continue without its entries.
async fn end(
    connection: &mut ConnectionManager,
    keys: &Keys,
    epoch: EpochId,
) -> Result<(), RedisError> {
    let mark: Option<String> = cmd("GET").arg(keys.epoch()).query_async(connection).await?;
    if mark.is_some_and(|mark| mark.starts_with(&epoch.to_string())) {
        // If another epoch begins at this moment, it is lost, and the next one begins.
        cmd("DEL").arg(keys.epoch()).exec_async(connection).await?;
    }
    Ok(())
}

async fn sweep(connection: &mut ConnectionManager, pattern: &str) -> Result<u64, RedisError> {
    let mut removed = 0;
    let mut cursor: u64 = 0;
    loop {
        let (next, found): (u64, Vec<Vec<u8>>) = cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(SCAN_COUNT)
            .query_async(connection)
            .await?;
        if !found.is_empty() {
            let unlinked: u64 = cmd("UNLINK").arg(found).query_async(connection).await?;
            removed += unlinked;
        }
        if next == 0 {
            return Ok(removed);
        }
        cursor = next;
    }
}
