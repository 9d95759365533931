//! Checks for connection poolers between the service and PostgreSQL, such as PgBouncer.
//!
//! A pooler may assign another server session to every transaction. Jetline needs no longer sessions: locks are held
//! until the end of a transaction, leases are rows. But statements are prepared once for each client connection, so a
//! pooler in transaction mode must support prepared statements. With one that does not, the first statements may
//! succeed and later ones fail, so this is checked at start.

use std::{pin::pin, time::Duration};

use sea_orm::{
    DatabaseConnection, DbErr, RuntimeErr, SqlxError,
    sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, Row, query, raw_sql},
};
use tokio::time::timeout;

use super::tls;
use crate::error::Error;

/// Timeout of the whole check, which may have to wait for a server session of the pool.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout of one statement, after which the pool is assumed to have only one server session.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(1);

/// Number of attempts to get another server session: other clients may use it.
const ATTEMPTS: usize = 3;

const NO_PREPARED_STATEMENTS: &str = "it uses transaction pooling without support for prepared statements: \
     set pool_mode = session, or use PgBouncer 1.21 or later with max_prepared_statements above 0";

/// The isolation level that connections need. Without a pooler it is set by a start-up option.
const ISOLATION: &str = "read committed";

/// Fails on a pooler with transaction pooling and without support for prepared statements.
pub(super) async fn check(db: &DatabaseConnection) -> Result<(), Error> {
    let pool = db.get_postgres_connection_pool();
    let checked = async {
        let mut ours = pool.acquire().await?;
        let mut other = PgConnection::connect_with(&pool.connect_options()).await?;
        for _ in 0..ATTEMPTS {
            if !survives_session_change(&mut ours, &mut other).await? {
                // The connection has prepared statements in server sessions that it does not have any more.
                drop(ours.detach());
                return Ok(false);
            }
        }
        other.close().await?;
        Ok::<_, SqlxError>(true)
    };
    match timeout(CHECK_TIMEOUT, checked).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(Error::Pooler { reason: NO_PREPARED_STATEMENTS }),
        Ok(Err(error)) => Err(classify(error)),
        Err(_) => Err(classify(SqlxError::PoolTimedOut)),
    }
}

/// Whether a prepared statement of a connection still exists after the other connection has, if possible, taken its
/// server session.
async fn survives_session_change(
    ours: &mut PgConnection,
    other: &mut PgConnection,
) -> Result<bool, SqlxError> {
    if !is_prepared(ours).await? {
        return Ok(false);
    }
    // Poolers assign the server session that became free last.
    raw_sql("BEGIN; SELECT 1").execute(&mut *other).await?;
    let mut preparing = pin!(is_prepared(ours));
    let result = timeout(STATEMENT_TIMEOUT, &mut preparing).await;
    raw_sql("ROLLBACK").execute(&mut *other).await?;
    if let Ok(is_prepared) = result {
        return is_prepared;
    }
    // The server is slow, or the pool has only one server session. In that case, without support for prepared
    // statements, those of one connection conflict with those of the other.
    Ok(preparing.await? && is_prepared(other).await?)
}

async fn is_prepared(connection: &mut PgConnection) -> Result<bool, SqlxError> {
    match query("SELECT 1").execute(connection).await {
        Ok(_) => Ok(true),
        Err(SqlxError::Database(error))
            if error.code().is_some_and(|code| is_prepared_conflict(&code)) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// A prepared statement does not exist (26000), or exists already (42P05).
fn is_prepared_conflict(code: &str) -> bool {
    matches!(code, "26000" | "42P05")
}

/// Checks that the start-up options of a connection are in effect. Without the isolation level commits would be
/// incorrect; the other options only improve performance.
pub(super) async fn check_options(db: &DatabaseConnection) -> Result<(), Error> {
    let pool: &PgPool = db.get_postgres_connection_pool();
    let sql = "SELECT current_setting('default_transaction_isolation'), \
               current_setting('enable_seqscan') = 'off' AND current_setting('jit') = 'off'";
    let row = query(AssertSqlSafe(sql)).fetch_one(pool).await;
    let row = row.map_err(classify)?;
    let isolation: String = row.try_get(0).map_err(classify)?;
    let fast: bool = row.try_get(1).map_err(classify)?;
    if isolation != ISOLATION {
        return Err(Error::Pooler {
            reason: "it drops start-up options, and the role's default_transaction_isolation is not `read committed`: \
                     ALTER ROLE jetline SET default_transaction_isolation = 'read committed'",
        });
    }
    if !fast {
        tracing::warn!(
            "the connection pooler drops start-up options: without `ALTER ROLE … SET enable_seqscan = off` and \
             `ALTER ROLE … SET jit = off` statements may be slow; see docs/pgbouncer.md"
        );
    }
    Ok(())
}

/// The permanent error of a pooler that refuses start-up parameters or prepared statements. Its SQLSTATE alone would be
/// classified as transient.
pub(super) fn refusal(error: &DbErr) -> Option<Error> {
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
    } else if error.code().is_some_and(|code| is_prepared_conflict(&code)) {
        NO_PREPARED_STATEMENTS
    } else {
        return None;
    };
    Some(Error::Pooler { reason })
}

fn classify(error: SqlxError) -> Error {
    let error = DbErr::Conn(RuntimeErr::SqlxError(error.into()));
    tls::refusal(&error)
        .or_else(|| refusal(&error))
        .unwrap_or_else(|| Error::classify("check the connection to the database", error))
}
