//! Checks of a server before it is used.

use std::collections::HashMap;

use redis::{
    ErrorKind, FromRedisValue, RedisError, ServerErrorKind, Value, aio::ConnectionManager, cmd,
};

/// Why the server cannot store claims, if so. Warns of settings that lose entries.
pub(super) async fn refusal(
    connection: &mut ConnectionManager,
    url: &str,
) -> Result<Option<String>, RedisError> {
    let hello: HashMap<String, Value> = cmd("HELLO").query_async(connection).await?;
    let text = |name: &str| {
        let value = hello.get(name).cloned().unwrap_or(Value::Nil);
        String::from_redis_value(value).unwrap_or_default()
    };
    if text("mode") == "cluster" {
        return Ok(Some(super::NO_CLUSTER.to_owned()));
    }
    let version = text("version");
    if major(&version).is_some_and(|major| major < 7) {
        return Ok(Some(format!(
            "it is Redis {version}, whose snapshots restore scripts, so that a loss is not detected; \
             REDIS_URL must name Redis 7.0 or later"
        )));
    }
    warn_of_eviction(connection, url).await?;
    Ok(None)
}

async fn warn_of_eviction(connection: &mut ConnectionManager, url: &str) -> Result<(), RedisError> {
    let memory: String = match cmd("INFO").arg("memory").query_async(connection).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => {
            tracing::debug!(redis.url = url, "read maxmemory-policy of the dedup store failed");
            return Ok(());
        }
        response => response?,
    };
    if let Some(policy) = eviction(&memory) {
        tracing::warn!(
            redis.url = url,
            maxmemory_policy = policy,
            "dedup store may evict entries, which makes the table wrong: set maxmemory-policy to noeviction"
        );
    }
    Ok(())
}

/// The eviction policy of a server, if it evicts.
fn eviction(memory: &str) -> Option<&str> {
    let value = |name| memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let policy = value("maxmemory_policy")?;
    let limited = value("maxmemory")? != "0";
    (limited && policy != "noeviction").then_some(policy)
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_evicts_only_with_a_limit_and_a_policy() {
        let memory = |limit, policy| {
            format!("# Memory\r\nmaxmemory:{limit}\r\nmaxmemory_policy:{policy}\r\n")
        };
        assert_eq!(eviction(&memory(1, "allkeys-lru")), Some("allkeys-lru"));
        assert_eq!(eviction(&memory(0, "allkeys-lru")), None);
        assert_eq!(eviction(&memory(1, "noeviction")), None);
        assert_eq!(eviction(""), None);
    }

    #[test]
    fn major_version_is_the_first_number() {
        assert_eq!(major("7.0.15"), Some(7));
        assert_eq!(major("10.2"), Some(10));
        assert_eq!(major(""), None);
    }
}
