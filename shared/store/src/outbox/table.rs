//! The rows of the outbox: read with a lock, and written.

use jetline_core::{Fingerprint, Position, Rank};
use jetline_datasets::{ChangeKind, Dataset};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, QueryResult, Value};

use super::delivery::{Cancellation, Delivery, DeliveryState, Lease};
use crate::{
    Error,
    dialect::{self, Scalar},
    statement::{execute, query},
    transaction::Transaction,
};

/// Maximum number of rows of one statement.
const MAX_ROWS: usize = 2000;

/// The columns of a row, in the order of [`row`]; the destination precedes them.
const COLUMNS: [(&str, Scalar); 17] = [
    ("key", Scalar::Text),
    ("kind", Scalar::Text),
    ("version", Scalar::Integer),
    ("position", Scalar::Integer),
    ("revision", Scalar::Integer),
    ("fingerprint", Scalar::Bytes),
    ("state", Scalar::Text),
    ("due_at", Scalar::NullableInteger),
    ("first_due_at", Scalar::Integer),
    ("attempts", Scalar::Integer),
    ("lease", Scalar::NullableText),
    ("lease_until", Scalar::NullableInteger),
    ("lease_revision", Scalar::NullableInteger),
    ("acknowledged", Scalar::NullableBytes),
    ("status", Scalar::NullableInteger),
    ("error", Scalar::NullableText),
    ("ended_at", Scalar::NullableInteger),
];

fn row(delivery: Delivery) -> [Value; COLUMNS.len()] {
    let lease = delivery.lease.map(|lease| (lease.token, lease.until, lease.revision));
    let (token, until, of) = match lease {
        Some((token, until, of)) => (Some(token), Some(until), Some(of)),
        None => (None, None, None),
    };
    let acknowledged = delivery.acknowledged.map(|fingerprint| fingerprint.as_bytes().to_vec());
    [
        delivery.key.into(),
        delivery.kind.name().into(),
        delivery.rank.version.into(),
        delivery.rank.position.get().into(),
        delivery.revision.into(),
        delivery.fingerprint.as_bytes().to_vec().into(),
        delivery.state.name().into(),
        delivery.due_at.into(),
        delivery.first_due_at.into(),
        delivery.attempts.into(),
        token.into(),
        until.into(),
        of.into(),
        acknowledged.into(),
        delivery.status.into(),
        // The start of an answer may have it, and no database text can.
        delivery.error.map(|error| error.replace('\0', "\u{fffd}")).into(),
        delivery.ended_at.into(),
    ]
}

impl FromQueryResult for Delivery {
    fn from_query_result(row: &QueryResult, _: &str) -> Result<Self, DbErr> {
        let lease = match row.try_get::<Option<String>>("", "lease")? {
            Some(token) => Some(Lease {
                token,
                until: row.try_get("", "lease_until")?,
                revision: row.try_get("", "lease_revision")?,
            }),
            None => None,
        };
        let acknowledged: Option<Vec<u8>> = row.try_get("", "acknowledged")?;
        Ok(Self {
            key: row.try_get("", "key")?,
            kind: kind(row)?,
            rank: rank(row, "version", "position")?,
            revision: row.try_get("", "revision")?,
            fingerprint: fingerprint(&row.try_get::<Vec<u8>>("", "fingerprint")?)?,
            state: state(row)?,
            due_at: row.try_get("", "due_at")?,
            first_due_at: row.try_get("", "first_due_at")?,
            attempts: row.try_get("", "attempts")?,
            lease,
            acknowledged: acknowledged.as_deref().map(fingerprint).transpose()?,
            status: row.try_get("", "status")?,
            error: row.try_get("", "error")?,
            ended_at: row.try_get("", "ended_at")?,
        })
    }
}

pub(super) fn fingerprint(bytes: &[u8]) -> Result<Fingerprint, DbErr> {
    Fingerprint::try_from(bytes).map_err(|error| DbErr::Type(format!("fingerprint: {error}")))
}

fn columns() -> String {
    COLUMNS.map(|(name, _)| format!("\"{name}\"")).join(", ")
}

#[derive(FromQueryResult)]
struct Now {
    now: i64,
}

/// The time by the clock of the database.
pub(super) async fn now(db: &impl ConnectionTrait) -> Result<i64, Error> {
    let sql = format!("SELECT {} AS now", dialect::of(db).milliseconds());
    let rows: Vec<Now> = query(db, "read the clock", &sql, []).await?;
    Ok(rows.first().map_or(0, |row| row.now))
}

/// The rows of these keys, which are locked in their order until the end of the transaction.
pub(super) async fn lock(
    tx: &Transaction,
    action: &'static str,
    destination: i64,
    keys: Vec<String>,
) -> Result<Vec<Delivery>, Error> {
    let dialect = dialect::of(tx);
    let sql = format!(
        "SELECT {} FROM deliveries WHERE destination = $1 AND key {} ORDER BY key {}",
        columns(),
        dialect.is_any_text(2),
        dialect.for_update()
    );
    query(tx, action, &sql, [destination.into(), dialect.texts(keys)]).await
}

/// The rows that are due, the oldest first; they are locked until the end of the transaction. Rows that are locked
/// by others are skipped. There are none where the dataset has another declaration now.
pub(super) async fn lock_due(
    tx: &Transaction,
    dataset: &Dataset,
    destination: i64,
    limit: usize,
) -> Result<Vec<Delivery>, Error> {
    let dialect = dialect::of(tx);
    let sql = format!(
        "SELECT {} FROM deliveries WHERE destination = $1 AND due_at <= {} AND {}
             AND (SELECT MAX(number) FROM declarations WHERE dataset = $3) = $4
         ORDER BY due_at LIMIT $2 {}",
        columns(),
        dialect.milliseconds(),
        super::destinations::IS_ENABLED,
        dialect.skip_locked()
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let declared = [dataset.name.as_str().into(), dataset.declaration.into()];
    let values = [destination.into(), limit.into()].into_iter().chain(declared);
    query(tx, "lock due deliveries", &sql, values).await
}

/// Writes rows, which are locked or new.
pub(super) async fn write(
    tx: &Transaction,
    action: &'static str,
    destination: i64,
    deliveries: Vec<Delivery>,
) -> Result<(), Error> {
    let sql = format!(
        "INSERT INTO deliveries (destination, {}) SELECT $1, n.* FROM ({}) n WHERE true
         ON CONFLICT (destination, key) DO UPDATE SET {}",
        columns(),
        dialect::of(tx).unnested(2, &COLUMNS.map(|(_, of)| of)),
        COLUMNS[1..]
            .iter()
            .map(|(name, _)| format!("{name} = excluded.{name}"))
            .collect::<Vec<_>>()
            .join(", "),
    );
    insert(tx, action, &sql, destination, deliveries.into_iter().map(row)).await
}

/// Records cancellations.
pub(super) async fn write_cancellations(
    tx: &Transaction,
    destination: i64,
    cancelled: Vec<Cancellation>,
    now: i64,
) -> Result<(), Error> {
    const TYPES: [Scalar; 6] = [
        Scalar::Text,
        Scalar::Integer,
        Scalar::Integer,
        Scalar::Integer,
        Scalar::Integer,
        Scalar::Integer,
    ];
    let sql = format!(
        "INSERT INTO delivery_cancellations
             (destination, key, version, position, by_version, by_position, cancelled_at)
         SELECT $1, n.* FROM ({}) n",
        dialect::of(tx).unnested(2, &TYPES)
    );
    let rows = cancelled.into_iter().map(|one| {
        [
            one.key.into(),
            one.rank.version.into(),
            one.rank.position.get().into(),
            one.by.version.into(),
            one.by.position.get().into(),
            now.into(),
        ]
    });
    insert(tx, "record cancelled deliveries", &sql, destination, rows).await
}

/// Runs a statement for rows, a limited number at a time.
pub(super) async fn insert<const N: usize>(
    tx: &Transaction,
    action: &'static str,
    sql: &str,
    destination: i64,
    rows: impl Iterator<Item = [Value; N]>,
) -> Result<(), Error> {
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let mut columns: Vec<Vec<Value>> = (0..N).map(|_| Vec::new()).collect();
        for row in rows.by_ref().take(MAX_ROWS) {
            for (column, value) in columns.iter_mut().zip(row) {
                column.push(value);
            }
        }
        let values = dialect::of(tx).unnestable(columns);
        execute(tx, action, sql, [destination.into()].into_iter().chain(values)).await?;
    }
    Ok(())
}

pub(crate) fn kind(row: &QueryResult) -> Result<ChangeKind, DbErr> {
    let name: String = row.try_get("", "kind")?;
    let kind = ChangeKind::ALL.into_iter().find(|kind| kind.name() == name);
    kind.ok_or_else(|| DbErr::Type(format!("no kind of change: {name}")))
}

pub(crate) fn state(row: &QueryResult) -> Result<DeliveryState, DbErr> {
    let name: String = row.try_get("", "state")?;
    let state = DeliveryState::ALL.into_iter().find(|state| state.name() == name);
    state.ok_or_else(|| DbErr::Type(format!("no state of a delivery: {name}")))
}

/// The rank in two columns.
pub(crate) fn rank(row: &QueryResult, version: &str, position: &str) -> Result<Rank, DbErr> {
    let position = Position::from_number(row.try_get("", position)?);
    let position = position.ok_or_else(|| DbErr::Type("a position is negative".to_owned()))?;
    Ok(Rank { version: row.try_get("", version)?, position })
}
