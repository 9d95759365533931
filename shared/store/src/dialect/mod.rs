//! The dialects of PostgreSQL and SQLite: each has a module that implements [`Dialect`].

mod interface;
pub(crate) mod postgres;
pub(crate) mod query;
pub(crate) mod sqlite;

use sea_orm::{ConnectionTrait, DbBackend};

pub(crate) use self::interface::{Dialect, Lock, Scalar};
use self::{postgres::Postgres, sqlite::Sqlite};

/// The dialect of a database.
pub(crate) fn of(db: &impl ConnectionTrait) -> &'static dyn Dialect {
    match db.get_database_backend() {
        DbBackend::Sqlite => &Sqlite,
        _ => &Postgres,
    }
}

/// Whether an epoch is in force, as an SQL expression; `epoch` is a table or an alias. A crash or a restart of the server, or a
/// restore, may have undone commits, and a replay ends the epoch.
pub(crate) fn in_force(db: &impl ConnectionTrait, epoch: &str) -> String {
    let (now, survived) = (of(db).instance(), of(db).survived(epoch));
    format!("({epoch}.server_started_at = {now} AND {survived} AND NOT {epoch}.replayed)")
}

/// Whether an object is to be read and has no valid lease, as an SQL expression.
pub(crate) fn is_unleased(db: &impl ConnectionTrait) -> String {
    let now = of(db).milliseconds();
    format!("(state = 'registered' OR (state = 'reading' AND lease_until < {now}))")
}
