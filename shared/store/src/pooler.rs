//! Connection poolers between us and PostgreSQL, PgBouncer above all, and what of them can be worked with.
//!
//! A pooler may give every transaction another session of the server. Nothing here relies on a session for longer: locks
//! are taken until the end of a transaction, leases stand in tables. But statements are prepared once for each connection,
//! so a pooler that mixes sessions up must carry prepared statements over. One that does not would fail every second
//! statement, and not the first, so it is found out before any work.

use std::{pin::pin, time::Duration};

use sea_orm::{
    DatabaseConnection, DbBackend, DbErr, RuntimeErr, SqlxError,
    sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Row, query, raw_sql},
};
use tokio::time::timeout;

use crate::Error;

/// How long the check may wait for a session that others have.
const WAIT: Duration = Duration::from_secs(10);

/// How long the check waits for an answer, until it looks whether there is one session for all.
const SHORT: Duration = Duration::from_secs(1);

/// How often it is tried to meet with another session: a pool that others use may have given it to them.
const ROUNDS: usize = 3;

const MIXED: &str = "it gives every transaction another session and carries no prepared statements over: \
     set pool_mode = session, or use PgBouncer 1.21 or later with max_prepared_statements above 0";

/// What the driver needs of a session, and a server of its own would have been told at the start of it.
const ISOLATION: &str = "read committed";

/// Refuses a pooler that mixes sessions up and does not carry prepared statements over. SQLite has none.
pub async fn check(db: &DatabaseConnection) -> Result<(), Error> {
    if db.get_database_backend() != DbBackend::Postgres {
        return Ok(());
    }
    let pool = db.get_postgres_connection_pool();
    let checked = async {
        let mut ours = pool.acquire().await?;
        let mut other = PgConnection::connect_with(&pool.connect_options()).await?;
        for _ in 0..ROUNDS {
            if !is_carried_over(&mut ours, &mut other).await? {
                // It has statements prepared in sessions that are no longer its own.
                drop(ours.detach());
                return Ok(false);
            }
        }
        other.close().await?;
        Ok::<_, SqlxError>(true)
    };
    match timeout(WAIT, checked).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(Error::Pooler { reason: MIXED }),
        Ok(Err(error)) => Err(sorted(error)),
        Err(_) => Err(sorted(SqlxError::PoolTimedOut)),
    }
}

/// Whether a statement that one connection has prepared is there the next time, while the session of the first time is
/// another's if it can be.
async fn is_carried_over(
    ours: &mut PgConnection,
    other: &mut PgConnection,
) -> Result<bool, SqlxError> {
    if !is_prepared(ours).await? {
        return Ok(false);
    }
    // Whoever mixes sessions up gives away the one that was free last.
    raw_sql("BEGIN; SELECT 1").execute(&mut *other).await?;
    let mut asking = pin!(is_prepared(ours));
    let asked = timeout(SHORT, &mut asking).await;
    raw_sql("ROLLBACK").execute(&mut *other).await?;
    if let Ok(is_there) = asked {
        return is_there;
    }
    // The server is slow, or there is one session for both. Then, where nothing is carried over, what one has prepared is in
    // the way of the other.
    Ok(asking.await? && is_prepared(other).await?)
}

async fn is_prepared(connection: &mut PgConnection) -> Result<bool, SqlxError> {
    match query("SELECT 1").execute(connection).await {
        Ok(_) => Ok(true),
        Err(SqlxError::Database(error)) if error.code().is_some_and(|code| is_mixed(&code)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// A prepared statement is not there, or is already.
fn is_mixed(code: &str) -> bool {
    matches!(code, "26000" | "42P05")
}

/// Whether the options came through that a connection starts with. Without the isolation nothing is safe; the others only
/// cost time.
pub(crate) async fn check_options(db: &DatabaseConnection) -> Result<(), Error> {
    if db.get_database_backend() != DbBackend::Postgres {
        return Ok(());
    }
    let pool: &PgPool = db.get_postgres_connection_pool();
    let sql = "SELECT current_setting('default_transaction_isolation'), \
               current_setting('enable_seqscan') = 'off' AND current_setting('jit') = 'off'";
    let row = query(AssertSqlSafe(sql)).fetch_one(pool).await;
    let row = row.map_err(sorted)?;
    let isolation: String = row.try_get(0).map_err(sorted)?;
    let fast: bool = row.try_get(1).map_err(sorted)?;
    if isolation != ISOLATION {
        return Err(Error::Pooler {
            reason: "it drops start-up options, and the role's default_transaction_isolation is not `read committed`: \
                     ALTER ROLE jetline SET default_transaction_isolation = 'read committed'",
        });
    }
    if !fast {
        tracing::warn!(
            "the connection pooler drops start-up options: without `ALTER ROLE … SET enable_seqscan = off` and \
             `ALTER ROLE … SET jit = off` statements may be slow; docs/pgbouncer.md"
        );
    }
    Ok(())
}

/// The error for a pooler that refuses what a connection starts with. It has the code of a broken protocol, but no waiting
/// cures it.
#[must_use]
pub fn refusal(error: &DbErr) -> Option<Error> {
    let (DbErr::Conn(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))
    | DbErr::Exec(RuntimeErr::SqlxError(error))) = error
    else {
        return None;
    };
    let SqlxError::Database(error) = error.as_ref() else {
        return None;
    };
    let reason = if error.message().starts_with("unsupported startup parameter") {
        "it refuses start-up parameters: set ignore_startup_parameters = extra_float_digits, options in pgbouncer.ini"
    } else if error.code().is_some_and(|code| is_mixed(&code)) {
        MIXED
    } else {
        return None;
    };
    Some(Error::Pooler { reason })
}

fn sorted(error: SqlxError) -> Error {
    let error = DbErr::Conn(RuntimeErr::SqlxError(error.into()));
    crate::tls::refusal(&error)
        .or_else(|| refusal(&error))
        .unwrap_or_else(|| Error::of("check the connection to the database", error))
}
