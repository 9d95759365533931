//! What stands in the database at the end of a run, compared with the oracle: row by row, reject by reject, count by
//! count.

use std::collections::{BTreeMap, BTreeSet};

use jetline_oracle::{Expected, Product, Reject, fold};
use sea_orm::{ConnectOptions, DatabaseConnection, FromQueryResult, Statement};
use serde::{Deserialize, Serialize};

use super::plan::Plan;

/// What is wrong at the end of a run, if anything is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Lines whose fate was compared.
    pub(crate) lines: u64,
    /// Rows, rejected lines and counted lines that are missing.
    pub(crate) lost: u64,
    /// Lines that were counted twice, or stand there twice.
    pub(crate) doubled: u64,
    /// Rows and rejected lines that say something else than they must, and whatever else must not be.
    pub(crate) wrong: u64,
    /// The first of what is wrong, in words.
    pub(crate) findings: Vec<String>,
}

/// So many findings are told.
const FINDINGS: usize = 90;

/// Each with so many characters at most.
const FINDING: usize = 600;

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        self.lost + self.doubled + self.wrong == 0
    }

    pub(crate) fn wrong(&mut self, what: impl Into<String>) {
        self.wrong += 1;
        self.find(&what.into());
    }

    pub(crate) fn find(&mut self, what: &str) {
        if self.findings.len() < FINDINGS {
            self.findings.push(what.chars().take(FINDING).collect());
        }
    }
}

#[derive(Clone, Debug, FromQueryResult)]
struct Object {
    key: String,
    state: String,
    error: Option<String>,
    total_lines: Option<i64>,
    inserted: i64,
    updated: i64,
    unchanged: i64,
    superseded: i64,
    rejected: i64,
}

impl Object {
    fn lines(&self) -> i64 {
        self.inserted + self.updated + self.unchanged + self.superseded + self.rejected
    }
}

#[derive(FromQueryResult)]
struct Row {
    id: i64,
    title: String,
    price: String,
    category: String,
    brand: String,
    url: String,
    description: String,
}

#[derive(FromQueryResult)]
struct RejectedLine {
    object_id: i64,
    line: i64,
    byte_offset: i64,
    reason: String,
    raw: Vec<u8>,
}

#[derive(FromQueryResult)]
struct Number {
    number: i64,
}

/// Compares a database with what the plan's files must become.
pub(crate) async fn compare(url: &str, plan: &Plan, verdict: &mut Verdict) -> anyhow::Result<()> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    let db = sea_orm::Database::connect(options).await?;
    let objects = objects(&db).await?;
    let Some(expected) = expected(plan, &objects, verdict) else {
        return Ok(());
    };
    verdict.lines = expected
        .all_lines
        .iter()
        .map(|lines| lines.unsigned_abs())
        .sum();
    let rows = rows(&db).await?;
    compare_rows(&rows, &expected.rows, verdict);
    compare_objects(&objects, &expected, plan, verdict);
    compare_rejects(&rejects(&db).await?, &expected, &objects, verdict);
    let inserted: i64 = objects.iter().map(|object| object.inserted).sum();
    if usize::try_from(inserted).ok() != Some(rows.len()) {
        verdict.wrong(format!(
            "{inserted} lines count as inserted, of {} rows",
            rows.len()
        ));
    }
    let deadlocks = deadlocks(&db).await?;
    if deadlocks > 0 {
        verdict.wrong(format!("the writers were in {deadlocks} deadlocks"));
    }
    db.close().await?;
    Ok(())
}

/// The fold over the objects in the order in which they were listed.
fn expected(plan: &Plan, objects: &[Object], verdict: &mut Verdict) -> Option<Expected> {
    let mut contents: Vec<&[u8]> = Vec::new();
    let mut missing: BTreeSet<&str> = plan.files.iter().map(|file| file.key.as_str()).collect();
    for object in objects {
        let file = plan.files.iter().find(|file| file.key == object.key);
        let Some(file) = file else {
            verdict.wrong(format!("there is no such object: {object:?}"));
            return None;
        };
        let is_first = missing.remove(object.key.as_str());
        match &plan.changing {
            Some(changing) if !is_first => contents.push(&changing.new.content),
            _ if !is_first => {
                verdict.wrong(format!("registered twice: {object:?}"));
                return None;
            }
            _ => contents.push(&file.content),
        }
    }
    if !missing.is_empty() {
        verdict.lost += missing.len() as u64;
        verdict.find(&format!("never registered: {missing:?}"));
        return None;
    }
    Some(fold(&contents))
}

fn compare_rows(
    rows: &BTreeMap<i64, Product>,
    expected: &BTreeMap<i64, Product>,
    verdict: &mut Verdict,
) {
    for (id, product) in expected {
        match rows.get(id) {
            None => {
                verdict.lost += 1;
                verdict.find(&format!("row {id} is missing"));
            }
            Some(row) if row != product => {
                verdict.wrong(format!("row {id} is {row:?} and must be {product:?}"));
            }
            Some(_) => {}
        }
    }
    for id in rows.keys().filter(|id| !expected.contains_key(id)) {
        verdict.wrong(format!("no line says row {id}"));
    }
}

fn compare_objects(objects: &[Object], expected: &Expected, plan: &Plan, verdict: &mut Verdict) {
    for ((object, lines), all) in objects.iter().zip(&expected.lines).zip(&expected.all_lines) {
        if is_changed(object, plan) {
            // A part of it was read: which, nobody can say.
            if object.lines() > *lines || object.error.is_none() {
                verdict.doubled += 1;
                verdict.find(&format!("{object:?} has {lines} lines"));
            }
            continue;
        }
        if object.state != "done" {
            verdict.wrong(format!("not done: {object:?}"));
        }
        let missing = lines - object.lines();
        verdict.lost += missing.max(0).unsigned_abs();
        verdict.doubled += missing.min(0).unsigned_abs();
        if missing != 0 || object.total_lines != Some(*all) {
            verdict.wrong(format!(
                "{object:?} has {lines} lines, {all} with blank ones"
            ));
        }
    }
}

fn is_changed(object: &Object, plan: &Plan) -> bool {
    let changing = plan.changing.as_ref();
    object.state == "failed"
        && changing.is_some_and(|changing| plan.files[changing.file].key == object.key)
}

fn compare_rejects(
    rejects: &BTreeMap<Reject, u64>,
    expected: &Expected,
    objects: &[Object],
    verdict: &mut Verdict,
) {
    for (reject, times) in rejects {
        verdict.doubled += times - 1;
        if !expected.rejects.contains(reject) {
            verdict.wrong(format!("rejected, and must not be: {reject:?}"));
        }
    }
    let may_miss = |reject: &Reject| {
        let object = usize::try_from(reject.object - 1)
            .ok()
            .and_then(|n| objects.get(n));
        object.is_some_and(|object| object.state == "failed")
    };
    for reject in &expected.rejects {
        if !rejects.contains_key(reject) && !may_miss(reject) {
            verdict.lost += 1;
            verdict.find(&format!("not rejected: {reject:?}"));
        }
    }
}

async fn objects(db: &DatabaseConnection) -> anyhow::Result<Vec<Object>> {
    let counts = ["inserted", "updated", "unchanged", "superseded", "rejected"].map(|count| {
        format!(
            ", CAST(o.{count} + COALESCE((SELECT SUM(c.{count}) FROM chunks c \
             WHERE c.object_id = o.id AND c.state <> 'suspect'), 0) AS BIGINT) AS {count}"
        )
    });
    let sql = format!(
        "SELECT key, state, error, total_lines{} FROM objects o ORDER BY id",
        counts.concat()
    );
    read(db, &sql).await
}

async fn rows(db: &DatabaseConnection) -> anyhow::Result<BTreeMap<i64, Product>> {
    let sql = "SELECT id, title, CAST(price AS TEXT) AS price, category, brand, url, description FROM products";
    let rows: Vec<Row> = read(db, sql).await?;
    let products = rows.into_iter().map(|row| {
        let product = Product {
            id: row.id,
            title: row.title,
            price: row.price,
            category: row.category,
            brand: row.brand,
            url: row.url,
            description: row.description,
        };
        (row.id, product)
    });
    Ok(products.collect())
}

async fn rejects(db: &DatabaseConnection) -> anyhow::Result<BTreeMap<Reject, u64>> {
    let lines: Vec<RejectedLine> = read(db, "SELECT * FROM rejected_lines").await?;
    let mut rejects = BTreeMap::new();
    for line in lines {
        let reject = Reject {
            object: line.object_id,
            line: line.line,
            offset: line.byte_offset,
            reason: line.reason,
            raw: line.raw,
        };
        *rejects.entry(reject).or_default() += 1;
    }
    Ok(rejects)
}

async fn deadlocks(db: &DatabaseConnection) -> anyhow::Result<i64> {
    let sql = "SELECT deadlocks AS number FROM pg_stat_database WHERE datname = current_database()";
    let numbers: Vec<Number> = read(db, sql).await?;
    Ok(numbers.iter().map(|row| row.number).sum())
}

/// Where a run stands that does not end: its objects, and what goes on in the database.
pub(crate) async fn standing(url: &str) -> anyhow::Result<Vec<String>> {
    #[derive(FromQueryResult)]
    struct Line {
        line: String,
    }
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    let db = sea_orm::Database::connect(options).await?;
    let sql = "SELECT concat_ws(' ', 'object', o.id, o.key, o.state, 'readings', o.readings, 'lease', o.lease_owner,
             'bytes', o.total_bytes, 'chunks', (SELECT count(*) FROM chunks c WHERE c.object_id = o.id)) AS line
         FROM objects o
         UNION ALL SELECT concat_ws(' ', 'epoch', id, 'base', base, 'recovery', recovery, mode) FROM epoch
         UNION ALL SELECT concat_ws(' ', 'session', pid, state, wait_event_type, wait_event,
             'for', round(extract(epoch FROM clock_timestamp() - state_change)), 's', left(query, 70))
         FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let lines: Vec<Line> = read(&db, sql).await?;
    db.close().await?;
    Ok(lines.into_iter().map(|row| row.line).collect())
}

async fn read<T: FromQueryResult>(db: &DatabaseConnection, sql: &str) -> anyhow::Result<Vec<T>> {
    let statement = Statement::from_string(sea_orm::DbBackend::Postgres, sql);
    Ok(T::find_by_statement(statement).all(db).await?)
}
