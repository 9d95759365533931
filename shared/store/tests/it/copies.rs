//! Many new rows, which are copied into PostgreSQL's table; and what an upsert has to write.

use jetline_core::{Counts, Epoch, Key};
use jetline_datasets::Dataset;
use jetline_store::{ChunkRows, CommitOutcome, KeyClaim};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, Statement, TransactionTrait};
use tokio::task::JoinHandle;

use crate::fixtures::{
    NO_COUNTS, TestDatabase, chunk, commit, counts_of, declare, epoch_id, if_changed, postgres,
    products, rows,
};

/// A column of each type, which may be null.
const TYPES: &str = r#"
key = "id"

[columns]
id = "bigint"
a_text = { type = "text", optional = true }
a_bigint = { type = "bigint", optional = true }
a_numeric = { type = "numeric", optional = true }
a_double = { type = "double", optional = true }
a_boolean = { type = "boolean", optional = true }
a_date = { type = "date", optional = true }
a_timestamp = { type = "timestamp", optional = true }
a_uuid = { type = "uuid", optional = true }
a_json = { type = "json", optional = true }
"#;

const ROWS: i64 = 200;

/// More rows than one message has.
fn records() -> Vec<String> {
    let record = |id: i64| match id % 4 {
        0 => format!(r#"{{"id":{id}}}"#),
        1 => format!(
            r#"{{"id":{id},"a_text":"","a_bigint":{},"a_numeric":-0.10,"a_double":-1.5e-300,"a_boolean":false,
             "a_date":"0001-01-01","a_timestamp":"1960-02-29T23:59:59.999999Z","a_json":null}}"#,
            i64::MIN
        ),
        2 => format!(
            r#"{{"id":{id},"a_text":"Zürich \\ \"1\"\t🦀","a_numeric":79228162514264337593543950335,"a_double":0,"a_boolean":true,
             "a_date":"9999-12-31","a_timestamp":"2026-11-28T10:00:00+02:00","a_uuid":"00112233-4455-6677-8899-aabbccddeeff",
             "a_json":{{"b":[1,2.50,null],"a":"\\"}}}}"#
        ),
        _ => format!(
            r#"{{"id":{id},"a_text":"{}","a_bigint":{id},"a_numeric":0.000000000000000001,"a_json":"text"}}"#,
            "long".repeat(300)
        ),
    };
    (1..=ROWS).map(record).collect()
}

/// A database that notes by which statements rows are inserted into a table.
async fn noting(base: TestDatabase, table: &str) -> (TestDatabase, Epoch) {
    base.run(&format!(
        "CREATE TABLE noted (statement text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO noted VALUES (current_query()); RETURN NULL; END';
         CREATE TRIGGER note AFTER INSERT ON {table} EXECUTE FUNCTION note()"
    ))
    .await;
    base.with_objects(3).await
}

/// How often rows were copied, and how often upserted.
async fn statements(base: &TestDatabase) -> (i64, i64) {
    let of = async |name: &str| {
        let sql = format!("SELECT COUNT(*) FROM noted WHERE statement LIKE '%/* {name} */%'");
        base.number(&sql).await.unwrap()
    };
    (of("copy records").await, of("upsert records").await)
}

async fn content(base: &TestDatabase, dataset: &Dataset) -> String {
    let columns = dataset.stored().map(|column| format!("\"{}\"", column.name));
    let columns = columns.collect::<Vec<_>>().join(", ");
    base.text(&format!(
        "SELECT string_agg(ROW({columns}, jetline_fingerprint, jetline_position)::text, E'\\n' ORDER BY id)
         FROM {}",
        dataset.name
    ))
    .await
}

fn inserted(count: i64) -> Counts {
    Counts { inserted: count.cast_unsigned(), ..NO_COUNTS }
}

/// Products with the ids from 1.
fn new_products(object: i64, lines_before: u32) -> ChunkRows {
    let titles: Vec<(i64, &str)> = (1..=ROWS).map(|id| (id, "new")).collect();
    if_changed(chunk(object, lines_before, &titles))
}

#[tokio::test]
async fn copied_rows_are_those_that_an_upsert_writes() {
    let mut contents = Vec::new();
    for copied in [true, false] {
        let base = postgres().await;
        let dataset = declare(&base.database, "typed", TYPES).await;
        let (base, epoch) = noting(base, "typed").await;
        let chunk = rows(&dataset, 1, &records());
        let chunk = if copied { if_changed(chunk) } else { chunk };
        assert_eq!(commit(&base, &epoch, &dataset, chunk).await, inserted(ROWS));
        assert_eq!(statements(&base).await, if copied { (1, 0) } else { (0, 1) });
        contents.push(content(&base, &dataset).await);
    }
    assert_eq!(contents[0], contents[1]);
}

/// Text ids, versions, deletes, a history and a destination.
const KINDS: &str = r#"
key = "id"
version = "revision"
history = true
deleted = { column = "op", equals = "D" }

[columns]
id = "text"
revision = "bigint"

[[deliver]]
name = "crm"
url = "${CRM_URL}"
"#;

#[tokio::test]
async fn copied_rows_are_counted_and_kept_as_those_of_an_upsert() {
    let mut outcomes = Vec::new();
    for copied in [true, false] {
        let base = postgres().await;
        let dataset = declare(&base.database, "kinds", KINDS).await;
        let (base, epoch) = noting(base, "kinds").await;
        let record = |id: i64| {
            let op = if id % 5 == 0 { "D" } else { "I" };
            format!(r#"{{"id":"é{id}","revision":{},"op":"{op}"}}"#, -id)
        };
        let records: Vec<String> = (1..=ROWS).map(record).collect();
        let chunk = rows(&dataset, 1, &records);
        let chunk = if copied { if_changed(chunk) } else { chunk };
        let history = chunk.rows.clone();
        let counts = commit(&base, &epoch, &dataset, ChunkRows { history, ..chunk }).await;
        assert_eq!(counts, Counts { deleted: 40, ..inserted(ROWS - 40) });
        assert_eq!(statements(&base).await, if copied { (1, 0) } else { (0, 1) });
        let history = "SELECT string_agg(row::text, E'\\n' ORDER BY row::text)
             FROM (SELECT to_jsonb(h) - 'jetline_changed_at' AS row FROM kinds_history h) rows";
        let changes = "SELECT string_agg(row::text, E'\\n' ORDER BY row::text)
             FROM (SELECT key, kind, version, position, fingerprint, error FROM delivery_changes) row";
        assert_eq!(base.number("SELECT COUNT(*) FROM delivery_changes").await, Some(ROWS));
        let kept = [base.text(history).await, base.text(changes).await];
        outcomes.push((content(&base, &dataset).await, kept));
    }
    assert_eq!(outcomes[0], outcomes[1]);
}

#[tokio::test]
async fn only_rows_that_the_table_has_not_are_copied() {
    let (base, epoch) = noting(postgres().await, "products").await;
    let old = if_changed(chunk(1, 0, &[(7, "old"), (8, "new"), (900, "other")]));
    assert_eq!(base.counts(&epoch, old).await, inserted(3));
    assert_eq!(statements(&base).await, (0, 1));
    let counts = base.counts(&epoch, new_products(2, 0)).await;
    assert_eq!(counts, Counts { updated: 1, unchanged: 1, ..inserted(ROWS - 2) });
    assert_eq!(statements(&base).await, (1, 2));
    assert_eq!(base.product(7).await.unwrap().0, "new");
    // Few rows are not worth it.
    let few: Vec<(i64, &str)> = (1000..1020).map(|id| (id, "new")).collect();
    assert_eq!(base.counts(&epoch, if_changed(chunk(3, 0, &few))).await, inserted(20));
    assert_eq!(statements(&base).await, (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_ids_that_another_writer_inserts_meanwhile_are_upserted() {
    let (base, epoch) = noting(postgres().await, "products").await;
    let tx = base.db().begin().await.unwrap();
    for (id, object, title) in [(7, 1, "lower"), (8, 3, "higher")] {
        let insert = format!(
            "INSERT INTO products VALUES (decode(repeat('01', 16), 'hex'), {object}::bigint << 32, now(), {id}, '{title}', 1, 'c', 'b', 'u', 'd')"
        );
        tx.execute_unprepared(&insert).await.unwrap();
    }
    let copying = base.spawn_commit(&epoch, new_products(2, 0));
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()
        AND wait_event_type = 'Lock' AND query LIKE '%COPY%'";
    while base.number(waiting).await != Some(1) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    tx.commit().await.unwrap();
    let counts = Counts { updated: 1, superseded: 1, ..inserted(ROWS - 2) };
    assert_eq!(counts_of(&copying.await.unwrap()), counts);
    assert_eq!(statements(&base).await, (0, 2));
    assert_eq!(base.product(7).await.unwrap().0, "new");
    assert_eq!(base.product(8).await.unwrap().0, "higher");
}

/// Rows of which one is of an id that another transaction has claimed before.
fn claimed_before(object: i64, id: i64) -> ChunkRows {
    let mut chunk = new_products(object, 0);
    for row in chunk.rows.iter_mut().filter(|row| row.row.key == Key::Int(id)) {
        (row.claim, row.if_changed) = (KeyClaim::AfterAnother, false);
    }
    chunk
}

#[tokio::test(flavor = "multi_thread")]
async fn row_that_another_transaction_claimed_before_is_awaited_without_its_lock() {
    let (base, epoch) = noting(postgres().await, "products").await;
    base.counts(&epoch, if_changed(chunk(1, 0, &[(3, "stored")]))).await;
    let tx = base.db().begin().await.unwrap();
    insert(&tx, 7).await;
    let waiting = base.spawn_commit(&epoch, claimed_before(2, 7));
    // It has copied its new rows, and has not written its others: this takes the lock of the stored one.
    let copied = "SELECT COUNT(*) FROM pg_locks JOIN pg_database d ON d.oid = database AND datname = current_database()
        WHERE relation = 'products'::regclass AND mode = 'RowExclusiveLock'";
    while base.number(copied).await != Some(2) {
        assert!(!waiting.is_finished(), "{:?}", waiting.await);
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let lock = "SELECT id FROM products WHERE id = 3 FOR UPDATE NOWAIT";
    tx.execute_unprepared(lock).await.unwrap();
    tx.commit().await.unwrap();
    let counts = Counts { updated: 2, ..inserted(ROWS - 2) };
    assert_eq!(counts_of(&waiting.await.unwrap()), counts);
    assert_eq!(base.product(7).await.unwrap().0, "new");
}

/// The key of the lock that commits hold shared.
const EPOCH_LOCK: i64 = 0x6a65_746c_696e_6501;

/// A commit in progress, which has inserted the product 900. The server ends it if it does nothing for longer than a wait for it may take.
async fn begin_commit(base: &TestDatabase) -> DatabaseTransaction {
    let tx = base.db().begin().await.unwrap();
    let begin = format!(
        "SET LOCAL idle_in_transaction_session_timeout = '4s';
         SELECT pg_advisory_xact_lock_shared({EPOCH_LOCK})"
    );
    tx.execute_unprepared(&begin).await.unwrap();
    insert(&tx, 900).await;
    tx
}

/// Commits rows of which the one with the id 7 is awaited; returns when it waits.
async fn await_row(base: &TestDatabase, epoch: &Epoch) -> JoinHandle<CommitOutcome> {
    let waiting = base.spawn_commit(epoch, claimed_before(2, 7));
    until_it_looks(base, &waiting, "0").await;
    waiting
}

/// Until a transaction that began so long ago has looked for others.
async fn until_it_looks(base: &TestDatabase, waiting: &JoinHandle<CommitOutcome>, after: &str) {
    let looked = format!(
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()
             AND query LIKE '%look for other transactions%' AND pid <> pg_backend_pid()
             AND xact_start <= clock_timestamp() - interval '{after}'"
    );
    while base.number(&looked).await != Some(1) {
        assert!(!waiting.is_finished());
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_is_awaited_while_a_commit_from_before_is_in_progress() {
    let (base, epoch) = noting(postgres().await, "products").await;
    let before = begin_commit(&base).await;
    let waiting = await_row(&base, &epoch).await;
    until_it_looks(&base, &waiting, "700 milliseconds").await;
    insert(&before, 7).await;
    before.commit().await.unwrap();
    let counts = Counts { updated: 1, ..inserted(ROWS - 1) };
    assert_eq!(counts_of(&waiting.await.unwrap()), counts);
    assert_eq!(statements(&base).await, (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_is_not_awaited_while_a_commit_from_later_is_in_progress() {
    let (base, epoch) = noting(postgres().await, "products").await;
    let waiting = await_row(&base, &epoch).await;
    let later = begin_commit(&base).await;
    assert!(matches!(waiting.await.unwrap(), CommitOutcome::Committed(_)));
    later.commit().await.unwrap();
    assert_eq!(statements(&base).await.0, 0);
}

/// They would wait for each other.
#[tokio::test(flavor = "multi_thread")]
async fn row_is_not_awaited_while_the_commit_from_before_waits_for_a_copied_one() {
    let (base, epoch) = noting(postgres().await, "products").await;
    let before = begin_commit(&base).await;
    let waiting = await_row(&base, &epoch).await;
    before.execute_unprepared("SET LOCAL statement_timeout = '4s'").await.unwrap();
    insert(&before, 10).await;
    before.commit().await.unwrap();
    let counts = Counts { updated: 1, ..inserted(ROWS - 1) };
    assert_eq!(counts_of(&waiting.await.unwrap()), counts);
    assert_eq!(statements(&base).await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_is_not_awaited_long_while_the_lock_is_wanted() {
    let (base, epoch) = noting(postgres().await, "products").await;
    let before = begin_commit(&base).await;
    let waiting = await_row(&base, &epoch).await;
    let ledger = base.ledger.clone();
    let ending = tokio::spawn(async move { ledger.objects.end_epoch(epoch_id(2)).await });
    assert!(matches!(waiting.await.unwrap(), CommitOutcome::Committed(_)));
    before.commit().await.unwrap();
    ending.await.unwrap().unwrap();
    assert_eq!(statements(&base).await.0, 0);
}

#[tokio::test]
async fn row_that_never_comes_is_inserted_in_its_place() {
    let (base, epoch) = noting(postgres().await, "products").await;
    assert_eq!(base.counts(&epoch, claimed_before(1, 7)).await, inserted(ROWS));
    assert_eq!(statements(&base).await, (0, 1));
}

/// Inserts a product in a transaction.
async fn insert(tx: &DatabaseTransaction, id: i64) {
    let sql = format!(
        "INSERT INTO products
             VALUES (decode(repeat('01', 16), 'hex'), 1::bigint << 32, now(), {id}, 'lower', 1, 'c', 'b', 'u', 'd')"
    );
    tx.execute_unprepared(&sql).await.unwrap();
}

/// A lock on the row would be out of order: who has it waits for rows with higher ids, and others with locks on these wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn row_that_came_meanwhile_is_not_locked_while_others_are_inserted() {
    let (base, epoch) = postgres().await.with_objects(2).await;
    let [first, second] = [base.db().begin().await.unwrap(), base.db().begin().await.unwrap()];
    insert(&first, 5).await;
    insert(&second, 9).await;
    let inserting = base.spawn_commit(&epoch, if_changed(chunk(2, 0, &[(5, "new"), (9, "new")])));
    let waiting_for = async |tx: &DatabaseTransaction| {
        let xid = "SELECT pg_current_xact_id()::text AS xid";
        let xid = tx.query_one_raw(Statement::from_string(DbBackend::Postgres, xid)).await;
        let xid: String = xid.unwrap().unwrap().try_get("", "xid").unwrap();
        let waiting = format!(
            "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND transactionid = '{xid}'::xid"
        );
        while base.number(&waiting).await != Some(1) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    waiting_for(&first).await;
    first.commit().await.unwrap();
    waiting_for(&second).await;
    let lock = "SELECT id FROM products WHERE id = 5 FOR UPDATE NOWAIT";
    second.execute_unprepared(lock).await.unwrap();
    second.commit().await.unwrap();
    let counts = Counts { updated: 2, ..NO_COUNTS };
    assert_eq!(counts_of(&inserting.await.unwrap()), counts);
}

/// The bytes of a value are another value in a column of another type.
#[tokio::test]
async fn table_with_rules_or_other_types_is_not_copied_to() {
    for altered in [
        "ALTER TABLE typed ALTER a_bigint TYPE double precision",
        "ALTER TABLE typed ALTER a_timestamp TYPE timestamp",
        "ALTER TABLE typed ALTER a_text TYPE varchar(2000)",
        "ALTER TABLE typed ALTER a_json TYPE json",
        "ALTER TABLE typed ALTER jetline_position TYPE numeric",
        "ALTER TABLE typed ALTER id ADD GENERATED ALWAYS AS IDENTITY",
        "CREATE RULE note AS ON INSERT TO typed DO ALSO NOTHING",
    ] {
        let mut contents = Vec::new();
        for new in [true, false] {
            let base = postgres().await;
            let dataset = declare(&base.database, "typed", TYPES).await;
            base.run(altered).await;
            let (base, epoch) = noting(base, "typed").await;
            let chunk = rows(&dataset, 1, &records());
            let chunk = if new { if_changed(chunk) } else { chunk };
            let outcome = base.ledger.chunks.commit(epoch.id, &dataset, vec![chunk]).await;
            assert_eq!(statements(&base).await.0, 0, "{altered}");
            contents.push(match outcome {
                Ok(outcome) => {
                    assert!(matches!(outcome, CommitOutcome::Committed(_)), "{outcome:?}");
                    content(&base, &dataset).await
                }
                Err(error) => error.to_string(),
            });
        }
        assert_eq!(contents[0], contents[1], "{altered}");
    }
}

#[tokio::test]
async fn table_with_row_security_is_not_copied_to() {
    let base = postgres().await;
    base.run(
        "DO $$ BEGIN CREATE ROLE jetline_copies LOGIN PASSWORD 'jetline_copies';
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
         GRANT ALL ON ALL TABLES IN SCHEMA public TO jetline_copies;
         ALTER TABLE products ENABLE ROW LEVEL SECURITY;
         CREATE POLICY all_rows ON products USING (true)",
    )
    .await;
    let (base, epoch) = noting(base, "products").await;
    base.run("GRANT INSERT ON noted TO jetline_copies").await;
    let user = base.connected_as("jetline_copies").await;
    assert_eq!(user.counts(&epoch, new_products(1, 0)).await, inserted(ROWS));
    let base = user.connected_again().await;
    assert_eq!(base.number("SELECT COUNT(*) FROM products").await, Some(ROWS));
}

#[tokio::test]
async fn rows_that_the_table_refuses_are_found_among_new_ones() {
    for fault in [
        "ALTER TABLE products ADD CHECK (id <> 70)",
        "CREATE UNIQUE INDEX one ON products ((CASE WHEN id IN (70, 71) THEN 0 ELSE id END))",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF new.id = 70 THEN RETURN NULL; END IF; RETURN new; END';
         CREATE TRIGGER refuse BEFORE INSERT ON products FOR EACH ROW EXECUTE FUNCTION refuse()",
    ] {
        let base = postgres().await;
        base.run(fault).await;
        let (base, epoch) = noting(base, "products").await;
        let chunk = new_products(1, 0);
        let outcome = base.ledger.chunks.commit(epoch.id, &products(), vec![chunk.clone()]).await;
        match outcome {
            Ok(outcome) => assert_eq!(outcome, CommitOutcome::NotWritten, "{fault}"),
            Err(error) => assert!(error.may_be_caused_by_row(), "{fault}: {error:?}"),
        }
        let refused = base.ledger.chunks.refused(&products(), chunk.rows).await.unwrap();
        assert_eq!(refused.len(), 1, "{fault}: {refused:?}");
        assert_eq!(base.number("SELECT COUNT(*) FROM products").await, Some(0), "{fault}");
    }
}
