//! Rows that the database refuses, in all ways: only they are rejected.

use jetline_core::{Counts, Epoch, Mode};
use jetline_datasets::Reason;
use jetline_store::{ChunkOutcome, ChunkRows, CommitOutcome, Error, RefusedRow, RejectedLine};

use crate::fixtures::{
    self, TestDatabase, begin, both, chunk, commit_either, counts_of, declare, if_changed,
    postgres, products, sqlite,
};

/// Rows with these titles, and ids and lines from 1 on.
fn rows(titles: &[&str]) -> Vec<(i64, String)> {
    let ids = 1..;
    ids.zip(titles.iter().map(ToString::to_string)).collect()
}

/// The refused lines, with reason and message.
async fn refused(
    base: &TestDatabase,
    titles: &[&str],
) -> Result<Vec<(u32, Reason, String)>, Error> {
    let rows = rows(titles);
    let rows: Vec<_> = rows.iter().map(|(id, title)| (*id, title.as_str())).collect();
    let refused = base.ledger.chunks.refused(&products(), chunk(1, 0, &rows).rows).await?;
    let mut refused: Vec<_> = refused
        .into_iter()
        .map(|RefusedRow { position, rejection, .. }| {
            (position.line(), rejection.reason, rejection.message)
        })
        .collect();
    refused.sort_by_key(|(line, ..)| *line);
    Ok(refused)
}

/// All ways to refuse rows with the title `no`, each with a part of its message.
const WAYS: &[(&str, &str)] = &[
    (
        "ALTER TABLE products ADD CONSTRAINT polite CHECK (title <> 'no')",
        "SQLSTATE 23514: new row for relation \"products\" violates check constraint \"polite\"",
    ),
    (RAISES_P0001, "SQLSTATE P0001: not today"),
    (RAISES_OTHER, "SQLSTATE 44000: not this way"),
    (RAISES_INTERNAL, "SQLSTATE XX000: oh"),
    (ASSERTS, "SQLSTATE P0004: not so"),
    (
        "CREATE TABLE titles (title text PRIMARY KEY); INSERT INTO titles VALUES ('yes');
         ALTER TABLE products ADD FOREIGN KEY (title) REFERENCES titles DEFERRABLE INITIALLY DEFERRED",
        "SQLSTATE 23503",
    ),
    (
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF new.title = ''no'' THEN RAISE EXCEPTION ''too late''; END IF; RETURN new; END';
         CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON products DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION late()",
        "SQLSTATE P0001: too late",
    ),
    (
        "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF new.title = ''no'' THEN PERFORM 1 FROM nowhere; END IF; RETURN new; END';
         CREATE TRIGGER odd BEFORE INSERT ON products FOR EACH ROW EXECUTE FUNCTION odd()",
        "SQLSTATE 42P01",
    ),
];

const RAISES_P0001: &str = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN IF new.title = ''no'' THEN RAISE EXCEPTION ''not today''; END IF; RETURN new; END';
    CREATE TRIGGER no BEFORE INSERT OR UPDATE ON products FOR EACH ROW EXECUTE FUNCTION no()";

const RAISES_OTHER: &str = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN IF new.title = ''no'' THEN RAISE ''not this way'' USING ERRCODE = ''44000''; END IF; RETURN new; END';
    CREATE TRIGGER no BEFORE INSERT OR UPDATE ON products FOR EACH ROW EXECUTE FUNCTION no()";

/// `WHEN OTHERS` does not catch it.
const ASSERTS: &str = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN ASSERT new.title <> ''no'', ''not so''; RETURN new; END';
    CREATE TRIGGER no BEFORE INSERT OR UPDATE ON products FOR EACH ROW EXECUTE FUNCTION no()";

const RAISES_FULL: &str = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN IF new.title = ''no'' THEN RAISE ''full'' USING ERRCODE = ''disk_full''; END IF; RETURN new; END';
    CREATE TRIGGER no BEFORE INSERT OR UPDATE ON products FOR EACH ROW EXECUTE FUNCTION no()";

const RAISES_INTERNAL: &str = "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN IF new.title = ''no'' THEN RAISE ''oh'' USING ERRCODE = ''XX000''; END IF; RETURN new; END';
    CREATE TRIGGER no BEFORE INSERT OR UPDATE ON products FOR EACH ROW EXECUTE FUNCTION no()";

const ABORTS: &str = "CREATE TRIGGER no BEFORE INSERT ON products WHEN new.title = 'no'
    BEGIN SELECT RAISE(ABORT, 'not today'); END";

const ROLLS_BACK: &str = "CREATE TRIGGER no BEFORE INSERT ON products WHEN new.title = 'no'
    BEGIN SELECT RAISE(ROLLBACK, 'not today'); END";

#[tokio::test]
async fn row_that_is_refused_in_any_way_is_found_and_everything_is_rolled_back() {
    for (way, message) in WAYS {
        let (base, epoch) = postgres().await.with_objects(1).await;
        base.run(way).await;
        let mut titles = vec!["yes"; 600];
        for line in [1, 2, 300, 511, 600] {
            titles[line - 1] = "no";
        }
        let found = refused(&base, &titles).await.unwrap();
        let lines: Vec<u32> = found.iter().map(|(line, ..)| *line).collect();
        assert_eq!(lines, [1, 2, 300, 511, 600], "{way}");
        for (_, reason, said) in &found {
            assert_eq!(*reason, Reason::RefusedByDatabase);
            assert!(said.starts_with(message), "{said:?} of {way}");
        }
        assert_eq!(base.number("SELECT COUNT(*) FROM products").await, Some(0));

        let outcome = base
            .ledger
            .chunks
            .commit(epoch.id, &products(), vec![chunk(1, 0, &[(1, "yes"), (2, "no")])])
            .await;
        let error = outcome.expect_err(way);
        assert!(error.may_be_caused_by_row(), "{error:?}");
        assert!(base.chunks().await.is_empty());
    }
}

/// Commits two chunks of object 1, of up to three lines each, and rejects what is refused. Returns the refused lines too.
async fn commit_and_reject(
    base: &TestDatabase,
    epoch: &Epoch,
    chunks: Vec<ChunkRows>,
) -> (CommitOutcome, Vec<u32>) {
    let mut lines = Vec::new();
    let mut reject = |refused: Vec<RefusedRow>| {
        let mut rejected = vec![Vec::new(); 2];
        for RefusedRow { position, rejection, .. } in refused {
            let line = position.line();
            lines.push(line);
            let rejected = &mut rejected[usize::from(line > 3)];
            rejected.push(RejectedLine { line, offset: 0, rejection, raw: b"no".to_vec() });
        }
        rejected
    };
    let outcome = base
        .ledger
        .chunks
        .commit_and_reject(epoch.id, &products(), chunks, &mut reject)
        .await
        .unwrap();
    lines.sort_unstable();
    (outcome, lines)
}

/// Lines 1 to 3 and 4 to 6. Line 4 superseded line 3, and line 6 line 5.
fn partly_refused() -> Vec<ChunkRows> {
    let mut chunks = vec![
        chunk(1, 0, &[(1, "yes"), (2, "no"), (3, "old")]),
        chunk(1, 3, &[(3, "no"), (5, "no"), (5, "no")]),
    ];
    for (chunk, replacement) in [(0, 2), (1, 1)] {
        let row = chunks[chunk].rows.remove(replacement);
        chunks[chunk].replacements.push(row);
        chunks[chunk].superseded = 1;
    }
    chunks
}

#[tokio::test]
async fn commit_that_rejects_writes_all_other_rows() {
    let ways = WAYS.iter().map(|(way, _)| *way).chain([SUPPRESS[0]]);
    let mut bases = Vec::new();
    for way in ways {
        bases.push((postgres().await, way));
    }
    for way in [SUPPRESS[1], ABORTS] {
        bases.push((sqlite().await, way));
    }
    for (base, way) in bases {
        let (base, epoch) = base.with_objects(1).await;
        base.run(way).await;
        if way.contains("titles") {
            base.run("INSERT INTO titles VALUES ('old')").await;
        }
        let (outcome, lines) = commit_and_reject(&base, &epoch, partly_refused()).await;
        let counts = |inserted, rejected| {
            ChunkOutcome::Committed(Counts { inserted, rejected, ..Counts::default() })
        };
        let expected = CommitOutcome::Committed(vec![counts(2, 1), counts(0, 3)]);
        assert_eq!(outcome, expected, "{way}");
        assert_eq!(lines, [2, 4, 5, 6], "{way}");
        for (id, title) in [(1, Some("yes")), (2, None), (3, Some("old")), (5, None)] {
            let stored = base.product(id).await.map(|(title, _)| title);
            assert_eq!(stored.as_deref(), title, "{id} with {way}");
        }
        assert_eq!(base.number("SELECT COUNT(*) FROM rejected_lines").await, Some(4), "{way}");
    }
}

#[tokio::test]
async fn commit_that_rejects_counts_as_another_one_does() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        base.counts(&epoch, chunk(1, 0, &[(1, "a"), (2, "b")])).await;
        base.counts(&epoch, chunk(2, 0, &[(3, "later")])).await;
        let mut later = chunk(1, 2, &[(4, "older"), (1, "a"), (2, "new"), (3, "c"), (4, "d")]);
        later.replacements.push(later.rows.remove(0));
        later.superseded = 1;
        let (outcome, _) = commit_and_reject(&base, &epoch, vec![later]).await;
        let expected =
            Counts { inserted: 1, updated: 1, unchanged: 1, superseded: 2, ..Counts::default() };
        assert_eq!(counts_of(&outcome), expected);
        assert_eq!(base.product(4).await.unwrap().0, "d");
    }
}

/// In order, a row stays as it is if the latest line of its id has the same content, whatever the lines before it have.
#[tokio::test]
async fn commit_that_rejects_writes_no_line_before_an_unchanged_one() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        base.counts(&epoch, chunk(1, 0, &[(1, "a")])).await;
        let mut lines = if_changed(chunk(1, 1, &[(1, "b"), (1, "a")]));
        lines.replacements.push(lines.rows.remove(0));
        lines.superseded = 1;
        let (outcome, _) = commit_and_reject(&base, &epoch, vec![lines]).await;
        let counts = Counts { unchanged: 1, superseded: 1, ..Counts::default() };
        assert_eq!(counts_of(&outcome), counts);
        assert_eq!(base.product(1).await.unwrap().0, "a");
    }
}

/// Rows that take the place of refused ones are locked in the order of the ids as well.
#[tokio::test]
async fn concurrent_commits_that_reject_do_not_deadlock() {
    let (base, epoch) = postgres().await.with_objects(2).await;
    base.run(WAYS[0].0).await;
    let ids = 1..=1_500;
    for round in 0..4 {
        let chunks = [1, 2].map(|object| {
            let lines: Vec<(i64, &str)> =
                ids.clone().map(|id| (id, if id % 100 == 7 { "no" } else { "yes" })).collect();
            let mut later = chunk(object, 3_000 * round + 1_500, &lines);
            let lines: Vec<(i64, &str)> = ids.clone().map(|id| (id, "yes")).collect();
            later.replacements = chunk(object, 3_000 * round, &lines).rows;
            later.superseded = later.replacements.len() as u64;
            vec![later]
        });
        let commits = chunks.map(|chunks| {
            let (ledger, epoch) = (base.ledger.clone(), epoch.id);
            async move {
                let mut reject = |_| vec![Vec::new()];
                ledger.chunks.commit_and_reject(epoch, &products(), chunks, &mut reject).await
            }
        });
        for outcome in futures::future::join_all(commits).await {
            assert!(matches!(outcome.unwrap(), CommitOutcome::Committed(_)));
        }
    }
}

/// Neither the table nor a trigger that ends the transaction makes a commit reject lines.
#[tokio::test]
async fn commit_that_rejects_leaves_doubtful_rows_to_the_search() {
    let broken = "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO nowhere VALUES (1); RETURN new; END';
         CREATE TRIGGER broken BEFORE INSERT ON products FOR EACH ROW EXECUTE FUNCTION broken()";
    for (base, way) in [(postgres().await, broken), (sqlite().await, ROLLS_BACK)] {
        let (base, epoch) = base.with_objects(1).await;
        base.run(way).await;
        let (outcome, lines) = commit_and_reject(&base, &epoch, partly_refused()).await;
        assert_eq!(outcome, CommitOutcome::NotWritten);
        assert!(lines.is_empty(), "{lines:?}");
        assert!(base.chunks().await.is_empty());
        assert_eq!(base.number("SELECT COUNT(*) FROM products").await, Some(0));
    }
}

/// Together they would exceed the longest value of PostgreSQL.
#[tokio::test]
async fn long_messages_are_cut() {
    let (base, _) = postgres().await.with_objects(1).await;
    base.run(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN RAISE ''%'', repeat(''x'', 1000000); END';
         CREATE TRIGGER no BEFORE INSERT ON products FOR EACH ROW EXECUTE FUNCTION no()",
    )
    .await;
    let found = refused(&base, &["no"; 300]).await.unwrap();
    assert_eq!(found.len(), 300);
    assert!(found.iter().all(|(_, _, message)| message.len() <= 1 << 10));
}

#[tokio::test]
async fn full_disk_fails_the_search_and_is_caused_by_no_row() {
    let (base, _) = postgres().await.with_objects(1).await;
    base.run(RAISES_FULL).await;
    let error = refused(&base, &["yes", "no", "yes"]).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
}

/// Each search holds the locks of all rows that it has written so far.
#[tokio::test]
async fn concurrent_searches_lock_rows_in_the_same_order() {
    let (base, _) = postgres().await.with_objects(1).await;
    base.run(WAYS[0].0).await;
    let mut titles = vec!["yes"; 2_000];
    titles[1_999] = "no";
    let rows = rows(&titles);
    let rows: Vec<_> = rows.iter().map(|(id, title)| (*id, title.as_str())).collect();
    let forwards = chunk(1, 0, &rows).rows;
    let mut backwards = forwards.clone();
    backwards.reverse();
    for _ in 0..3 {
        let table = products();
        let one = base.ledger.chunks.refused(&table, forwards.clone());
        let other = base.ledger.chunks.refused(&table, backwards.clone());
        let (one, other) = tokio::join!(one, other);
        assert_eq!((one.unwrap().len(), other.unwrap().len()), (1, 1));
    }
}

#[tokio::test]
async fn row_that_a_row_security_policy_refuses_is_found_even_alone() {
    let base = postgres().await;
    let base = base.with_objects(1).await.0;
    base.run(
        "DO 'BEGIN CREATE ROLE jetline_app LOGIN PASSWORD ''jetline_app''; EXCEPTION WHEN duplicate_object THEN NULL; END';
         GRANT ALL ON ALL TABLES IN SCHEMA public TO jetline_app;
         ALTER TABLE products OWNER TO jetline_app;
         ALTER TABLE products ENABLE ROW LEVEL SECURITY;
         ALTER TABLE products FORCE ROW LEVEL SECURITY;
         CREATE POLICY polite ON products USING (true) WITH CHECK (title <> 'no')",
    )
    .await;
    let base = base.connected_as("jetline_app").await;
    for titles in [&["no"][..], &["yes", "no"]] {
        let found = refused(&base, titles).await.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].2.starts_with("SQLSTATE 42501"), "{found:?}");
    }
}

#[tokio::test]
async fn table_that_accepts_no_row_at_all_rejects_none() {
    for fault in [
        "DROP TABLE products",
        "ALTER TABLE products DROP COLUMN brand",
        "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO nowhere VALUES (1); RETURN new; END';
         CREATE TRIGGER broken BEFORE INSERT ON products FOR EACH ROW EXECUTE FUNCTION broken()",
        "CREATE FUNCTION closed() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN RAISE EXCEPTION ''closed''; END';
         CREATE TRIGGER closed BEFORE INSERT ON products EXECUTE FUNCTION closed()",
        "ALTER TABLE products ADD COLUMN colour text NOT NULL",
    ] {
        let base = postgres().await.with_objects(1).await.0;
        base.run(fault).await;
        let found = refused(&base, &["a", "b"]).await;
        assert!(found.is_err(), "{found:?} after {fault}");
    }
}

#[tokio::test]
async fn required_column_that_no_record_has_is_named() {
    for base in both().await {
        base.ledger.chunks.check_table(&products()).await.unwrap();
        for harmless in [
            "ALTER TABLE products ADD COLUMN note text",
            "ALTER TABLE products ADD COLUMN colour text NOT NULL DEFAULT 'red'",
        ] {
            base.run(harmless).await;
            base.ledger.chunks.check_table(&products()).await.unwrap();
        }
    }
    let base = postgres().await;
    base.run("ALTER TABLE products ADD COLUMN colour text NOT NULL").await;
    let error = base.ledger.chunks.check_table(&products()).await.unwrap_err();
    assert!(error.to_string().contains("colour"), "{error}");
}

/// SQLite's triggers suppress a row with `RAISE(IGNORE)`; PostgreSQL's return NULL.
const SUPPRESS: [&str; 2] = [
    "CREATE FUNCTION hush() RETURNS trigger LANGUAGE plpgsql AS
         'BEGIN IF new.title = ''no'' THEN RETURN NULL; END IF; RETURN new; END';
     CREATE TRIGGER hush BEFORE INSERT OR UPDATE ON products FOR EACH ROW EXECUTE FUNCTION hush()",
    "CREATE TRIGGER hush BEFORE INSERT ON products WHEN new.title = 'no' BEGIN SELECT RAISE(IGNORE); END;
     CREATE TRIGGER hush_too BEFORE UPDATE ON products WHEN new.title = 'no' BEGIN SELECT RAISE(IGNORE); END",
];

#[tokio::test]
async fn row_that_a_trigger_suppresses_is_found_whether_it_is_new_or_not() {
    for (base, suppress) in [postgres().await, sqlite().await].into_iter().zip(SUPPRESS) {
        let (base, epoch) = base.with_objects(1).await;
        base.counts(&epoch, chunk(1, 0, &[(2, "old")])).await;
        base.run(suppress).await;
        let lines = chunk(1, 1, &[(1, "yes"), (2, "no"), (3, "no"), (4, "yes")]);
        let outcome = base.ledger.chunks.commit(epoch.id, &products(), vec![lines.clone()]).await;
        assert_eq!(outcome.unwrap(), CommitOutcome::NotWritten);
        assert_eq!(base.chunks().await.len(), 1);
        let found = base.ledger.chunks.refused(&products(), lines.rows).await.unwrap();
        let mut found: Vec<_> =
            found.into_iter().map(|one| (one.position.line(), one.rejection.reason)).collect();
        found.sort_by_key(|(line, _)| *line);
        let suppressed = Reason::SuppressedByDatabase;
        assert_eq!(found, [(3, suppressed), (4, suppressed)]);
    }
}

/// A commit of such an object writes the row, and the trigger fires.
#[tokio::test]
async fn rewritten_row_with_the_same_content_is_found() {
    for (base, suppress) in [postgres().await, sqlite().await].into_iter().zip(SUPPRESS) {
        let (base, epoch) = base.with_objects(1).await;
        base.counts(&epoch, chunk(1, 0, &[(1, "no")])).await;
        base.run(suppress).await;
        base.run("UPDATE objects SET rewrite = TRUE").await;
        let again = chunk(1, 1, &[(1, "no")]);
        let outcome = base.ledger.chunks.commit(epoch.id, &products(), vec![again.clone()]).await;
        assert_eq!(outcome.unwrap(), CommitOutcome::NotWritten);
        let found = base.ledger.chunks.refused(&products(), again.rows).await.unwrap();
        assert_eq!(found.len(), 1);
    }
}

#[tokio::test]
async fn refusal_in_sqlite_rejects_its_row_alone() {
    let (base, _) = sqlite().await.with_objects(1).await;
    base.run(ABORTS).await;
    let found = refused(&base, &["yes", "no", "yes"]).await.unwrap();
    let expected = (2, Reason::RefusedByDatabase, "not today".to_owned());
    assert_eq!(found, [expected]);
}

#[tokio::test]
async fn rollback_by_a_trigger_in_sqlite_rejects_its_row_alone() {
    let (base, _) = sqlite().await.with_objects(1).await;
    base.run(ROLLS_BACK).await;
    for _ in 0..2 {
        let found = refused(&base, &["yes", "no", "yes", "no"]).await.unwrap();
        let lines: Vec<u32> = found.iter().map(|(line, ..)| *line).collect();
        assert_eq!(lines, [2, 4]);
    }
    assert_eq!(base.number("SELECT COUNT(*) FROM products").await, Some(0));
}

/// A trigger that needs a missing table may concern all rows: one row that can be written shows that it does not.
#[tokio::test]
async fn row_is_found_where_all_others_are_unchanged() {
    let (odd, _) = WAYS[WAYS.len() - 1];
    // The stored rows are of the same lines, or of lines of a later object.
    for object in [1, 2] {
        let (base, epoch) = postgres().await.with_objects(2).await;
        base.run(odd).await;
        let earlier = chunk(object, 0, &[(1, "yes"), (2, "yes")]);
        base.counts(&epoch, earlier).await;
        let found = refused(&base, &["yes", "yes", "no"]).await.unwrap();
        let lines: Vec<u32> = found.iter().map(|(line, ..)| *line).collect();
        assert_eq!(lines, [3]);
    }
}

#[tokio::test]
async fn missing_table_rejects_no_row_under_row_security() {
    let base = postgres().await.with_objects(1).await.0;
    base.run(
        "ALTER TABLE products ENABLE ROW LEVEL SECURITY;
         CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO nowhere VALUES (1); RETURN new; END';
         CREATE TRIGGER broken BEFORE INSERT ON products FOR EACH ROW EXECUTE FUNCTION broken()",
    )
    .await;
    let found = refused(&base, &["a", "b"]).await;
    assert!(found.is_err(), "{found:?}");
}

/// In order, neither the commit nor the search writes rows with the same content.
#[tokio::test]
async fn search_does_not_write_rows_that_the_commit_does_not_write() {
    let (base, epoch) = postgres().await.with_objects(2).await;
    base.counts(&epoch, chunk(1, 0, &[(1, "a"), (2, "b")])).await;
    base.run(
        "CREATE FUNCTION once() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''only once''; END';
         CREATE TRIGGER once BEFORE UPDATE ON products FOR EACH ROW EXECUTE FUNCTION once()",
    )
    .await;
    let again = if_changed(chunk(2, 0, &[(1, "a"), (2, "c")]));
    let found = base.ledger.chunks.refused(&products(), again.rows).await.unwrap();
    let lines: Vec<u32> = found.iter().map(|one| one.position.line()).collect();
    assert_eq!(lines, [2]);
}

/// Connections cache statements by their texts.
#[tokio::test]
async fn datasets_that_differ_only_in_the_types_of_columns_can_both_have_refused_rows() {
    for base in both().await {
        let (base, _) = base.with_objects(2).await;
        for (object, of, record) in [(1_u8, "bigint", r#"{"id":1}"#), (2, "text", r#"{"id":"1"}"#)]
        {
            let text = format!("key = 'id'\ncolumns = {{ id = '{of}' }}");
            let dataset = declare(&base.database, &format!("of_{of}"), &text).await;
            let epoch = begin(&base.ledger, Mode::Shared, None, u32::from(object) + 1).await;
            let chunk = fixtures::rows(&dataset, object.into(), &[record]);
            commit_either(&base, &epoch, &dataset, chunk, true).await;
        }
    }
}
