//! The adapter for Redis.

mod config;
mod failure;
mod layout;
mod script;
mod server;
mod store_info;
mod sweep;
mod tls;

use async_trait::async_trait;
pub use config::RedisConfig;
use jetline_core::{EpochId, LedgerIdentity, Mode, ObjectId};
use layout::Keys;
use redis::{
    Client, ErrorKind, IntoConnectionInfo, RedisError, ServerErrorKind, TlsCertificates,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cmd,
    io::tcp::TcpSettings,
};
use script::ClaimScript;
use url::Url;

use crate::{Claim, Claimed, Dedup, Error, StoreInfo};

const NO_CLUSTER: &str = "Redis Cluster is not supported, because a claim is one step over many keys: \
    REDIS_URL must name one primary";

/// Entries in a Redis server that all writers share.
///
/// A claim is one Lua script over the ids of a chunk, called by its digest in one round trip. How a loss is detected:
///
/// - The script, and so its digest, contains the epoch's id and is loaded only when the epoch begins: a server that does
///   not know the digest was restarted, from a snapshot or empty, or is another one.
/// - `FLUSHALL` keeps scripts but deletes the epoch's key.
/// - A primary that was a replica for a while may have lost entries. It has another replication id (`master_replid`),
///   which the epoch's key contains. The id also changes when the first replica is attached, and when the last one has
///   been disconnected for `repl-backlog-ttl`: that only begins a new epoch.
///
/// The loss of single keys is not detected: evicted, or deleted by hand.
///
/// Redis Cluster is not supported.
#[derive(Clone)]
pub struct Redis {
    connection: ConnectionManager,
    keys: Keys,
    url: String,
}

impl Redis {
    /// Connects to a server, and checks that it can store claims.
    pub async fn connect(url: &Url, config: &RedisConfig) -> Result<Self, Error> {
        let address = config::address(url);
        let certificates = tls::certificates(url, config).map_err(|reason| Error::Refused {
            action: "connect",
            url: address.clone(),
            reason,
        })?;
        let mut connection = open(url, config, certificates)
            .await
            .map_err(|error| failure::failure("connect", &address, error))?;
        let refusal = server::refusal(&mut connection, &address)
            .await
            .map_err(|error| failure::failure("connect", &address, error))?;
        if let Some(reason) = refusal {
            return Err(Error::Refused { action: "store claims", url: address, reason });
        }
        Ok(Self { connection, keys: Keys::new(&config.redis_prefix), url: address })
    }

    fn failure(&self, action: &'static str, error: RedisError) -> Error {
        failure::failure(action, &self.url, error)
    }
}

async fn open(
    url: &Url,
    config: &RedisConfig,
    certificates: Option<TlsCertificates>,
) -> Result<ConnectionManager, RedisError> {
    let socket = TcpSettings::default().set_nodelay(true);
    // A peer that does not acknowledge packets times out after as long as one that does not respond.
    #[cfg(target_os = "linux")]
    let socket = socket.set_user_timeout(config.redis_timeout);
    let address = url.clone().into_connection_info()?.set_tcp_settings(socket);
    let client = match certificates {
        Some(certificates) => Client::build_with_tls(address, certificates)?,
        None => Client::open(address)?,
    };
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(config.redis_timeout))
        .set_response_timeout(Some(config.redis_timeout))
        // Callers retry and log it; retries here would only hide the wait.
        .set_number_of_retries(0);
    ConnectionManager::new_with_config(client, config).await
}

#[async_trait]
impl Dedup for Redis {
    fn mode(&self) -> Mode {
        Mode::Shared
    }

    async fn claim(
        &self,
        epoch: &EpochId,
        trusted: ObjectId,
        dataset: &str,
        claims: &[Claim],
    ) -> Result<Claimed, Error> {
        let script = ClaimScript::of(*epoch);
        let (command, order) = script.claim(&self.keys, trusted, dataset, claims);
        let response: Result<Option<Vec<u8>>, _> =
            command.query_async(&mut self.connection.clone()).await;
        match response {
            Ok(Some(verdicts)) => script::verdicts(&verdicts, &order)
                .map(Claimed::Verdicts)
                .map_err(|error| self.failure("claim", error)),
            Ok(None) => Ok(Claimed::Lost),
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                Ok(Claimed::Lost)
            }
            Err(error) => Err(self.failure("claim", error)),
        }
    }

    async fn begin(&self, epoch: &EpochId) -> Result<(), Error> {
        let script = ClaimScript::of(*epoch);
        let mut connection = self.connection.clone();
        let begun = async {
            cmd("SCRIPT").arg("LOAD").arg(script.text()).exec_async(&mut connection).await?;
            // If the server restarts in between it loses the script; if this fails there is no key of the epoch. Either
            // way claims are lost and detected as such.
            script.begin(&self.keys).exec_async(&mut connection).await
        };
        begun.await.map_err(|error| self.failure("begin an epoch", error))
    }

    async fn store_info(&self) -> Result<Option<StoreInfo>, Error> {
        let info = store_info::read(&mut self.connection.clone(), &self.keys, &self.url).await;
        info.map(Some).map_err(|error| self.failure("identify the store", error))
    }

    async fn set_ledger(&self, ledger: &LedgerIdentity) -> Result<(), Error> {
        let signed = store_info::set_ledger(&mut self.connection.clone(), &self.keys, ledger).await;
        signed.map_err(|error| self.failure("record the ledger", error))
    }

    async fn epochs(&self) -> Result<Vec<EpochId>, Error> {
        let listed = sweep::epochs(&mut self.connection.clone(), &self.keys).await;
        listed.map_err(|error| self.failure("list epochs", error))
    }

    async fn remove(&self, ended: &[EpochId]) -> Result<u64, Error> {
        let mut keys = 0;
        for epoch in ended {
            keys += sweep::remove(&mut self.connection.clone(), &self.keys, *epoch)
                .await
                .map_err(|error| self.failure("remove an epoch", error))?;
        }
        Ok(keys)
    }
}
