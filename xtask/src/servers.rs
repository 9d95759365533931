//! The servers that all tests share: one of each kind, on free ports.

use jetline_testkit::{nats::NatsServer, postgres::PostgresServer, redis::RedisServer};

/// Running servers; they end when this is dropped.
pub(crate) struct Servers {
    postgres: PostgresServer,
    nats: NatsServer,
    redis: RedisServer,
}

impl Servers {
    /// Starts them. A test that is about crashes starts servers of its own: these need not survive one.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Ok(Self {
            postgres: PostgresServer::start_with(&[
                ("fsync", "off"),
                ("full_page_writes", "off"),
                ("synchronous_commit", "off"),
                ("max_connections", "400"),
            ])?,
            nats: NatsServer::start()?,
            redis: RedisServer::start()?,
        })
    }

    /// The variables that tell the tests where the servers are.
    pub(crate) fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("JETLINE_TEST_POSTGRES", self.postgres.url().to_owned()),
            ("JETLINE_TEST_NATS", self.nats.url().to_string()),
            ("JETLINE_TEST_REDIS", self.redis.url().to_string()),
        ]
    }
}
