//! What stands in the database, beside what must.

use std::collections::{BTreeMap, BTreeSet};

use jetline_oracle::{Expected, Product, Reject};
use sea_orm::FromQueryResult;

use super::ledger::Ledger;

/// How many differences of one kind are told.
const TOLD: usize = 5;

#[derive(FromQueryResult)]
struct Object {
    id: i64,
    state: String,
    error: Option<String>,
    total_lines: Option<i64>,
    inserted: i64,
    lines: i64,
    rejected: i64,
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

/// Every row, every rejected line and the counts of every object, where they are not what the fold says: nothing when
/// all is well. For a ledger whose objects have ended: their chunks are part of their rows.
pub(super) async fn differences(
    ledger: &Ledger,
    expected: &Expected,
) -> anyhow::Result<Vec<String>> {
    let mut differences = Vec::new();
    let objects = "SELECT id, state, error, total_lines, inserted, rejected,
        inserted + updated + unchanged + superseded + rejected AS lines FROM objects ORDER BY id";
    compare_objects(&ledger.rows(objects).await?, expected, &mut differences);
    let rows = "SELECT id, title, CAST(price AS TEXT) AS price, category, brand, url, description FROM products";
    compare_rows(ledger.rows(rows).await?, expected, &mut differences);
    let rejects = "SELECT object_id, line, byte_offset, reason, raw FROM rejected_lines";
    compare_rejects(ledger.rows(rejects).await?, expected, &mut differences);
    Ok(differences)
}

fn compare_objects(objects: &[Object], expected: &Expected, differences: &mut Vec<String>) {
    let mut rejects: BTreeMap<i64, i64> = BTreeMap::new();
    for reject in &expected.rejects {
        *rejects.entry(reject.object).or_default() += 1;
    }
    let lines = expected.lines.iter().zip(&expected.all_lines);
    let numbered = lines.zip(1..);
    let found: Vec<_> = objects.iter().map(Object::counts).collect();
    let must_be: Vec<_> = numbered
        .map(|((lines, all_lines), id)| {
            let rejected = rejects.get(&id).copied().unwrap_or_default();
            (id, *lines, Some(*all_lines), rejected)
        })
        .collect();
    if found.len() != must_be.len() {
        let (found, must_be) = (found.len(), must_be.len());
        differences.push(format!("{found} objects instead of {must_be}"));
    }
    let wrong = objects
        .iter()
        .zip(&must_be)
        .filter(|(object, must_be)| object.state != "done" || object.counts() != **must_be)
        .map(|(object, must_be)| {
            let error = object.error.as_deref().unwrap_or("no error");
            let (state, counts) = (&object.state, object.counts());
            format!("object {state} with {error}; number, lines, all lines and rejects are {counts:?}, must be {must_be:?}")
        });
    differences.extend(wrong.take(TOLD));
    let inserted: i64 = objects.iter().map(|object| object.inserted).sum();
    if usize::try_from(inserted) != Ok(expected.rows.len()) {
        let rows = expected.rows.len();
        differences.push(format!(
            "{inserted} lines became rows, of which {rows} must be"
        ));
    }
}

fn compare_rows(rows: Vec<Row>, expected: &Expected, differences: &mut Vec<String>) {
    let rows: BTreeMap<i64, Product> = rows.into_iter().map(Row::product).collect();
    let ids: BTreeSet<&i64> = rows.keys().chain(expected.rows.keys()).collect();
    let wrong = ids
        .into_iter()
        .map(|id| (rows.get(id), expected.rows.get(id)))
        .filter(|(row, must_be)| row != must_be)
        .map(|(row, must_be)| format!("the row {row:?} must be {must_be:?}"));
    differences.extend(wrong.take(TOLD));
}

fn compare_rejects(lines: Vec<RejectedLine>, expected: &Expected, differences: &mut Vec<String>) {
    let rejects: BTreeSet<Reject> = lines.into_iter().map(RejectedLine::reject).collect();
    let missing = expected.rejects.difference(&rejects).take(TOLD);
    differences.extend(missing.map(|reject| format!("missing: {}", told(reject))));
    let unexpected = rejects.difference(&expected.rejects).take(TOLD);
    differences.extend(unexpected.map(|reject| format!("unexpected: {}", told(reject))));
}

fn told(reject: &Reject) -> String {
    let raw: String = String::from_utf8_lossy(&reject.raw)
        .chars()
        .take(80)
        .collect();
    format!(
        "object {}, line {} at {}, {}, {} bytes: {raw}",
        reject.object,
        reject.line,
        reject.offset,
        reject.reason,
        reject.raw.len()
    )
}

impl Object {
    fn counts(&self) -> (i64, i64, Option<i64>, i64) {
        (self.id, self.lines, self.total_lines, self.rejected)
    }
}

impl Row {
    fn product(self) -> (i64, Product) {
        let product = Product {
            id: self.id,
            title: self.title,
            price: self.price,
            category: self.category,
            brand: self.brand,
            url: self.url,
            description: self.description,
        };
        (self.id, product)
    }
}

impl RejectedLine {
    fn reject(self) -> Reject {
        Reject {
            object: self.object_id,
            line: self.line,
            offset: self.byte_offset,
            reason: self.reason,
            raw: self.raw,
        }
    }
}

#[cfg(test)]
mod tests {
    use jetline_oracle::fold;

    use super::*;

    fn expected() -> Expected {
        fold(&[
            r#"{"id":1,"title":"t","price":1,"category":"c","brand":"b","url":"","description":""}
nonsense"#,
        ])
    }

    fn object() -> Object {
        Object {
            id: 1,
            state: "done".to_owned(),
            error: None,
            total_lines: Some(2),
            inserted: 1,
            lines: 2,
            rejected: 1,
        }
    }

    fn told_of(object: Object) -> usize {
        let mut differences = Vec::new();
        compare_objects(&[object], &expected(), &mut differences);
        differences.len()
    }

    #[test]
    fn every_count_of_an_object_is_compared() {
        assert_eq!(told_of(object()), 0);
        let failed = "failed".to_owned();
        assert_eq!(
            told_of(Object {
                state: failed,
                ..object()
            }),
            1
        );
        assert_eq!(
            told_of(Object {
                lines: 1,
                ..object()
            }),
            1
        );
        assert_eq!(
            told_of(Object {
                rejected: 2,
                ..object()
            }),
            1
        );
        assert_eq!(
            told_of(Object {
                total_lines: None,
                ..object()
            }),
            1
        );
        assert_eq!(
            told_of(Object {
                inserted: 2,
                ..object()
            }),
            1
        );
        assert_eq!(told_of(Object { id: 2, ..object() }), 1);
    }

    #[test]
    fn rows_are_compared_both_ways() {
        let row = |id, title: &str| Row {
            id,
            title: title.to_owned(),
            price: "1".to_owned(),
            category: "c".to_owned(),
            brand: "b".to_owned(),
            url: String::new(),
            description: String::new(),
        };
        let count = |rows: Vec<Row>| {
            let mut differences = Vec::new();
            compare_rows(rows, &expected(), &mut differences);
            differences.len()
        };
        assert_eq!(count(vec![row(1, "t")]), 0);
        assert_eq!(count(vec![row(1, "u")]), 1);
        assert_eq!(count(vec![]), 1);
        assert_eq!(count(vec![row(1, "t"), row(2, "t")]), 1);
    }

    #[test]
    fn rejects_are_compared_with_their_places() {
        let reject = expected().rejects.pop_first().unwrap();
        let line = |offset| RejectedLine {
            object_id: reject.object,
            line: reject.line,
            byte_offset: offset,
            reason: reject.reason.clone(),
            raw: reject.raw.clone(),
        };
        let count = |lines: Vec<RejectedLine>| {
            let mut differences = Vec::new();
            compare_rejects(lines, &expected(), &mut differences);
            differences.len()
        };
        assert_eq!(count(vec![line(reject.offset)]), 0);
        assert_eq!(count(vec![]), 1);
        assert_eq!(count(vec![line(reject.offset + 1)]), 2);
    }
}
