//! Reads the state of a database, and compares it with the expected one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, FromQueryResult, QueryResult, Statement,
};

use crate::{
    Declaration, EXTRA, Expected, IS_DELETED, Key, Reject, Row, declaration::Unknown, value::Type,
};

/// How many characters of a rejected line are shown.
const MAX_SHOWN_CHARS: usize = 80;

/// An object of the ledger, with the counts of its chunks.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Object {
    pub id: i64,
    pub dataset: String,
    pub key: String,
    pub state: String,
    pub error: Option<String>,
    pub readings: i64,
    pub total_lines: Option<i64>,
    pub inserted: i64,
    pub updated: i64,
    pub deleted: i64,
    pub unchanged: i64,
    pub superseded: i64,
    pub rejected: i64,
}

impl Object {
    /// All objects in the order of their numbers.
    ///
    /// # Errors
    /// If the database is unavailable.
    pub async fn all(db: &DatabaseConnection) -> Result<Vec<Self>, DbErr> {
        let counts = ["inserted", "updated", "deleted", "unchanged", "superseded", "rejected"];
        let counts = counts.map(|count| {
            format!(
                ", CAST(o.{count} + COALESCE((SELECT SUM(c.{count}) FROM chunks c \
                 WHERE c.object_id = o.id AND c.state <> 'suspect'), 0) AS BIGINT) AS {count}"
            )
        });
        let sql = format!(
            "SELECT id, dataset, key, state, error, readings, total_lines{} FROM objects o ORDER BY id",
            counts.concat()
        );
        read(db, &sql).await
    }

    /// The committed lines.
    #[must_use]
    pub fn lines(&self) -> i64 {
        self.inserted
            + self.updated
            + self.deleted
            + self.unchanged
            + self.superseded
            + self.rejected
    }
}

/// The state of a database.
#[derive(Clone, Debug)]
pub struct DatabaseState {
    pub objects: Vec<Object>,
    /// The rows of all declared datasets, with the columns that have a value.
    pub rows: BTreeMap<Key, Row>,
    /// Every version of a row, where they are kept.
    pub history: BTreeMap<Key, Row>,
    /// Rejected lines with their messages.
    pub rejects: Vec<(Reject, String)>,
}

/// A difference from the expected state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub kind: Kind,
    /// How many lines it concerns.
    pub lines: u64,
    /// A description.
    pub what: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A row, a rejected line or counted lines are missing.
    Lost,
    /// Something is stored or was counted twice.
    Doubled,
    /// Something has content that no line has.
    Wrong,
}

impl Difference {
    /// A difference of one line.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { kind, lines: 1, what }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Lost => "lost",
            Kind::Doubled => "doubled",
            Kind::Wrong => "wrong",
        };
        write!(f, "{kind}: {}", self.what)
    }
}

impl DatabaseState {
    /// Reads the tables one after the other, so there must be no writers.
    ///
    /// # Errors
    /// If the database is unavailable.
    pub async fn read(db: &DatabaseConnection) -> Result<Self, DbErr> {
        let (mut rows, mut history) = (BTreeMap::new(), BTreeMap::new());
        for table in tables(db).await?.into_values() {
            let dataset = &table.declaration.dataset;
            for row in table.rows(db, dataset).await? {
                rows.insert((dataset.clone(), row[&table.declaration.key].clone()), row);
            }
            if !table.declaration.history {
                continue;
            }
            for row in table.rows(db, &format!("{dataset}_history")).await? {
                let key = table.declaration.version_key(&row);
                history.extend(key.map(|key| (key, row)));
            }
        }
        let rejects =
            "SELECT object_id, line, byte_offset, reason, message, raw FROM rejected_lines";
        let rejects: Vec<RejectedLine> = read(db, rejects).await?;
        Ok(Self {
            objects: Object::all(db).await?,
            rows,
            history,
            rejects: rejects.into_iter().map(RejectedLine::into_parts).collect(),
        })
    }

    /// The differences for a load whose objects are all done.
    #[must_use]
    pub fn differences(&self, expected: &Expected) -> Vec<Difference> {
        let mut differences = self.not_done(|_| false);
        differences.extend(self.not_accounted_for(expected, |_| false));
        differences.extend(self.not_inserted());
        differences
    }

    /// Objects that are not done, except for allowed ones.
    pub fn not_done(&self, may_be_so: impl Fn(&Object) -> bool) -> Vec<Difference> {
        let open =
            self.objects.iter().filter(|object| object.state != "done" && !may_be_so(object));
        open.map(|object| Difference::new(Kind::Wrong, format!("not done: {object:?}"))).collect()
    }

    /// Differences of rows, rejected lines and counts from the fold. For an object that was read in part it is not known
    /// which lines were read: it may have fewer, and must have an error.
    pub fn not_accounted_for(
        &self,
        expected: &Expected,
        is_read_in_part: impl Fn(&Object) -> bool,
    ) -> Vec<Difference> {
        let (part, whole): (Vec<&Object>, Vec<&Object>) =
            self.objects.iter().partition(|object| is_read_in_part(object));
        let mut differences = self.wrong_rows(&expected.rows);
        differences.extend(wrong_rows(&self.history, &expected.history));
        differences.extend(self.wrong_counts(&whole, expected));
        differences.extend(wrong_parts(&part, expected));
        if self.objects.len() != expected.lines.len() {
            let (found, must_be) = (self.objects.len(), expected.lines.len());
            let what = format!("{found} objects instead of {must_be}");
            differences.push(Difference::new(Kind::Wrong, what));
        }
        let part: BTreeSet<i64> = part.iter().map(|object| object.id).collect();
        differences.extend(self.wrong_rejects(expected, &part));
        differences
    }

    /// Checks that every row was inserted once, perhaps as a deleted one. Not valid after a replay, which finds the rows of the
    /// first commit.
    #[must_use]
    pub fn not_inserted(&self) -> Vec<Difference> {
        let mut counts: BTreeMap<&str, (i64, i64, i64)> = BTreeMap::new();
        for object in &self.objects {
            let (inserted, deleted, _) = counts.entry(&object.dataset).or_default();
            *inserted += object.inserted;
            *deleted += object.deleted;
        }
        for (dataset, _) in self.rows.keys() {
            counts.entry(dataset).or_default().2 += 1;
        }
        counts.retain(|_, (inserted, deleted, rows)| {
            !(*inserted..=*inserted + *deleted).contains(rows)
        });
        let wrong = counts.into_iter().map(|(dataset, (inserted, deleted, rows))| {
            let what = format!(
                "{inserted} lines count as inserted and {deleted} as deleted, of {rows} rows of {dataset}"
            );
            Difference::new(Kind::Wrong, what)
        });
        wrong.collect()
    }

    /// Rows that are missing, have wrong content, or must not exist.
    #[must_use]
    pub fn wrong_rows(&self, expected: &BTreeMap<Key, Row>) -> Vec<Difference> {
        wrong_rows(&self.rows, expected)
    }

    fn wrong_rejects(&self, expected: &Expected, read_in_part: &BTreeSet<i64>) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut found = BTreeSet::new();
        for (reject, message) in &self.rejects {
            let mut report = |kind, what| {
                differences.push(Difference::new(kind, format!("{what}: {}", describe(reject))));
            };
            if !found.insert(reject) {
                report(Kind::Doubled, "rejected twice");
            } else if !expected.rejects.contains(reject)
                && !expected.may_be_rejected.contains(reject)
            {
                report(Kind::Wrong, "rejected, and must not be");
            }
            if message.is_empty() {
                report(Kind::Wrong, "rejected without a message");
            }
        }
        let missing = expected
            .rejects
            .iter()
            .filter(|reject| !found.contains(reject) && !read_in_part.contains(&reject.object));
        let missing = missing.map(|reject| {
            Difference::new(Kind::Lost, format!("not rejected: {}", describe(reject)))
        });
        differences.extend(missing);
        differences
    }

    fn wrong_counts(&self, objects: &[&Object], expected: &Expected) -> Vec<Difference> {
        let noted: BTreeSet<&Reject> = self.rejects.iter().map(|(reject, _)| reject).collect();
        let mut rejected: BTreeMap<i64, i64> = BTreeMap::new();
        for reject in noted {
            *rejected.entry(reject.object).or_default() += 1;
        }
        let mut differences = Vec::new();
        for object in objects {
            let Some((lines, all_lines)) = of(object, expected) else {
                let what = format!("there is no such object: {object:?}");
                differences.push(Difference::new(Kind::Wrong, what));
                continue;
            };
            let rejected = rejected.get(&object.id).copied().unwrap_or_default();
            let what = format!(
                "{object:?} has {lines} lines, {all_lines} with blank ones, {rejected} rejects"
            );
            let missing = lines - object.lines();
            let counts_match =
                object.total_lines.unwrap_or_default() == all_lines && object.rejected == rejected;
            let kind = match missing {
                0 if counts_match => continue,
                0 => Kind::Wrong,
                1.. => Kind::Lost,
                _ => Kind::Doubled,
            };
            let lines = missing.unsigned_abs().max(1);
            differences.push(Difference { kind, lines, what });
        }
        differences
    }
}

fn wrong_rows(found: &BTreeMap<Key, Row>, expected: &BTreeMap<Key, Row>) -> Vec<Difference> {
    let ids: BTreeSet<&Key> = found.keys().chain(expected.keys()).collect();
    let pairs = ids.into_iter().map(|id| (id, found.get(id), expected.get(id)));
    let wrong = pairs.filter(|(_, row, must_be)| row != must_be);
    wrong
        .map(|(id, row, must_be)| match (row, must_be) {
            (None, _) => Difference::new(Kind::Lost, format!("row {id:?} is missing")),
            (Some(row), None) => {
                Difference::new(Kind::Wrong, format!("no line of {id:?} has {row:?}"))
            }
            (Some(row), Some(must_be)) => {
                let what = format!("row {id:?} is {row:?} and must be {must_be:?}");
                Difference::new(Kind::Wrong, what)
            }
        })
        .collect()
}

fn wrong_parts(objects: &[&Object], expected: &Expected) -> Vec<Difference> {
    let has_too_much =
        |object: &Object| of(object, expected).is_none_or(|(lines, _)| object.lines() > lines);
    let doubled = objects.iter().filter(|object| has_too_much(object));
    let doubled = doubled.map(|object| {
        let what = format!("more lines than its object has: {object:?}");
        Difference::new(Kind::Doubled, what)
    });
    let unexplained = objects.iter().filter(|object| object.error.is_none());
    let unexplained = unexplained.map(|object| {
        let what = format!("read in part without a reason: {object:?}");
        Difference::new(Kind::Wrong, what)
    });
    doubled.chain(unexplained).collect()
}

/// The lines of an object, without blank ones and with them.
fn of(object: &Object, expected: &Expected) -> Option<(i64, i64)> {
    let index = usize::try_from(object.id.checked_sub(1)?).ok()?;
    Some((*expected.lines.get(index)?, *expected.all_lines.get(index)?))
}

fn describe(reject: &Reject) -> String {
    let raw = String::from_utf8_lossy(&reject.raw);
    let raw: String = raw.chars().take(MAX_SHOWN_CHARS).collect();
    let Reject { object, line, offset, reason, .. } = reject;
    let bytes = reject.raw.len();
    format!("object {object}, line {line} at {offset}, {reason}, {bytes} bytes: {raw}")
}

#[derive(FromQueryResult)]
struct RejectedLine {
    object_id: i64,
    line: i64,
    byte_offset: i64,
    reason: String,
    message: String,
    raw: Vec<u8>,
}

impl RejectedLine {
    fn into_parts(self) -> (Reject, String) {
        let reject = Reject {
            object: self.object_id,
            line: self.line,
            offset: self.byte_offset,
            reason: self.reason,
            raw: self.raw,
        };
        (reject, self.message)
    }
}

/// The table of a dataset, with the columns of all its declarations.
struct Table {
    /// The current one.
    declaration: Arc<Declaration>,
    columns: BTreeMap<String, Type>,
}

#[derive(FromQueryResult)]
struct Declared {
    dataset: String,
    declaration: String,
}

async fn tables(db: &DatabaseConnection) -> Result<BTreeMap<String, Table>, DbErr> {
    let sql = "SELECT dataset, declaration FROM declarations ORDER BY number";
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    for Declared { dataset, declaration } in read(db, sql).await? {
        let declaration = Declaration::read(&dataset, &declaration);
        let columns = BTreeMap::new();
        let new = || Table { declaration: declaration.clone(), columns };
        let table = tables.entry(dataset).or_insert_with(new);
        table.declaration = declaration.clone();
        let columns = declaration.columns.iter();
        table.columns.extend(columns.map(|(name, column)| (name.clone(), column.of)));
        let own = [
            (declaration.unknown == Unknown::Keep).then(|| (EXTRA.to_owned(), Type::Json)),
            declaration.deleted.as_ref().map(|_| (IS_DELETED.to_owned(), Type::Boolean)),
        ];
        table.columns.extend(own.into_iter().flatten());
    }
    Ok(tables)
}

impl Table {
    async fn rows(&self, db: &DatabaseConnection, name: &str) -> Result<Vec<Row>, DbErr> {
        let backend = db.get_database_backend();
        let is_sqlite = backend == DbBackend::Sqlite;
        let columns = self.columns.iter().map(|(name, of)| of.selected(name, is_sqlite));
        let columns = columns.collect::<Vec<String>>().join(", ");
        let sql = format!("SELECT {columns} FROM {name:?}");
        let found = db.query_all_raw(Statement::from_string(backend, sql)).await?;
        found.iter().map(|row| self.row(row)).collect()
    }

    fn row(&self, result: &QueryResult) -> Result<Row, DbErr> {
        let mut row = Row::new();
        for (at, (name, of)) in self.columns.iter().enumerate() {
            let value = match of {
                Type::Double => {
                    result.try_get_by_index::<Option<f64>>(at)?.map(|one| one.to_string())
                }
                of => result.try_get_by_index::<Option<String>>(at)?.map(|text| of.stored(text)),
            };
            // Rows of declarations without deletes have no mark.
            let value = value.filter(|value| name != IS_DELETED || value != "false");
            row.extend(value.map(|value| (name.clone(), value)));
        }
        Ok(row)
    }
}

pub(crate) async fn read<T: FromQueryResult>(
    db: &DatabaseConnection,
    sql: &str,
) -> Result<Vec<T>, DbErr> {
    let statement = Statement::from_string(db.get_database_backend(), sql);
    T::find_by_statement(statement).all(db).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold;

    fn expected() -> Expected {
        fold(&[
            "{\"id\":1,\"title\":\"t\",\"price\":1,\"category\":\"c\",\"brand\":\"b\",\"url\":\"\",\"description\":\"\"}\nnonsense",
        ])
    }

    fn state() -> DatabaseState {
        let expected = expected();
        let object = Object {
            id: 1,
            dataset: "products".to_owned(),
            key: "a.jsonl".to_owned(),
            state: "done".to_owned(),
            error: None,
            readings: 0,
            total_lines: Some(2),
            inserted: 1,
            updated: 0,
            deleted: 0,
            unchanged: 0,
            superseded: 0,
            rejected: 1,
        };
        let rejects = expected.rejects.into_iter();
        DatabaseState {
            objects: vec![object],
            rows: expected.rows,
            history: expected.history,
            rejects: rejects.map(|reject| (reject, "why".to_owned())).collect(),
        }
    }

    /// The differences that a change causes.
    fn kinds(change: impl FnOnce(&mut DatabaseState)) -> Vec<Kind> {
        let mut state = state();
        change(&mut state);
        let differences = state.differences(&expected());
        differences.iter().map(|difference| difference.kind).collect()
    }

    fn kinds_of_object(change: impl FnOnce(&mut Object)) -> Vec<Kind> {
        kinds(|state| change(&mut state.objects[0]))
    }

    #[test]
    fn expected_state_has_no_differences() {
        assert_eq!(kinds(|_| {}), []);
    }

    #[test]
    fn every_count_of_an_object_is_compared() {
        assert_eq!(kinds_of_object(|object| object.state = "failed".to_owned()), [Kind::Wrong]);
        assert_eq!(kinds_of_object(|object| object.updated = 1), [Kind::Doubled]);
        assert_eq!(kinds_of_object(|object| object.inserted = 0), [Kind::Lost, Kind::Wrong]);
        let deletes = |object: &mut Object| (object.inserted, object.deleted) = (0, 1);
        assert_eq!(kinds_of_object(deletes), []);
        assert_eq!(
            kinds_of_object(|object| (object.rejected, object.updated) = (0, 1)),
            [Kind::Wrong]
        );
        assert_eq!(kinds_of_object(|object| object.total_lines = None), [Kind::Wrong]);
        assert_eq!(kinds_of_object(|object| object.id = 2), [Kind::Wrong]);
        let again = |state: &mut DatabaseState| {
            let object = state.objects[0].clone();
            state.objects.push(Object { id: 2, inserted: 0, ..object });
        };
        assert_eq!(kinds(again), [Kind::Wrong, Kind::Wrong]);
    }

    #[test]
    fn object_read_in_part_may_have_fewer_lines_but_needs_a_reason() {
        let kinds = |error: Option<&str>, updated| {
            let mut state = state();
            state.rejects.clear();
            let object = &mut state.objects[0];
            (object.rejected, object.updated) = (0, updated);
            object.error = error.map(str::to_owned);
            let differences = state.not_accounted_for(&expected(), |_| true);
            let kinds = differences.iter().map(|difference| difference.kind);
            kinds.collect::<Vec<_>>()
        };
        assert_eq!(kinds(None, 0), [Kind::Wrong]);
        assert_eq!(kinds(Some("was deleted"), 0), []);
        assert_eq!(kinds(Some("was deleted"), 2), [Kind::Doubled]);
    }

    #[test]
    fn rows_are_compared_both_ways() {
        assert_eq!(kinds(|state| state.rows.clear()), [Kind::Lost, Kind::Wrong]);
        let title = |state: &mut DatabaseState| {
            for row in state.rows.values_mut() {
                row.insert("title".to_owned(), "u".to_owned());
            }
        };
        assert_eq!(kinds(title), [Kind::Wrong]);
        let more = |state: &mut DatabaseState| {
            let row = state.rows.values().next().unwrap().clone();
            state.rows.insert(("products".to_owned(), "2".to_owned()), row);
        };
        assert_eq!(kinds(more), [Kind::Wrong, Kind::Wrong]);
    }

    #[test]
    fn rejects_are_compared_with_their_positions() {
        assert_eq!(kinds(|state| state.rejects.clear()), [Kind::Wrong, Kind::Lost]);
        assert_eq!(kinds(|state| state.rejects[0].0.offset += 1), [Kind::Wrong, Kind::Lost]);
        assert_eq!(kinds(|state| state.rejects.extend(state.rejects.clone())), [Kind::Doubled]);
        assert_eq!(kinds(|state| state.rejects[0].1.clear()), [Kind::Wrong]);
    }
}
