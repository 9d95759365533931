//! Beginning, joining and ending epochs.

use std::io;

use jetline_core::{Epoch, EpochId, Mode};
use jetline_store::{
    CommitOutcome, Error,
    chunks::Admission,
    entities::{chunks, objects::State},
    epochs::BeginError,
};
use jetline_testkit::postgres::PostgresServer;

use crate::fixtures::{
    TestDatabase, already_committed, begin, both, chunk, complete, epoch_id, id, if_changed, lease,
    postgres, postgres_on, range, read, ready, register,
};

async fn in_force(base: &TestDatabase) -> Option<Epoch> {
    let current = base.ledger.epochs.current().await.unwrap()?;
    assert!(current.in_force);
    Some(current.epoch)
}

async fn refused(base: &TestDatabase, mode: Mode, seen: Option<EpochId>) -> Error {
    match base.ledger.epochs.begin(mode, seen, epoch_id(99), ready()).await {
        Err(BeginError::Ledger(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn first_epoch_begins_and_others_join_it() {
    for base in both().await {
        register(&base.ledger, 2).await;
        assert_eq!(in_force(&base).await, None);
        let first = begin(&base.ledger, Mode::Shared, None, 1).await;
        assert_eq!((first.id, first.mode), (epoch_id(1), Mode::Shared));
        assert_eq!((first.base, first.recovery), (id(1), id(3)));
        assert_eq!(in_force(&base).await.as_ref(), Some(&first));
        assert_eq!(begin(&base.ledger, Mode::Shared, None, 2).await, first);
        let other = Some(epoch_id(77));
        assert_eq!(begin(&base.ledger, Mode::Shared, other, 3).await, first);
    }
}

#[tokio::test]
async fn epoch_after_one_that_was_seen_is_joined_by_others() {
    for base in both().await {
        let (base, first) = base.with_objects(1).await;
        let seen = Some(first.id);
        let second = begin(&base.ledger, Mode::Shared, seen, 2).await;
        assert_eq!(second.id, epoch_id(2));
        assert_eq!(begin(&base.ledger, Mode::Shared, seen, 3).await, second);
        assert_eq!(in_force(&base).await, Some(second));
    }
}

#[tokio::test]
async fn epoch_of_a_dump_that_is_restored_while_the_server_runs_is_not_in_force() {
    for restore in [
        "CREATE TABLE saved AS TABLE epoch; TRUNCATE epoch; INSERT INTO epoch SELECT * FROM saved",
        "ALTER TABLE epoch RENAME TO saved; CREATE TABLE epoch (LIKE saved INCLUDING ALL);
         INSERT INTO epoch SELECT * FROM saved",
    ] {
        let (base, first) = postgres().await.with_objects(1).await;
        for statement in restore.split(';') {
            base.run(statement).await;
        }
        let current = base.ledger.epochs.current().await.unwrap().unwrap();
        assert_eq!((current.in_force, current.epoch.id), (false, first.id), "{restore}");
        let second = begin(&base.ledger, Mode::Shared, None, 2).await;
        assert_eq!(second.id, epoch_id(2));
        assert_eq!(in_force(&base).await, Some(second));
    }
}

#[tokio::test]
async fn epoch_that_the_dedup_store_fails_to_begin_has_not_begun() {
    for base in both().await {
        let (base, first) = base.with_objects(1).await;
        base.counts(&first, chunk(1, 0, &[(1, "a")])).await;
        let broken = async { Err(io::Error::other("unavailable")) };
        let began = base.ledger.epochs.begin(Mode::Shared, Some(first.id), epoch_id(2), broken);
        assert!(matches!(began.await, Err(BeginError::Dedup(_))));
        assert_eq!(in_force(&base).await.as_ref(), Some(&first));
        assert_eq!(base.chunks().await[0].state, chunks::State::Committed);
        // The lock is released.
        assert_eq!(base.commit(&first, &[chunk(1, 0, &[(1, "a")])]).await, already_committed());
    }
}

#[tokio::test]
async fn new_epoch_forgets_chunks_that_are_not_settled_and_keeps_their_counts() {
    for base in both().await {
        let (base, first) = base.with_objects(4).await;
        for (object, title) in [(1, "a"), (2, "b"), (4, "d")] {
            base.counts(&first, chunk(object, 0, &[(object, title)])).await;
        }
        for lines in [1, 5, 5, 1] {
            read(&base.ledger, &complete(lines)).await;
        }
        assert_eq!(base.settle().await.len(), 2);
        assert_eq!(base.object(4).await.state, State::Done);

        let next = begin(&base.ledger, Mode::Shared, Some(first.id), 2).await;
        assert_eq!((next.base, next.recovery), (id(2), id(5)));
        assert_eq!(base.object(1).await.state, State::Done);
        let reopened = base.object(4).await;
        assert_eq!((reopened.state, reopened.done_at), (State::Loading, None));
        let left = base.chunks().await;
        let left = left.iter().map(|chunk| (chunk.object_id, chunk.state));
        let forgotten = chunks::State::Forgotten;
        assert_eq!(left.collect::<Vec<_>>(), [(2, forgotten), (4, forgotten)]);
        assert_eq!(base.gaps(4, Some(10)).await.len(), 1);
        for object in [1, 2, 4] {
            assert_eq!(base.status(object).await.inserted, 1);
        }
        // The chunks are committed again, and counted once.
        base.counts(&next, chunk(4, 0, &[(4, "d")])).await;
        assert_eq!(base.settle().await.len(), 1);
        let status = base.status(4).await;
        assert_eq!((status.state, status.inserted), (State::Done, 1));
        assert_eq!(status.lines(), 1);
    }
}

#[tokio::test]
async fn epoch_ends_only_by_a_caller_that_saw_it() {
    for base in both().await {
        let (base, first) = base.with_objects(1).await;
        base.ledger.epochs.end(epoch_id(77), epoch_id(2)).await.unwrap();
        assert_eq!(in_force(&base).await, Some(first.clone()));
        base.ledger.epochs.end(first.id, epoch_id(2)).await.unwrap();
        assert_eq!(in_force(&base).await.unwrap().id, epoch_id(2));
        let outcome = base.commit(&first, &[chunk(1, 0, &[(1, "a")])]).await;
        assert_eq!(outcome, CommitOutcome::EpochEnded);
    }
}

#[tokio::test]
async fn mode_changes_only_when_everything_is_settled() {
    for base in both().await {
        let (base, epoch) = base.with_objects(1).await;
        for mode in [Mode::Off, Mode::InOrder] {
            let error = refused(&base, mode, None).await;
            assert!(
                matches!(error, Error::ModeMismatch { theirs: Mode::Shared, ours } if ours == mode)
            );
        }
        base.counts(&epoch, chunk(1, 0, &[(1, "a")])).await;
        read(&base.ledger, &complete(1)).await;
        base.settle().await;
        let off = begin(&base.ledger, Mode::Off, None, 2).await;
        assert_eq!((off.mode, off.base), (Mode::Off, id(2)));
        let outcome = base.commit(&epoch, &[chunk(1, 0, &[(1, "a")])]).await;
        assert_eq!(outcome, CommitOutcome::EpochEnded);
    }
}

#[tokio::test]
async fn process_in_order_reopens_objects_and_takes_over_from_the_one_before() {
    for base in both().await {
        register(&base.ledger, 3).await;
        let first = begin(&base.ledger, Mode::InOrder, None, 1).await;
        base.counts(&first, chunk(1, 0, &[(1, "a")])).await;
        read(&base.ledger, &complete(2)).await;
        assert_eq!(lease(&base.ledger, "me").await.unwrap().id, id(2));

        let second = begin(&base.ledger, Mode::InOrder, None, 2).await;
        assert_eq!(second.id, epoch_id(2));
        for object in [1, 2] {
            let object = base.object(object).await;
            assert_eq!((object.state, object.lease_owner), (State::Registered, None));
        }
        // Commits are kept.
        assert_eq!(base.chunks().await[0].state, chunks::State::Committed);
        let outcome = base.commit(&first, &[chunk(1, 1, &[(1, "b")])]).await;
        assert_eq!(outcome, CommitOutcome::EpochEnded);
        let error = refused(&base, Mode::InOrder, Some(first.id)).await;
        assert!(matches!(error, Error::TakenOver), "{error:?}");
        assert_eq!(in_force(&base).await, Some(second.clone()));
        // Other modes may follow at once: its commits are to be repeated.
        let shared = begin(&base.ledger, Mode::Shared, None, 3).await;
        assert_eq!((shared.mode, shared.base), (Mode::Shared, id(1)));
        assert_eq!(base.chunks().await[0].state, chunks::State::Forgotten);
    }
}

#[tokio::test]
async fn unchanged_row_is_written_in_order_while_an_older_object_is_to_be_read() {
    for base in both().await {
        register(&base.ledger, 3).await;
        let epoch = begin(&base.ledger, Mode::InOrder, None, 1).await;
        // A, then B in lines that are committed late, and A again in a newer object.
        base.counts(&epoch, if_changed(chunk(1, 0, &[(1, "A")]))).await;
        let newer = base.counts(&epoch, if_changed(chunk(2, 0, &[(1, "A")]))).await;
        assert_eq!(newer.unchanged, 1);
        let late = base.counts(&epoch, if_changed(chunk(1, 1, &[(1, "B")]))).await;
        assert_eq!(late.superseded, 1);
        assert_eq!(base.product(1).await.unwrap().0, "A");
        // In order the row is not written.
        let position = base.position("products", 1).await;
        read(&base.ledger, &complete(2)).await;
        read(&base.ledger, &complete(1)).await;
        let last = base.counts(&epoch, if_changed(chunk(3, 0, &[(1, "A")]))).await;
        assert_eq!(last.unchanged, 1);
        assert_eq!(base.position("products", 1).await, position);
    }
}

/// As if the process before had read it to its end, and found only then that this one took over.
#[tokio::test]
async fn unchanged_row_is_written_in_order_while_an_older_object_lacks_chunks() {
    for base in both().await {
        register(&base.ledger, 3).await;
        let epoch = begin(&base.ledger, Mode::InOrder, None, 1).await;
        base.counts(&epoch, if_changed(chunk(1, 0, &[(1, "A")]))).await;
        read(&base.ledger, &complete(1)).await;
        read(&base.ledger, &complete(1)).await;
        let position = base.position("products", 1).await;
        base.counts(&epoch, if_changed(chunk(3, 0, &[(1, "A")]))).await;
        assert_ne!(base.position("products", 1).await, position);
        let next = begin(&base.ledger, Mode::InOrder, None, 2).await;
        let late = base.counts(&next, if_changed(chunk(2, 0, &[(1, "B")]))).await;
        assert_eq!(late.superseded, 1);
        assert_eq!(base.product(1).await.unwrap().0, "A");
    }
}

/// As after a restore or a failover: commits may have been undone.
#[tokio::test]
async fn restarted_database_server_ends_the_epoch() {
    let mut server = PostgresServer::start_with(&[("fsync", "off")]).unwrap();
    let (base, epoch) = postgres_on(&server).await.with_objects(1).await;
    server.restart().unwrap();
    let base = base.connected_again().await;
    assert!(!base.ledger.epochs.current().await.unwrap().unwrap().in_force);
    let admitted = base.ledger.chunks.admit(epoch.id, &[&range(1, 0, 1)]).await;
    assert_eq!(admitted.unwrap(), Admission::EpochEnded);
    let outcome = base.commit(&epoch, &[chunk(1, 0, &[(1, "a")])]).await;
    assert_eq!(outcome, CommitOutcome::EpochEnded);
    let next = begin(&base.ledger, Mode::Shared, None, 2).await;
    assert_eq!(next.id, epoch_id(2));
    assert_eq!(in_force(&base).await, Some(next));
}

/// The server recovers without a restart: its start time stays.
#[tokio::test]
async fn killed_backend_ends_the_epoch() {
    let mut server = PostgresServer::start_with(&[("fsync", "off")]).unwrap();
    let (base, epoch) = postgres_on(&server).await.with_objects(1).await;
    let start_time = "SELECT pg_postmaster_start_time()::text";
    let started_at = base.text(start_time).await;
    let pid = base.number("SELECT pg_backend_pid()::bigint").await.unwrap();
    server.kill_backend(i32::try_from(pid).unwrap()).unwrap();
    let base = base.connected_again().await;
    assert_eq!(base.text(start_time).await, started_at);
    assert!(!base.ledger.epochs.current().await.unwrap().unwrap().in_force);
    let outcome = base.commit(&epoch, &[chunk(1, 0, &[(1, "a")])]).await;
    assert_eq!(outcome, CommitOutcome::EpochEnded);
    let next = begin(&base.ledger, Mode::Shared, None, 2).await;
    assert_eq!(in_force(&base).await, Some(next));
}

#[tokio::test]
async fn schema_that_lacks_the_last_table_is_refused() {
    let base = postgres().await;
    base.database.check_schema().await.unwrap();
    base.run("DROP TABLE epoch_unlogged").await;
    let error = base.database.check_schema().await.unwrap_err();
    assert!(error.to_string().contains("run jetline-migrate"), "{error}");
}
