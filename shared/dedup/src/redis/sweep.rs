//! Removing what ended epochs left, in steps that do not hold up claims.

use jetline_records::EpochId;
use redis::{RedisError, aio::ConnectionManager, cmd};

use super::layout::Keys;

/// Keys looked at in one step.
const STEP: u32 = 1_000;

/// The epochs that began here and were not forgotten.
pub(super) async fn epochs(
    connection: &mut ConnectionManager,
    keys: &Keys,
) -> Result<Vec<EpochId>, RedisError> {
    let members: Vec<String> = cmd("SMEMBERS")
        .arg(keys.epochs())
        .query_async(connection)
        .await?;
    Ok(members
        .iter()
        .filter_map(|member| member.parse().ok())
        .collect())
}

/// Removes an epoch's entries, and then its name, so that a sweep that is cut short is done again.
pub(super) async fn forget(
    connection: &mut ConnectionManager,
    keys: &Keys,
    epoch: EpochId,
) -> Result<u64, RedisError> {
    end(connection, keys, epoch).await?;
    let removed = sweep(connection, &keys.pattern(epoch)).await?;
    cmd("SREM")
        .arg(keys.epochs())
        .arg(epoch.to_string())
        .exec_async(connection)
        .await?;
    Ok(removed)
}

/// Whoever forgets an epoch that has not ended ends it: claims must not go on without its entries.
async fn end(
    connection: &mut ConnectionManager,
    keys: &Keys,
    epoch: EpochId,
) -> Result<(), RedisError> {
    let mark: Option<String> = cmd("GET").arg(keys.epoch()).query_async(connection).await?;
    if mark.is_some_and(|mark| mark.starts_with(&epoch.to_string())) {
        // Should another epoch begin right now, it is lost and another one begins.
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
            .arg(STEP)
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
