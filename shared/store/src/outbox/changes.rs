//! Changes that commits append, and that are folded into the deliveries.
//!
//! A commit only appends: looking up and changing the delivery of each row would take as long as writing the row.

use std::collections::HashMap;

use jetline_datasets::{ChangeKind, Dataset, Datasets, Destination};
use sea_orm::{DbErr, FromQueryResult, QueryResult};

use super::{
    Outbox,
    delivery::{Change, Delivery, DeliveryState, milliseconds},
    is_current,
    table::{self, fingerprint, rank},
};
use crate::{
    Error,
    dialect::{self, Lock, Scalar},
    statement::query,
    transaction::Transaction,
    upsert::ChangedRow,
};

/// The kind of a change that deletes a record that the table did not have.
const ABSENT: &str = "absent";

/// Maximum number of changes that are folded in one transaction.
const FOLDED_TOGETHER: i64 = 20_000;

/// Appends changed rows for each destination, in the transaction of their commit. Their rows in the table are locked, so
/// that the changes of a key have the order of their commits.
pub(crate) async fn append(
    tx: &Transaction,
    dataset: &Dataset,
    changed: &[ChangedRow],
) -> Result<(), Error> {
    for (at, destination) in dataset.destinations.iter().enumerate() {
        append_to(tx, destination, at, changed).await?;
    }
    Ok(())
}

/// Appends changed rows for a destination, of which `at` is the number in the dataset.
pub(super) async fn append_to(
    tx: &Transaction,
    destination: &Destination,
    at: usize,
    changed: &[ChangedRow],
) -> Result<(), Error> {
    const TYPES: [Scalar; 7] = [
        Scalar::Text,
        Scalar::Text,
        Scalar::Integer,
        Scalar::Integer,
        Scalar::Bytes,
        Scalar::Integer,
        Scalar::NullableText,
    ];
    let sql = format!(
        "INSERT INTO delivery_changes (destination, key, kind, version, position, fingerprint, due_at, error)
         SELECT $1, c0, c1, c2, c3, c4, {} + c5, c6 FROM ({}) n",
        dialect::of(tx).milliseconds(),
        dialect::of(tx).unnested(2, &TYPES)
    );
    let rows = changed.iter().map(|row| {
        let (delay, error) = match delay(row, destination, at) {
            Ok(delay) => (delay, None),
            Err(error) => (0, Some(error)),
        };
        let was_absent = row.is_new && row.kind == ChangeKind::Deleted;
        [
            row.key.to_string().into(),
            (if was_absent { ABSENT } else { row.kind.name() }).into(),
            row.rank.version.into(),
            row.rank.position.get().into(),
            row.fingerprint.as_bytes().to_vec().into(),
            delay.into(),
            error.into(),
        ]
    });
    let rows: Vec<_> = rows.collect();
    table::insert(tx, "append changes", &sql, destination.id, rows.into_iter()).await
}

/// The delay of a row's delivery in milliseconds.
fn delay(row: &ChangedRow, destination: &Destination, at: usize) -> Result<i64, String> {
    match (&destination.delay, row.delays.get(at)) {
        (Some(delay), Some(value)) => delay.of(value).map(milliseconds),
        _ => Ok(0),
    }
}

/// The result of folding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// The number of changes that were folded.
    pub changes: usize,
    /// Whether some were left, as other declarations are the current ones now.
    pub is_outdated: bool,
    /// Deliveries that are dead at once: the delays of their records are none.
    pub dead: Vec<DeadDelivery>,
}

/// A delivery that is dead without an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadDelivery {
    /// The number of its destination.
    pub destination: i64,
    /// The text of its record's key.
    pub key: String,
    /// Why.
    pub error: String,
}

/// A change with its destination.
struct Appended {
    destination: i64,
    change: Change,
}

impl FromQueryResult for Appended {
    fn from_query_result(row: &QueryResult, _: &str) -> Result<Self, DbErr> {
        let name: String = row.try_get("", "kind")?;
        let was_absent = name == ABSENT;
        let kind = ChangeKind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.or(was_absent.then_some(ChangeKind::Deleted));
        Ok(Self {
            destination: row.try_get("", "destination")?,
            change: Change {
                id: row.try_get("", "id")?,
                key: row.try_get("", "key")?,
                kind: kind.ok_or_else(|| DbErr::Type(format!("no kind of change: {name}")))?,
                was_absent,
                rank: rank(row, "version", "position")?,
                fingerprint: fingerprint(&row.try_get::<Vec<u8>>("", "fingerprint")?)?,
                due_at: row.try_get("", "due_at")?,
                error: row.try_get("", "error")?,
            },
        })
    }
}

impl Outbox {
    /// Folds the oldest changes into the deliveries of datasets, those whose current declarations these are. One transaction
    /// at a time does it, in the order of the changes.
    pub async fn fold(&self, datasets: &Datasets) -> Result<Folded, Error> {
        if !self.has_changes().await? {
            return Ok(Folded::default());
        }
        let tx = Transaction::begin(&self.db).await?;
        // The declarations stay as they are: what is wanted depends on them.
        dialect::of(&tx).lock(&tx, Lock::EpochShared).await?;
        dialect::of(&tx).lock(&tx, Lock::Fold).await?;
        let (mut by_id, mut is_outdated) = (HashMap::new(), false);
        for dataset in datasets.iter().filter(|dataset| !dataset.destinations.is_empty()) {
            if is_current(&tx, dataset).await? {
                by_id.extend(dataset.destinations.iter().map(|one| (one.id, one)));
            } else {
                is_outdated = true;
            }
        }
        let appended = take(&tx, by_id.keys().copied()).await?;
        let changes = appended.len();
        is_outdated |= changes == 0;
        let now = table::now(&tx).await?;
        let mut groups: HashMap<i64, Vec<Change>> = HashMap::new();
        for Appended { destination, change } in appended {
            groups.entry(destination).or_default().push(change);
        }
        let mut groups: Vec<(i64, Vec<Change>)> = groups.into_iter().collect();
        // Deliveries are locked in the order of destinations and keys.
        groups.sort_unstable_by_key(|(destination, _)| *destination);
        let mut dead = Vec::new();
        for (id, changes) in groups {
            dead.extend(fold(&tx, by_id[&id], changes, now).await?);
        }
        tx.commit("fold changes").await?;
        Ok(Folded { changes, is_outdated, dead })
    }

    /// Whether there are changes that are not folded into deliveries.
    pub async fn has_changes(&self) -> Result<bool, Error> {
        let sql = "SELECT id FROM delivery_changes LIMIT 1";
        let found: Vec<Id> = query(&self.db, "look for changes", sql, []).await?;
        Ok(found.iter().any(|row| row.id > 0))
    }
}

#[derive(FromQueryResult)]
struct Id {
    id: i64,
}

/// Deletes the oldest changes, and returns them. Of a key, those that were committed earlier have lower ids, so that all
/// before one are taken with it or were.
async fn take(
    tx: &Transaction,
    destinations: impl Iterator<Item = i64>,
) -> Result<Vec<Appended>, Error> {
    let row = dialect::of(tx).row_address();
    let destinations: Vec<String> = destinations.map(|id| id.to_string()).collect();
    if destinations.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "DELETE FROM delivery_changes WHERE {row} IN
             (SELECT {row} FROM delivery_changes WHERE destination IN ({})
                 ORDER BY id LIMIT {FOLDED_TOGETHER})
         RETURNING id, destination, key, kind, version, position, fingerprint, due_at, error",
        destinations.join(", ")
    );
    query(tx, "take changes", &sql, []).await
}

/// Folds changes into the deliveries of a destination; returns those that are dead by it.
async fn fold(
    tx: &Transaction,
    destination: &Destination,
    mut changes: Vec<Change>,
    now: i64,
) -> Result<Vec<DeadDelivery>, Error> {
    let oldest = changes.iter().map(|change| change.id).min();
    changes.sort_unstable_by(|a, b| (&a.key, a.id).cmp(&(&b.key, b.id)));
    let mut keys: Vec<String> = changes.iter().map(|change| change.key.clone()).collect();
    keys.dedup();
    let mut known = table::lock(tx, "lock deliveries to fold", destination.id, keys)
        .await?
        .into_iter()
        .peekable();
    let (mut wanted, mut cancelled) = (Vec::<Delivery>::new(), Vec::new());
    for change in changes {
        let last = wanted.pop_if(|last| last.key == change.key);
        let before = last.or_else(|| known.next_if(|known| known.key == change.key));
        let (delivery, of_other) = Delivery::wanted(before.as_ref(), change, destination, now);
        wanted.extend(delivery.or(before));
        cancelled.extend(of_other);
    }
    let is_new = |delivery: &&Delivery| Some(delivery.revision) >= oldest;
    let dead = wanted.iter().filter(|delivery| delivery.state == DeliveryState::Dead);
    let dead = dead.filter(is_new).map(|delivery| DeadDelivery {
        destination: destination.id,
        key: delivery.key.clone(),
        error: delivery.error.clone().unwrap_or_default(),
    });
    let dead = dead.collect();
    table::write(tx, "write folded deliveries", destination.id, wanted).await?;
    table::write_cancellations(tx, destination.id, cancelled, now).await?;
    Ok(dead)
}
