//! A writer with chunks that are redelivered, refused or stale, and writers that crash or meet others.

use jetline_core::Mode;
use jetline_dedup::WithoutStore;
use jetline_queue::{Chunk, InProcess, JetStream, JetStreamConfig, Queue, Wakeup};
use jetline_store::{
    Error as StoreError,
    entities::{objects, rejected_lines},
};
use jetline_testkit::nats;
use jetline_writer::{Error, commit::Committer, epochs::Epochs, failure::FailureAction};
use sea_orm::{ConnectionTrait, EntityTrait};
use std::sync::Arc;

use crate::{
    doubles::{CountingQueue, Gated},
    fixtures::{
        RunningWriter, database, dedup, drained, entries, epoch, eventually, object, product,
        publish, row_of, settle, title, titles,
    },
};

#[tokio::test]
async fn redelivered_chunk_changes_nothing() {
    let (_database, ledger) = database("redelivered").await;
    let queue = Arc::new(jetstream("redelivered").await);
    let dedup = dedup("redelivered").await;
    let lines = [product(1, "a"), "nonsense".to_owned(), product(1, "b")];
    let chunks = object(&ledger, "1", &[&lines, &[product(2, "c")]]).await;
    let writer = RunningWriter::start(queue.clone(), dedup, &ledger);
    publish(&*queue, &chunks).await;
    drained(&*queue, chunks[0].object).await;
    let before = titles(&ledger).await;
    publish(&*queue, &read_again(&chunks, "second")).await;
    drained(&*queue, chunks[0].object).await;
    assert_eq!(titles(&ledger).await, before);
    settle(&ledger).await;
    publish(&*queue, &read_again(&chunks, "third")).await;
    drained(&*queue, chunks[0].object).await;
    assert_eq!(titles(&ledger).await, before);
    let row = row_of(&ledger, chunks[0].object).await;
    assert_eq!(row.state, objects::State::Done);
    assert_eq!(counts(&row), [2, 0, 0, 1, 1]);
    writer.stop().await;
}

fn read_again(chunks: &[Chunk], attempt: &str) -> Vec<Chunk> {
    let mut again = chunks.to_vec();
    for chunk in &mut again {
        attempt.clone_into(&mut chunk.read_attempt);
    }
    again
}

fn counts(row: &objects::Model) -> [i64; 5] {
    [row.inserted, row.updated, row.unchanged, row.superseded, row.rejected]
}

async fn jetstream(name: &str) -> JetStream {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        queue: JetStreamConfig,
    }
    let stream = nats::unique_stream(name);
    let cli: Cli = clap::Parser::parse_from(["it", "--nats-stream", &stream]);
    JetStream::connect(&[nats::shared()], &cli.queue, None).await.unwrap()
}

#[tokio::test]
async fn chunk_that_is_delivered_twice_in_one_batch_is_committed_once() {
    let (_database, ledger) = database("twice").await;
    let (queue, dedup) = (CountingQueue::new(), dedup("twice").await);
    let chunks = object(&ledger, "1", &[&[product(1, "a")]]).await;
    publish(&*queue, &[chunks.clone(), chunks.clone()].concat()).await;
    let writer = RunningWriter::start(queue.clone(), dedup, &ledger);
    drained(&*queue, chunks[0].object).await;
    writer.stop().await;
    settle(&ledger).await;
    let row = row_of(&ledger, chunks[0].object).await;
    assert_eq!(counts(&row), [1, 0, 0, 0, 0]);
}

#[tokio::test]
async fn batch_whose_lines_take_too_much_memory_is_committed_in_parts() {
    let (_database, ledger) = database("parts").await;
    let queue = Arc::new(InProcess::new(1 << 20));
    let blank = vec![String::new(); 40_000];
    let few = [product(1, "a")];
    let chunks = object(&ledger, "1", &[&few, &blank, &blank, &few]).await;
    publish(&*queue, &chunks).await;
    let writer = RunningWriter::start(queue.clone(), dedup("parts").await, &ledger);
    drained(&*queue, chunks[0].object).await;
    let mut entries = entries(&ledger).await;
    entries.sort_by_key(|entry| entry.start_offset);
    let commits: Vec<_> = entries.iter().map(|entry| entry.committed_at).collect();
    assert_eq!(commits.len(), 4);
    assert!(commits[0] == commits[1] && commits[2] == commits[3]);
    assert!(commits[1] < commits[2], "{commits:?}");
    settle(&ledger).await;
    let row = row_of(&ledger, chunks[0].object).await;
    assert_eq!((row.state, row.total_lines), (objects::State::Done, Some(80_002)));
    writer.stop().await;
}

#[tokio::test]
async fn writer_that_dies_between_claim_and_commit_loses_nothing() {
    let (_database, ledger) = database("claimed").await;
    let (queue, dedup) = (CountingQueue::new(), dedup("claimed").await);
    let chunks = object(&ledger, "1", &[&[product(1, "a"), product(2, "b")]]).await;
    let gated = Gated::new(dedup.clone(), 1);
    let dying = RunningWriter::start(queue.clone(), gated.clone(), &ledger);
    publish(&*queue, &chunks).await;
    eventually("the chunk is claimed", async || gated.log() == ["claim 1 2"]).await;
    dying.shutdown.hard.cancel();
    dying.ended().await.unwrap();
    assert_eq!(titles(&ledger).await.len(), 0);
    let writer = RunningWriter::start(queue.clone(), dedup, &ledger);
    drained(&*queue, chunks[0].object).await;
    writer.stop().await;
    assert_eq!(title(&ledger, 1).await.as_deref(), Some("a"));
    assert_eq!(title(&ledger, 2).await.as_deref(), Some("b"));
}

#[tokio::test]
async fn writer_that_dies_between_commit_and_acknowledgement_changes_nothing() {
    let (_database, ledger) = database("committed").await;
    let (queue, dedup) = (CountingQueue::new(), dedup("committed").await);
    let chunks = object(&ledger, "1", &[&[product(1, "a")]]).await;
    publish(&*queue, &chunks).await;
    let delivered = queue.receive(1).await.unwrap();
    let epochs = Epochs::new(ledger.clone(), dedup.clone(), 1);
    let committer = Committer::new(ledger.clone(), dedup.clone(), epochs, Wakeup::default());
    commit(&committer, chunks.clone()).await;
    let before = titles(&ledger).await;
    assert_eq!(before.len(), 1);
    drop(delivered);
    let writer = RunningWriter::start(queue.clone(), dedup, &ledger);
    drained(&*queue, chunks[0].object).await;
    writer.stop().await;
    assert_eq!(titles(&ledger).await, before);
    settle(&ledger).await;
    assert_eq!(counts(&row_of(&ledger, chunks[0].object).await), [1, 0, 0, 0, 0]);
}

/// Commits chunks of one dataset, with servers that are available.
async fn commit(committer: &Committer, chunks: Vec<Chunk>) {
    committer.read_unknown_declarations(chunks.iter()).await.unwrap();
    let mut parsed = committer.parse(chunks).remove(0);
    while let Err(failed) = committer.commit(parsed).await {
        assert!(matches!(failed.failure, FailureAction::Again), "{:?}", failed.failure);
        parsed = failed.batch.parse();
    }
}

/// A line that the database refused supersedes nothing.
#[tokio::test]
async fn redelivered_chunk_with_a_refused_line_supersedes_nothing() {
    let (_database, ledger) = database("duplicate").await;
    let check = "ALTER TABLE products ADD CHECK (title <> 'ugly')";
    ledger.database().connection().execute_unprepared(check).await.unwrap();
    let dedup = dedup("duplicate").await;
    let earlier = object(&ledger, "1", &[&[product(1, "a")]]).await;
    let later = object(&ledger, "2", &[&[product(1, "ugly"), product(2, "b")]]).await;
    let epochs = Epochs::new(ledger.clone(), dedup.clone(), 1);
    let committer = Committer::new(ledger.clone(), dedup, epochs, Wakeup::default());
    for chunks in [later.clone(), [earlier, later].concat()] {
        commit(&committer, chunks).await;
    }
    assert_eq!(title(&ledger, 1).await.as_deref(), Some("a"));
    assert_eq!(title(&ledger, 2).await.as_deref(), Some("b"));
}

/// A restored database gives numbers again that it had given after the backup.
#[tokio::test]
async fn other_declaration_that_has_the_number_of_a_known_one_is_read() {
    let (_database, ledger) = database("renumbered").await;
    let dedup = dedup("renumbered").await;
    let epochs = Epochs::new(ledger.clone(), dedup.clone(), 1);
    let committer = Committer::new(ledger.clone(), dedup, epochs, Wakeup::default());
    commit(&committer, object(&ledger, "1", &[&[product(1, "a")]]).await).await;
    let restore = "UPDATE epoch SET server_started_at = 'before the restore';
        UPDATE declarations SET declaration = replace(replace(replace(
            declaration, 'url =', 'first ='), 'title =', 'url ='), 'first =', 'title =')";
    ledger.database().connection().execute_unprepared(restore).await.unwrap();
    commit(&committer, object(&ledger, "2", &[&[product(1, "b")]]).await).await;
    assert_eq!(title(&ledger, 1).await.as_deref(), Some("b"));
}

#[tokio::test]
async fn line_that_only_the_database_refuses_is_rejected_alone() {
    let (_database, ledger) = database("refused").await;
    let check = "ALTER TABLE products ADD CHECK (title <> 'ugly')";
    ledger.database().connection().execute_unprepared(check).await.unwrap();
    let (queue, dedup) = (CountingQueue::new(), dedup("refused").await);
    let lines = [
        product(1, "a"),
        product(2, "ugly"),
        product(3, "good"),
        product(3, "ugly"),
        product(4, "d"),
    ];
    let chunks = object(&ledger, "1", &[&lines, &[product(5, "e")], &[product(4, "ugly")]]).await;
    publish(&*queue, &chunks).await;
    let writer = RunningWriter::start(queue.clone(), dedup, &ledger);
    drained(&*queue, chunks[0].object).await;
    // A refusal ended an epoch: what was committed under it is read again.
    let object = [(chunks[0].object, Some(chunks[2].end))];
    let missing = ledger.objects.gaps(&object).await.unwrap().remove(0);
    for gap in missing.unwrap() {
        let again =
            chunks.iter().filter(|chunk| gap.start <= chunk.start && Some(chunk.end) <= gap.end);
        publish(&*queue, &again.cloned().collect::<Vec<_>>()).await;
    }
    drained(&*queue, chunks[0].object).await;
    writer.stop().await;
    let titles: Vec<_> = titles(&ledger).await.into_iter().collect();
    let titles: Vec<_> = titles.iter().map(|(id, (title, _))| (*id, title.as_str())).collect();
    assert_eq!(titles, [(1, "a"), (3, "good"), (4, "d"), (5, "e")]);
    let rejected =
        rejected_lines::Entity::find().all(ledger.database().connection()).await.unwrap();
    let mut lines: Vec<_> = rejected.iter().map(|line| (line.line, line.reason.as_str())).collect();
    lines.sort_unstable();
    let refused = "refused_by_database";
    assert_eq!(lines, [(2, refused), (4, refused), (7, refused)]);
    settle(&ledger).await;
    let row = row_of(&ledger, chunks[0].object).await;
    assert_eq!((row.state, row.rejected), (objects::State::Done, 3));
    assert_eq!(counts(&row), [4, 0, 0, 0, 3]);
}

#[tokio::test]
async fn chunk_of_a_failed_object_is_discarded_and_ends_the_epoch() {
    let (_database, ledger) = database("failed").await;
    let (queue, dedup) = (CountingQueue::new(), dedup("failed").await);
    let chunks = object(&ledger, "1", &[&[product(1, "a")], &[product(2, "b")]]).await;
    let gated = Gated::new(dedup.clone(), 1);
    let writer = RunningWriter::start(queue.clone(), gated.clone(), &ledger);
    publish(&*queue, &chunks[..1]).await;
    eventually("the chunk is claimed", async || gated.log() == ["claim 1"]).await;
    let before = epoch(&ledger).await;
    let fail = "UPDATE objects SET state = 'failed', error = 'gone'";
    ledger.database().connection().execute_unprepared(fail).await.unwrap();
    gated.open();
    drained(&*queue, chunks[0].object).await;
    writer.stop().await;
    assert_eq!(titles(&ledger).await.len(), 0);
    assert_ne!(epoch(&ledger).await, before);
}

#[tokio::test]
async fn chunk_of_another_incarnation_is_discarded_and_claims_nothing() {
    let (_database, ledger) = database("other").await;
    let (queue, dedup) = (CountingQueue::new(), dedup("other").await);
    let gated = Gated::new(dedup.clone(), 0);
    let chunks = object(&ledger, "1", &[&[product(1, "a")]]).await;
    let mut stale = chunks.clone();
    "taken back".clone_into(&mut stale[0].incarnation);
    let writer = RunningWriter::start(queue.clone(), gated.clone(), &ledger);
    publish(&*queue, &stale).await;
    drained(&*queue, chunks[0].object).await;
    assert_eq!(gated.log(), Vec::<String>::new());
    publish(&*queue, &chunks).await;
    drained(&*queue, chunks[0].object).await;
    writer.stop().await;
    assert_eq!(title(&ledger, 1).await.as_deref(), Some("a"));
}

#[tokio::test]
async fn restarted_writer_begins_epochs_with_new_ids() {
    let (_database, ledger) = database("ids").await;
    let dedup = dedup("ids").await;
    let [before, after] = [1, 2].map(|seed| Epochs::new(ledger.clone(), dedup.clone(), seed));
    let first = before.current().await.unwrap();
    let next = after.after(first.id).await.unwrap();
    assert_ne!(next.id, first.id);
}

#[tokio::test]
async fn writer_in_another_mode_refuses_until_everything_is_settled() {
    let (_database, ledger) = database("mode").await;
    let (queue, dedup) = (CountingQueue::new(), dedup("mode").await);
    let chunks = object(&ledger, "1", &[&[product(1, "a")]]).await;
    publish(&*queue, &chunks).await;
    let writer = RunningWriter::start(queue.clone(), dedup, &ledger);
    drained(&*queue, chunks[0].object).await;
    writer.stop().await;
    let off = RunningWriter::start(queue.clone(), Arc::new(WithoutStore::off()), &ledger);
    let refused = off.ended().await;
    assert!(
        matches!(refused, Err(Error::Conflict(StoreError::ModeMismatch { .. }))),
        "{refused:?}"
    );
    settle(&ledger).await;
    let off = RunningWriter::start(queue.clone(), Arc::new(WithoutStore::off()), &ledger);
    eventually("dedup is off", async || {
        let current = ledger.epochs.current().await.unwrap();
        current.is_some_and(|current| current.epoch.mode == Mode::Off)
    })
    .await;
    let chunks = object(&ledger, "2", &[&[product(1, "b")]]).await;
    publish(&*queue, &chunks).await;
    drained(&*queue, chunks[0].object).await;
    off.stop().await;
    assert_eq!(title(&ledger, 1).await.as_deref(), Some("b"));
}

/// An unchanged row keeps its position, which is correct only while no line below it is in flight.
#[tokio::test(flavor = "multi_thread")]
async fn workers_in_order_commit_in_the_order_in_which_they_received() {
    let (_database, ledger) = database("commit_order").await;
    let queue = Arc::new(InProcess::new(16 << 20));
    // Three batches of four chunks. The second takes long to parse, so that the worker of the first has parsed the
    // third before.
    let small = |id| vec![product(id, "other")];
    let mut bodies: Vec<_> = (2..14).map(small).collect();
    bodies[0] = vec![product(1, "a")];
    bodies[4] = (100..20_000).map(|id| product(id, "other")).collect();
    bodies[5] = vec![product(1, "b")];
    bodies[8] = vec![product(1, "a")];
    let bodies: Vec<&[String]> = bodies.iter().map(Vec::as_slice).collect();
    let chunks = object(&ledger, "1", &bodies).await;
    publish(&*queue, &chunks).await;
    let dedup = Arc::new(WithoutStore::in_order());
    let writer = RunningWriter::start(queue.clone(), dedup, &ledger);
    drained(&*queue, chunks[0].object).await;
    assert_eq!(title(&ledger, 1).await.as_deref(), Some("a"));
    writer.stop().await;
}

#[tokio::test]
async fn second_writer_in_order_ends_the_first() {
    let (_database, ledger) = database("in_order").await;
    let (one, two) = (CountingQueue::new(), CountingQueue::new());
    let first = RunningWriter::start(one.clone(), Arc::new(WithoutStore::in_order()), &ledger);
    eventually("the first one has begun", async || {
        ledger.epochs.current().await.unwrap().is_some()
    })
    .await;
    let begun = epoch(&ledger).await;
    let chunks = object(&ledger, "1", &[&[product(1, "a")], &[product(1, "b")]]).await;
    publish(&*one, &chunks[..1]).await;
    drained(&*one, chunks[0].object).await;
    let second = RunningWriter::start(two.clone(), Arc::new(WithoutStore::in_order()), &ledger);
    eventually("the second one has begun", async || epoch(&ledger).await != begun).await;
    publish(&*two, &chunks[1..]).await;
    drained(&*two, chunks[0].object).await;
    let late = object(&ledger, "2", &[&[product(2, "c")]]).await;
    publish(&*one, &late).await;
    let ended = first.ended().await;
    assert!(matches!(ended, Err(Error::Conflict(StoreError::TakenOver))), "{ended:?}");
    second.stop().await;
    assert_eq!(title(&ledger, 2).await, None);
}
