//! Concurrent writers.

use std::time::Duration;

use chrono::Utc;
use jetline_core::{Counts, Mode, Position};
use jetline_store::{ChunkOutcome, CommitOutcome, Database, Ledger};
use sea_orm::{ConnectionTrait, TransactionTrait};

use crate::fixtures::{
    NO_COUNTS, TestDatabase, already_committed, begin, both, chunk, complete, counts_of, epoch_id,
    id, if_changed, postgres, products, read, sqlite,
};

fn is_first(outcome: &CommitOutcome) -> bool {
    matches!(outcome, CommitOutcome::Committed(chunks) if matches!(chunks[..], [ChunkOutcome::Committed(_)]))
}

/// Waits until this many sessions wait for a lock.
async fn until_waiting(base: &TestDatabase, sessions: i64) {
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while base.number(waiting).await != Some(sessions) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_writers_commits_a_chunk_and_the_other_finds_it_committed() {
    for base in both().await {
        let (base, epoch) = base.with_objects(1).await;
        for line in 0..30 {
            let chunk = chunk(1, line, &[(i64::from(line) + 1, "a")]);
            let two = [(); 2].map(|()| base.spawn_commit(&epoch, chunk.clone()));
            let mut first = 0;
            for one in two {
                let outcome = one.await.unwrap();
                if is_first(&outcome) {
                    first += 1;
                } else if outcome == CommitOutcome::Raced {
                    assert_eq!(
                        base.commit(&epoch, std::slice::from_ref(&chunk)).await,
                        already_committed()
                    );
                } else {
                    assert_eq!(outcome, already_committed());
                }
            }
            assert_eq!(first, 1);
        }
        let status = base.status(1).await;
        assert_eq!((status.inserted, status.lines()), (30, 30));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writer_whose_chunk_is_committed_after_its_check_writes_nothing() {
    let (base, epoch) = postgres().await.with_objects(1).await;
    // Both writers check the ledger, find no entry, and wait for this row.
    let tx = base.db().begin().await.unwrap();
    let insert = "INSERT INTO products VALUES ('', 1, now(), 5, 't', 1, 'c', 'b', 'u', 'd')";
    tx.execute_unprepared(insert).await.unwrap();
    let chunk = chunk(1, 0, &[(5, "a")]);
    let two = [(); 2].map(|()| base.spawn_commit(&epoch, chunk.clone()));
    until_waiting(&base, 2).await;
    tx.rollback().await.unwrap();
    let mut outcomes = Vec::new();
    for one in two {
        outcomes.push(one.await.unwrap());
    }
    outcomes.sort_by_key(|outcome| !is_first(outcome));
    assert!(is_first(&outcomes[0]), "{outcomes:?}");
    assert_eq!(outcomes[1], CommitOutcome::Raced);
    assert_eq!(base.commit(&epoch, &[chunk]).await, already_committed());
    assert_eq!(base.status(1).await.inserted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_that_another_writer_raises_concurrently_keeps_its_higher_rank() {
    let (base, epoch) = postgres().await.with_objects(3).await;
    base.counts(&epoch, chunk(1, 0, &[(5, "first")])).await;
    let tx = base.db().begin().await.unwrap();
    let raise =
        "UPDATE products SET jetline_position = 3::bigint << 32, title = 'last' WHERE id = 5";
    tx.execute_unprepared(raise).await.unwrap();
    let late = base.spawn_commit(&epoch, if_changed(chunk(2, 0, &[(5, "second")])));
    until_waiting(&base, 1).await;
    tx.commit().await.unwrap();
    let counts = counts_of(&late.await.unwrap());
    assert_eq!((counts.superseded, counts.lines()), (1, 1));
    assert_eq!(base.product(5).await.unwrap().0, "last");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_another_writer_inserts_concurrently_are_counted_by_outcome() {
    let (base, epoch) = postgres().await.with_objects(3).await;
    let chunks = [chunk(2, 0, &[(5, "same"), (7, "low")]), chunk(2, 2, &[(6, "new"), (8, "only")])];
    let tx = base.db().begin().await.unwrap();
    let same = chunks[0].rows[0].row.fingerprint;
    for (fingerprint, object, id, title) in [
        (same.to_string(), 1, 5, "same"),
        ("01".repeat(16), 1, 6, "old"),
        ("02".repeat(16), 3, 7, "high"),
    ] {
        let insert = format!(
            "INSERT INTO products VALUES ('\\x{fingerprint}', {object}::bigint << 32, '2020-01-01', {id}, '{title}',
                 7072.16, 'c', 'b', 'u', 'd')"
        );
        tx.execute_unprepared(&insert).await.unwrap();
    }
    let (ledger, upsert_row) = (base.ledger.clone(), chunks.to_vec());
    let meanwhile =
        tokio::spawn(async move { ledger.chunks.commit(epoch.id, &products(), upsert_row).await });
    // It has read the stored rows, and found none of them.
    until_waiting(&base, 1).await;
    tx.commit().await.unwrap();
    let first = Counts { unchanged: 1, superseded: 1, ..NO_COUNTS };
    let second = Counts { inserted: 1, updated: 1, ..NO_COUNTS };
    let committed = [first, second].map(ChunkOutcome::Committed).to_vec();
    let outcome = meanwhile.await.unwrap().unwrap();
    assert_eq!(outcome, CommitOutcome::Committed(committed));
    let position = |line| Some(Position::new(id(2), line).get());
    assert_eq!(base.position("products", 5).await, position(1));
    assert_eq!(base.position("products", 6).await, position(3));
    assert_eq!(base.product(7).await.unwrap().0, "high");
    let (_, kept) = base.product(5).await.unwrap();
    assert_eq!(kept.to_rfc3339(), "2020-01-01T00:00:00+00:00");
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_with_the_same_ids_in_opposite_order_do_not_deadlock() {
    for base in both().await {
        let (base, epoch) = base.with_objects(1).await;
        let ids: Vec<(i64, &str)> = (1..=300).map(|id| (id, "a")).collect();
        let opposite: Vec<_> = ids.iter().rev().copied().collect();
        for round in 0..8 {
            let chunks = [&ids, &opposite, &ids, &opposite];
            let commits = (round * 4..)
                .zip(chunks)
                .map(|(part, ids)| base.spawn_commit(&epoch, chunk(1, part * 300, ids)));
            for commit in commits.collect::<Vec<_>>() {
                let outcome = commit.await.unwrap();
                assert!(is_first(&outcome), "{outcome:?}");
            }
        }
        let status = base.status(1).await;
        assert_eq!((status.lines(), status.inserted), (8 * 4 * 300, 300));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn epoch_does_not_end_in_the_middle_of_a_commit() {
    let (base, epoch) = postgres().await.with_objects(1).await;
    let tx = base.db().begin().await.unwrap();
    let insert = "INSERT INTO products VALUES ('', 1, now(), 5, 't', 1, 'c', 'b', 'u', 'd')";
    tx.execute_unprepared(insert).await.unwrap();
    let within = base.spawn_commit(&epoch, chunk(1, 0, &[(5, "a")]));
    until_waiting(&base, 1).await;
    let (ledger, seen) = (base.ledger.clone(), epoch.id);
    let next = tokio::spawn(async move { begin(&ledger, Mode::Shared, Some(seen), 2).await });
    until_waiting(&base, 2).await;
    let second = base.spawn_commit(&epoch, chunk(1, 1, &[(6, "b")]));
    until_waiting(&base, 3).await;
    tx.rollback().await.unwrap();
    assert!(is_first(&within.await.unwrap()));
    assert_eq!(next.await.unwrap().id, epoch_id(2));
    assert_eq!(second.await.unwrap(), CommitOutcome::EpochEnded);
    assert_eq!(base.product(6).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_write_to_one_file() {
    let (base, epoch) = sqlite().await.with_objects(2).await;
    let other = Ledger::new(&Database::connect(&base.url, 4).await.unwrap(), Utc::now);
    read(&base.ledger, &complete(400)).await;
    let looks = tokio::spawn(async move {
        let mut ended = Vec::new();
        while ended.is_empty() {
            ended = other.objects.settle(epoch_id(9), None).await.unwrap();
        }
        ended.len()
    });
    let commits = (0..40).map(|part| {
        let ids: Vec<_> = (0..10).map(|id| (i64::from(part * 7 + id) + 1, "a")).collect();
        base.spawn_commit(&epoch, chunk(1, part * 10, &ids))
    });
    for commit in commits.collect::<Vec<_>>() {
        assert!(is_first(&commit.await.unwrap()));
    }
    assert_eq!(looks.await.unwrap(), 1);
    assert_eq!(base.status(1).await.lines(), 400);
}
