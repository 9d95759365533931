//! The history of a dataset: every version of every record, whatever the order of commits.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use jetline_core::{Key, Mode};
use jetline_datasets::{Dataset, Value};
use jetline_store::{
    ChunkRows, CommitOutcome, DeclarationFile, UpsertRow, catalog::history::Filter,
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::fixtures::{
    TestDatabase, begin, both, commit, declare, if_changed, postgres, rejected_line, rows,
    uncounted, upsert_row,
};

const ACCOUNTS: &str = "key = 'id'\nversion = 'version'\nhistory = true\n
    deleted = { column = 'op', equals = 'D' }\n
    columns = { id = 'text', tokens = 'bigint', version = 'bigint' }";

fn without_history(text: &str) -> String {
    text.replace("history = true", "history = false")
}

/// An update of an account.
#[derive(Clone, Copy)]
struct Update {
    id: u8,
    tokens: Option<i64>,
    version: i64,
}

impl Update {
    fn random(randomness: &mut StdRng) -> Self {
        Self {
            id: randomness.random_range(b'a'..=b'c'),
            tokens: randomness.random_bool(0.8).then(|| randomness.random_range(1..=2)),
            version: randomness.random_range(1..=4),
        }
    }

    fn json(&self) -> String {
        let Self { id, tokens, version } = self;
        let id = char::from(*id);
        match tokens {
            Some(tokens) => format!(r#"{{"id":"{id}","tokens":{tokens},"version":{version}}}"#),
            None => format!(r#"{{"id":"{id}","op":"D","version":{version}}}"#),
        }
    }
}

/// A chunk of these lines, as a writer makes it: the highest rank of each id is a row, and all are in the history.
fn with_history(dataset: &Dataset, object: i64, before: u32, updates: &[Update]) -> ChunkRows {
    let all: Vec<UpsertRow> = (before + 1..)
        .zip(updates)
        .map(|(line, update)| upsert_row(dataset, &update.json(), object, line))
        .collect();
    let mut highest: BTreeMap<Key, UpsertRow> = BTreeMap::new();
    for row in &all {
        let known = highest.entry(row.row.key.clone()).or_insert_with(|| row.clone());
        if (row.row.version, row.position) > (known.row.version, known.position) {
            known.clone_from(row);
        }
    }
    let lines = u32::try_from(all.len()).unwrap();
    let superseded = (all.len() - highest.len()) as u64;
    ChunkRows {
        rows: highest.into_values().collect(),
        superseded,
        history: all,
        ..uncounted(object, before, lines)
    }
}

/// The history of an account as text: the highest version first.
async fn history(base: &TestDatabase, dataset: &Dataset, account: &str, filter: Filter) -> String {
    let key = dataset.read_key(account).unwrap();
    let page = base.catalog.history(dataset, &key, &filter, 100, 1 << 20).await.unwrap();
    assert!(!page.has_more);
    let mut text = String::new();
    for version in page.versions {
        let Value::Bigint(number) = version.record.values[2] else { panic!("{version:?}") };
        let tokens = match version.record.values[1] {
            Value::Bigint(tokens) => tokens.to_string(),
            _ => "none".to_owned(),
        };
        assert_eq!(version.record.is_deleted, tokens == "none");
        let (object, line) = (version.position.object(), version.position.line());
        write!(text, "{number}:{tokens}@{object}.{line} ").unwrap();
    }
    text
}

/// What [`history`] is to be: of each version, the last line.
fn folded(objects: &[Vec<Update>], account: u8) -> String {
    let mut versions = BTreeMap::new();
    for (object, updates) in (1..).zip(objects) {
        for (line, update) in (1..).zip(updates).filter(|(_, update)| update.id == account) {
            let tokens = update.tokens.map_or("none".to_owned(), |tokens| tokens.to_string());
            let version = update.version;
            versions.insert(version, format!("{version}:{tokens}@{object}.{line} "));
        }
    }
    versions.into_values().rev().collect()
}

#[tokio::test]
async fn history_has_the_last_line_of_every_version_whatever_the_order_of_commits() {
    let mut randomness = StdRng::seed_from_u64(11);
    for base in both().await {
        let dataset = declare(&base.database, "accounts", ACCOUNTS).await;
        let (base, mut epoch) = base.with_objects(3).await;
        for round in 0..40 {
            base.run("DELETE FROM accounts; DELETE FROM accounts_history; DELETE FROM chunks")
                .await;
            let objects: Vec<Vec<Update>> =
                (0..3).map(|_| (0..6).map(|_| Update::random(&mut randomness)).collect()).collect();
            let mut chunks: Vec<ChunkRows> = Vec::new();
            for (object, updates) in (1..).zip(&objects) {
                chunks.push(with_history(&dataset, object, 0, &updates[..4]));
                chunks.push(with_history(&dataset, object, 4, &updates[4..]));
            }
            chunks.shuffle(&mut randomness);
            let again = chunks[..3].to_vec();
            for chunk in chunks {
                commit(&base, &epoch, &dataset, chunk).await;
            }
            // Another epoch commits some of them again.
            epoch = begin(&base.ledger, Mode::Shared, Some(epoch.id), round + 2).await;
            for chunk in again {
                commit(&base, &epoch, &dataset, chunk).await;
            }
            for account in [b'a', b'b', b'c'] {
                let id = char::from(account).to_string();
                let found = history(&base, &dataset, &id, Filter::default()).await;
                assert_eq!(found, folded(&objects, account), "round {round}");
            }
        }
    }
}

#[tokio::test]
async fn version_whose_content_is_the_same_is_written_again_only_out_of_order() {
    let update = |tokens, version| Update { id: b'a', tokens: Some(tokens), version };
    for base in both().await {
        let dataset = declare(&base.database, "accounts", ACCOUNTS).await;
        let (base, epoch) = base.with_objects(4).await;
        for (object, in_order, expected) in [
            (1, true, "2:1@1.2 1:1@1.1 "),
            (2, true, "2:1@1.2 1:1@1.1 "),
            (4, false, "2:1@4.2 1:1@4.1 "),
            // It is earlier, and was committed later.
            (3, false, "2:1@4.2 1:1@4.1 "),
        ] {
            let content = if object == 3 { 7 } else { 1 };
            let updates = [update(content, 1), update(content, 2)];
            let mut chunk = with_history(&dataset, object, 0, &updates);
            if in_order {
                chunk = if_changed(chunk);
                chunk.history.iter_mut().for_each(|row| row.if_changed = true);
            }
            commit(&base, &epoch, &dataset, chunk).await;
            assert_eq!(history(&base, &dataset, "a", Filter::default()).await, expected);
        }
    }
}

#[tokio::test]
async fn refused_row_is_in_no_history() {
    let (base, _) = postgres().await.with_objects(0).await;
    let dataset = declare(&base.database, "accounts", ACCOUNTS).await;
    let (base, epoch) = base.with_objects(1).await;
    base.run("ALTER TABLE accounts ADD CHECK (tokens < 5)").await;
    let update = |id, tokens, version| Update { id, tokens: Some(tokens), version };
    let updates = [update(b'a', 1, 1), update(b'a', 9, 2), update(b'b', 1, 3)];
    let mut chunk = with_history(&dataset, 1, 0, &updates);
    // Where no claim decides, the row below a refused one takes its place.
    chunk.replacements = vec![chunk.history[0].clone()];
    let reject = &mut |refused: Vec<jetline_store::RefusedRow>| {
        let [row] = &refused[..] else { panic!("{refused:?}") };
        assert_eq!(row.position.line(), 2);
        let rejection = &row.rejection;
        vec![vec![rejected_line(2, rejection.reason, &rejection.message, b"x")]]
    };
    let done = base.ledger.chunks.commit_and_reject(epoch.id, &dataset, vec![chunk], reject).await;
    assert!(matches!(done, Ok(CommitOutcome::Committed(_))), "{done:?}");
    assert_eq!(history(&base, &dataset, "a", Filter::default()).await, "1:1@1.1 ");
    assert_eq!(history(&base, &dataset, "b", Filter::default()).await, "3:1@1.3 ");
}

#[tokio::test]
async fn history_is_read_as_of_a_version_and_in_pages() {
    let timestamps = "key = 'id'\nversion = 'at'\nhistory = true\n
        columns = { id = 'bigint', at = 'timestamp' }";
    for base in both().await {
        let dataset = declare(&base.database, "events", timestamps).await;
        let (base, epoch) = base.with_objects(1).await;
        let at = |second: u32| format!("2026-01-01T00:00:0{second}.5Z");
        let records: Vec<String> =
            (0..4).map(|second| format!(r#"{{"id":7,"at":"{}"}}"#, at(second))).collect();
        let mut chunk = rows(&dataset, 1, &records);
        chunk.history = std::mem::take(&mut chunk.rows);
        chunk.rows = vec![chunk.history[3].clone()];
        chunk.superseded = 3;
        commit(&base, &epoch, &dataset, chunk).await;
        let version =
            |second| Some(dataset.version().unwrap().column_type.read_text(&at(second)).unwrap());
        for (filter, limit, expected, has_more) in [
            (Filter::default(), 4, &[3, 2, 1, 0][..], false),
            (Filter::default(), 3, &[3, 2, 1], true),
            (Filter { at: version(2), after: None }, 1, &[2], true),
            (Filter { at: version(2), after: version(2) }, 9, &[1, 0], false),
            (Filter { at: None, after: version(0) }, 9, &[], false),
        ] {
            let read = base.catalog.history(&dataset, &Key::Int(7), &filter, limit, 1 << 20);
            let page = read.await.unwrap();
            let found: Vec<_> =
                page.versions.iter().map(|one| one.record.values[1].clone()).collect();
            let expected: Vec<_> =
                expected.iter().map(|second| version(*second).unwrap()).collect();
            assert_eq!((found, page.has_more), (expected, has_more), "{filter:?}");
        }
        let (key, all) = (Key::Int(7), Filter::default());
        let page = base.catalog.history(&dataset, &key, &all, 9, 150).await.unwrap();
        assert_eq!((page.versions.len(), page.has_more), (2, true));
    }
}

#[tokio::test]
async fn history_that_is_declared_later_begins_with_the_rows_of_the_table() {
    let update = |tokens, version| Update { id: b'a', tokens: Some(tokens), version };
    let wide = ACCOUNTS.replace(
        "tokens = 'bigint'",
        "tokens = 'bigint', note = { type = 'text', optional = true }",
    );
    let read = async |base: &TestDatabase, name: &str| {
        let datasets = base.database.datasets().await.unwrap();
        Arc::clone(datasets.get(name).unwrap())
    };
    for base in both().await {
        let plain = declare(&base.database, "accounts", &without_history(ACCOUNTS)).await;
        assert!(!plain.has_history);
        let (base, epoch) = base.with_objects(5).await;
        let first = rows(&plain, 1, &[update(1, 1).json()]);
        commit(&base, &epoch, &plain, first).await;
        let kept = declare(&base.database, "accounts", ACCOUNTS).await;
        let epoch = begin(&base.ledger, Mode::Shared, Some(epoch.id), 2).await;
        assert_eq!(history(&base, &kept, "a", Filter::default()).await, "1:1@1.1 ");
        // Objects of the earlier declaration have a history now.
        let datasets = base.database.datasets().await.unwrap();
        assert!(datasets.declaration(plain.declaration).unwrap().has_history);
        commit(&base, &epoch, &kept, with_history(&kept, 2, 0, &[update(2, 2)])).await;
        // Without a history for a while; then with one more column.
        declare(&base.database, "accounts", &without_history(ACCOUNTS)).await;
        let epoch = begin(&base.ledger, Mode::Shared, Some(epoch.id), 3).await;
        let plain = read(&base, "accounts").await;
        commit(&base, &epoch, &plain, rows(&plain, 3, &[update(3, 3).json()])).await;
        commit(&base, &epoch, &plain, rows(&plain, 4, &[update(4, 4).json()])).await;
        let wide = declare(&base.database, "accounts", &wide).await;
        let epoch = begin(&base.ledger, Mode::Shared, Some(epoch.id), 4).await;
        let text = async |base: &TestDatabase| {
            let (key, all) = (wide.read_key("a").unwrap(), Filter::default());
            let page = base.catalog.history(&wide, &key, &all, 9, 9_000).await.unwrap();
            let json = page.versions.iter().map(|version| {
                let mut json = Vec::new();
                wide.write_json(&version.record.values, None, &mut json).unwrap();
                String::from_utf8(json).unwrap()
            });
            json.collect::<Vec<String>>()
        };
        let of = |tokens: i64, note: &str| {
            format!(r#"{{"id":"a","tokens":{tokens},"note":{note},"version":{tokens}}}"#)
        };
        assert_eq!(text(&base).await, [of(4, "null"), of(2, "null"), of(1, "null")]);
        let record = of(5, "\"new\"");
        let row = upsert_row(&wide, &record, 5, 1);
        let chunk = ChunkRows { history: vec![row], ..rows(&wide, 5, &[&record]) };
        commit(&base, &epoch, &wide, chunk).await;
        assert_eq!(text(&base).await[0], record);
    }
}

#[tokio::test]
async fn table_of_another_is_no_history_and_a_history_is_dropped_with_its_dataset() {
    for base in both().await {
        base.run("CREATE TABLE accounts_history (id integer)").await;
        let file = DeclarationFile::new("accounts", "accounts.toml", ACCOUNTS).unwrap();
        let refused = base.database.declare(std::slice::from_ref(&file)).await.unwrap_err();
        assert!(refused.to_string().contains("has a table accounts_history"), "{refused}");
        base.run("DROP TABLE accounts_history").await;
        base.database.declare(std::slice::from_ref(&file)).await.unwrap();
        let taken =
            DeclarationFile::new("accounts_history", "x.toml", "key='id'\ncolumns={id='text'}");
        let refused = base.database.declare(&[taken.unwrap()]).await.unwrap_err();
        assert!(refused.to_string().contains("has a table accounts_history"), "{refused}");
        assert!(base.database.drop_dataset("accounts").await.unwrap());
        base.run("CREATE TABLE accounts_history (id integer)").await;
    }
}
