//! Which Redis it is, and whose epoch it holds.

use jetline_records::LedgerIdentity;
use redis::{ErrorKind, RedisError, ServerErrorKind, aio::ConnectionManager, cmd};
use url::Url;

use super::layout::Keys;
use crate::Place;

/// The store behind a connection: the replication history of its server, the database there, and the prefix.
pub(super) async fn place(
    connection: &mut ConnectionManager,
    keys: &Keys,
    address: &str,
) -> Result<Place, RedisError> {
    let replication: String = match cmd("INFO").arg("replication").query_async(connection).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => String::new(),
        answer => answer?,
    };
    let ledger: Option<String> = cmd("GET")
        .arg(keys.ledger())
        .query_async(connection)
        .await?;
    let history = history(&replication).unwrap_or(address);
    let path = Url::parse(address).map(|url| url.path().trim_matches('/').to_owned());
    let database = path.unwrap_or_default();
    Ok(Place {
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

/// Says in the store whose epoch begins.
pub(super) async fn sign(
    connection: &mut ConnectionManager,
    keys: &Keys,
    ledger: &LedgerIdentity,
) -> Result<(), RedisError> {
    cmd("SET")
        .arg(keys.ledger())
        .arg(ledger.to_string())
        .exec_async(connection)
        .await
}

fn history(replication: &str) -> Option<&str> {
    let mut lines = replication.lines();
    lines.find_map(|line| line.strip_prefix("master_replid:"))
}
