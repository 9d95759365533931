//! Identifies the Redis server and the ledger of its epoch.

use jetline_core::LedgerIdentity;
use redis::{ErrorKind, RedisError, ServerErrorKind, aio::ConnectionManager, cmd};
use url::Url;

use super::layout::Keys;
use crate::StoreInfo;

/// The store of a connection: the replication id of its server, the database, and the prefix.
pub(super) async fn read(
    connection: &mut ConnectionManager,
    keys: &Keys,
    address: &str,
) -> Result<StoreInfo, RedisError> {
    let replication: String = match cmd("INFO").arg("replication").query_async(connection).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => String::new(),
        response => response?,
    };
    let ledger: Option<String> = cmd("GET").arg(keys.ledger()).query_async(connection).await?;
    let history = replication_id(&replication).unwrap_or(address);
    let path = Url::parse(address).map(|url| url.path().trim_matches('/').to_owned());
    let database = path.unwrap_or_default();
    Ok(StoreInfo {
        address: address.to_owned(),
        identity: format!(
            "replication {history}, database {}, prefix {}",
            if database.is_empty() { "0" } else { &database },
            keys.prefix()
        ),
        // Parsing cannot fail.
        ledger: ledger.and_then(|ledger| ledger.parse().ok()),
    })
}

/// Records in the store the ledger whose epoch begins.
pub(super) async fn set_ledger(
    connection: &mut ConnectionManager,
    keys: &Keys,
    ledger: &LedgerIdentity,
) -> Result<(), RedisError> {
    cmd("SET").arg(keys.ledger()).arg(ledger.to_string()).exec_async(connection).await
}

fn replication_id(replication: &str) -> Option<&str> {
    let mut lines = replication.lines();
    lines.find_map(|line| line.strip_prefix("master_replid:"))
}
