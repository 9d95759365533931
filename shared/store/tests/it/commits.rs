//! The rows and counts of commits.

use jetline_core::{Counts, Mode, Position};
use jetline_datasets::Reason;
use jetline_store::{
    ChunkOutcome, CommitOutcome, Error, RejectedLine,
    entities::{objects, rejected_lines},
};
use jetline_testkit::postgres::PostgresServer;
use sea_orm::{EntityTrait, QueryOrder};

use crate::fixtures::{
    NO_COUNTS, TestDatabase, begin, both, chunk, complete, id, if_changed, postgres, postgres_on,
    products, read, register, rejected_line, unchanged,
};

fn inserted(inserted: u64) -> Counts {
    Counts { inserted, ..NO_COUNTS }
}

pub(crate) fn rejected(line: u32, message: &str, raw: &[u8]) -> RejectedLine {
    rejected_line(line, Reason::InvalidUtf8, message, raw)
}

async fn rejects(base: &TestDatabase) -> Vec<rejected_lines::Model> {
    let all = rejected_lines::Entity::find().order_by_asc(rejected_lines::Column::Line);
    all.all(base.db()).await.unwrap()
}

#[tokio::test]
async fn new_ids_are_inserted_and_other_contents_updated() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        let counts = base.counts(&epoch, chunk(1, 0, &[(7, "a"), (3, "b"), (5, "c")])).await;
        assert_eq!(counts, inserted(3));
        let (title, before) = base.product(3).await.unwrap();
        assert_eq!(title, "b");

        let counts = base.counts(&epoch, chunk(2, 0, &[(3, "b2"), (4, "d")])).await;
        let expected = Counts { inserted: 1, updated: 1, ..NO_COUNTS };
        assert_eq!(counts, expected);
        let (title, after) = base.product(3).await.unwrap();
        assert_eq!(title, "b2");
        assert!(after > before);
        let position = Position::new(id(2), 1).get();
        assert_eq!(base.position("products", 3).await, Some(position));
    }
}

#[tokio::test]
async fn row_with_the_same_content_takes_the_new_position_and_keeps_its_time() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        base.counts(&epoch, chunk(1, 0, &[(1, "a")])).await;
        let before = base.product(1).await;
        let counts = base.counts(&epoch, chunk(2, 0, &[(1, "a")])).await;
        let expected = Counts { unchanged: 1, ..NO_COUNTS };
        assert_eq!(counts, expected);
        assert_eq!(base.product(1).await, before);
        let position = Position::new(id(2), 1).get();
        assert_eq!(base.position("products", 1).await, Some(position));
    }
}

#[tokio::test]
async fn row_with_the_same_content_is_not_written_if_changed_only() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        let first = if_changed(chunk(1, 0, &[(1, "a"), (2, "b")]));
        assert_eq!(base.counts(&epoch, first).await, inserted(2));
        let second = if_changed(chunk(2, 0, &[(1, "a"), (2, "b2"), (3, "c")]));
        let expected = Counts { inserted: 1, updated: 1, unchanged: 1, ..NO_COUNTS };
        assert_eq!(base.counts(&epoch, second).await, expected);
        let position = |object, line| Some(Position::new(id(object), line).get());
        assert_eq!(base.position("products", 1).await, position(1, 1));
        assert_eq!(base.position("products", 2).await, position(2, 2));
    }
}

#[tokio::test]
async fn line_of_a_lower_position_is_superseded_whatever_its_verdict() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        base.counts(&epoch, chunk(2, 0, &[(1, "late"), (2, "late")])).await;
        let before = base.product(1).await;
        let expected = Counts { superseded: 2, ..NO_COUNTS };
        let early = chunk(1, 0, &[(1, "early"), (2, "late")]);
        assert_eq!(base.counts(&epoch, early).await, expected);
        let early = if_changed(chunk(1, 2, &[(1, "early"), (2, "late")]));
        assert_eq!(base.counts(&epoch, early).await, expected);
        assert_eq!(base.product(1).await, before);
        let position = Position::new(id(2), 1).get();
        assert_eq!(base.position("products", 1).await, Some(position));
    }
}

#[tokio::test]
async fn line_that_was_written_before_is_unchanged() {
    for base in both().await {
        let (base, epoch) = base.with_objects(1).await;
        base.counts(&epoch, chunk(1, 0, &[(1, "a")])).await;
        base.run("DELETE FROM chunks").await;
        let expected = Counts { unchanged: 1, ..NO_COUNTS };
        assert_eq!(base.counts(&epoch, chunk(1, 0, &[(1, "a")])).await, expected);
        base.run("DELETE FROM chunks").await;
        let same = if_changed(chunk(1, 0, &[(1, "a")]));
        assert_eq!(base.counts(&epoch, same).await, expected);
    }
}

#[tokio::test]
async fn all_lines_of_a_chunk_are_counted_in_its_entry() {
    for base in both().await {
        let (base, epoch) = base.with_objects(1).await;
        let mut mixed = chunk(1, 0, &[(1, "a"), (2, "b")]);
        mixed.range.lines = 10;
        mixed.range.end = 100;
        mixed.unchanged = 3;
        mixed.superseded = 4;
        mixed.rejected = vec![rejected(5, "m", b"x")];
        let expected =
            Counts { inserted: 2, unchanged: 3, superseded: 4, rejected: 1, ..NO_COUNTS };
        assert_eq!(expected.lines(), 10);
        assert_eq!(base.counts(&epoch, mixed).await, expected);
        let status = base.status(1).await;
        assert_eq!((status.lines(), status.committed_bytes), (10, 100));
        assert_eq!((status.inserted, status.rejected), (2, 1));
    }
}

#[tokio::test]
async fn several_chunks_of_several_objects_are_one_commit() {
    for base in both().await {
        let (base, epoch) = base.with_objects(3).await;
        base.counts(&epoch, chunk(2, 0, &[(1, "a")])).await;
        let chunks = [
            chunk(3, 0, &[(9, "i"), (1, "z")]),
            chunk(1, 0, &[(8, "h"), (7, "g")]),
            unchanged(2, 1, 4),
            chunk(2, 5, &[(2, "b")]),
        ];
        let outcome = base.commit(&epoch, &chunks).await;
        let committed = ChunkOutcome::Committed;
        let first = Counts { inserted: 1, updated: 1, ..NO_COUNTS };
        let fourth = Counts { unchanged: 4, ..NO_COUNTS };
        let expected = vec![
            committed(first),
            committed(inserted(2)),
            committed(fourth),
            committed(inserted(1)),
        ];
        assert_eq!(outcome, CommitOutcome::Committed(expected));
        assert_eq!(base.chunks().await.len(), 5);
        assert_eq!(base.number("SELECT COUNT(*) FROM products").await, Some(5));
    }
}

/// The repeated chunk may have lines that the database refused: lines that they supersede would be missing.
#[tokio::test]
async fn repeated_chunk_is_reported_before_anything_is_written() {
    for base in both().await {
        let (base, epoch) = base.with_objects(2).await;
        let before = chunk(2, 0, &[(1, "a")]);
        base.counts(&epoch, before.clone()).await;
        let new = chunk(1, 0, &[(2, "b")]);
        let outcome = base.commit(&epoch, &[new, before.clone()]).await;
        assert_eq!(outcome, CommitOutcome::Repeated(vec![before.range]));
        assert_eq!(base.number("SELECT COUNT(*) FROM products").await, Some(1));
    }
}

#[tokio::test]
async fn empty_commit_does_nothing() {
    for base in both().await {
        let (base, epoch) = base.with_objects(1).await;
        let outcome = base.commit(&epoch, &[]).await;
        assert_eq!(outcome, CommitOutcome::Committed(Vec::new()));
    }
}

#[tokio::test]
async fn rejected_line_is_stored_byte_by_byte() {
    for base in both().await {
        let (base, epoch) = base.with_objects(1).await;
        let mut bad = chunk(1, 0, &[]);
        bad.range.lines = 2_500;
        bad.range.end = 25_000;
        bad.rejected = (1..=2_500).map(|line| rejected(line, "m", b"")).collect();
        bad.rejected[0] = rejected(1, "a \0 stands at column 2", &[0xff, 0, b'a', 0xc3]);
        let counts = base.counts(&epoch, bad.clone()).await;
        assert_eq!(counts.rejected, 2_500);
        let rejects = rejects(&base).await;
        assert_eq!(rejects.len(), 2_500);
        assert_eq!(rejects[0].raw, [0xff, 0, b'a', 0xc3]);
        assert_eq!(rejects[0].message, "a \u{fffd} stands at column 2");
        assert_eq!(rejects[0].reason, "invalid_utf8");
        assert_eq!((rejects[9].line, rejects[9].byte_offset), (10, 90));
        // A commit in a new epoch replaces them.
        base.run("UPDATE chunks SET state = 'forgotten'").await;
        assert_eq!(base.counts(&epoch, bad).await.rejected, 2_500);
    }
}

#[tokio::test]
async fn value_that_the_database_does_not_accept_rolls_everything_back() {
    for base in both().await {
        base.run("CREATE UNIQUE INDEX one_title ON products (title)").await;
        let (base, epoch) = base.with_objects(1).await;
        base.counts(&epoch, chunk(1, 0, &[(1, "taken")])).await;
        let mut bad = chunk(1, 1, &[(2, "free"), (3, "taken")]);
        bad.rejected = vec![rejected(9, "m", b"x")];

        let outcome = base.ledger.chunks.commit(epoch.id, &products(), vec![bad]).await;
        assert!(matches!(outcome, Err(Error::Data { .. })), "{outcome:?}");

        assert_eq!(base.number("SELECT COUNT(*) FROM products").await, Some(1));
        assert_eq!(base.chunks().await.len(), 1);
        assert_eq!(rejects(&base).await, []);
    }
}

/// A deferred constraint of one of the tables fails at the commit.
#[tokio::test]
async fn commit_that_one_table_refuses_is_rolled_back() {
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN RAISE serialization_failure; END'";
    let tables = ["products", "rejected_lines", "chunks"];
    for refusing in tables {
        let (base, epoch) = postgres().await.with_objects(1).await;
        let mut lines = chunk(1, 0, &[(1, "a")]);
        lines.rejected = vec![rejected(2, "m", b"x")];
        base.run(refuse).await;
        base.run(&format!(
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON {refusing} DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION refuse()"
        ))
        .await;
        let products = products();
        let refused = base.ledger.chunks.commit(epoch.id, &products, vec![lines.clone()]).await;
        assert!(refused.is_err(), "{refusing}: {refused:?}");
        for table in tables {
            let count = base.number(&format!("SELECT COUNT(*) FROM {table}")).await;
            assert_eq!(count, Some(0), "{table}, although {refusing} refused");
        }
        base.run(&format!("DROP TRIGGER refuse ON {refusing}")).await;
        let again = base.counts(&epoch, lines).await;
        assert_eq!((again.inserted, again.rejected, again.lines()), (1, 1, 2));
    }
}

/// How a transaction commits is seen by triggers of the tables that it writes.
#[tokio::test]
async fn only_commits_of_chunks_in_shared_mode_do_not_wait_for_the_disk() {
    let replicated = [("synchronous_standby_names", "replica"), ("synchronous_commit", "local")];
    let servers: [(&[_], _, _); 3] = [
        (&[], "on", "off"),
        (&[("synchronous_commit", "off")], "off", "off"),
        (&replicated, "local", "local"),
    ];
    for (settings, default, of_shared) in servers {
        let server = PostgresServer::start_with(settings).unwrap();
        for mode in [Mode::Shared, Mode::Off, Mode::InOrder] {
            let base = postgres_on(&server).await;
            register(&base.ledger, 1).await;
            base.run(
                "CREATE TABLE seen (of_table TEXT PRIMARY KEY, setting TEXT);
                 CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
                     'BEGIN INSERT INTO seen VALUES (TG_TABLE_NAME, current_setting(''synchronous_commit''))
                          ON CONFLICT (of_table) DO UPDATE SET setting = excluded.setting; RETURN NULL; END';
                 CREATE TRIGGER see AFTER INSERT ON epoch FOR EACH ROW EXECUTE FUNCTION see();
                 CREATE TRIGGER see AFTER INSERT ON chunks FOR EACH ROW EXECUTE FUNCTION see();
                 CREATE TRIGGER see AFTER UPDATE ON objects FOR EACH ROW EXECUTE FUNCTION see();",
            )
            .await;
            let seen = async || {
                let all = "SELECT string_agg(of_table || ' ' || setting, ', ' ORDER BY of_table) FROM seen";
                base.text(all).await
            };
            let durable = if default == "off" { "on" } else { default };
            let of_chunks = if mode == Mode::Shared { of_shared } else { default };
            let epoch = begin(&base.ledger, mode, None, 1).await;
            base.counts(&epoch, chunk(1, 0, &[(1, "a")])).await;
            assert_eq!(seen().await, format!("chunks {of_chunks}, epoch {durable}"));
            read(&base.ledger, &complete(1)).await;
            base.run("DELETE FROM seen").await;
            assert_eq!(base.settle().await.len(), 1);
            assert_eq!(seen().await, format!("objects {durable}"));
        }
    }
}

/// Where the server crashes, rows and ledger entries of the last commits are lost together, or not at all; those of an object
/// that has ended stay.
#[tokio::test]
async fn crash_of_the_server_takes_rows_back_with_their_ledger_entries() {
    let mut server = PostgresServer::start_with(&[("wal_writer_delay", "10s")]).unwrap();
    let (base, epoch) = postgres_on(&server).await.with_objects(2).await;
    base.counts(&epoch, chunk(1, 0, &[(1, "a")])).await;
    read(&base.ledger, &complete(1)).await;
    assert_eq!(base.settle().await.len(), 1);
    base.counts(&epoch, chunk(2, 0, &[(2, "b")])).await;
    server.crash().unwrap();
    let base = base.connected_again().await;
    assert!(base.product(1).await.is_some());
    assert_eq!(base.object(1).await.state, objects::State::Done);
    let entries = base.chunks().await;
    assert_eq!(entries.len(), usize::from(base.product(2).await.is_some()));
    assert!(!base.ledger.epochs.current().await.unwrap().unwrap().in_force);
    let next = begin(&base.ledger, Mode::Shared, Some(epoch.id), 2).await;
    base.counts(&next, chunk(2, 0, &[(2, "b")])).await;
    assert!(base.product(2).await.is_some());
}
