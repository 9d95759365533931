//! For rules that random schedules need only once in many thousands: a schedule that fails without the rule, and passes
//! with it. All lines of the files have one id; A and B are their contents.

use jetline_store::ObjectState as State;

use super::{
    declarations::{Dataset, Declaration, Kind},
    files::{File, Row},
    rule::Rule,
    servers::{Servers, Store},
    simulation::Simulation,
};

/// Two writers; the third one loads what is left at the end.
const ONE: usize = 0;
const TWO: usize = 1;

macro_rules! needed {
    ($($name:ident: $rule:expr, $dataset:expr, $schedule:ident;)*) => {$(
        #[tokio::test]
        async fn $name() {
            for store in [Store::memory(), Store::redis().await] {
                let servers = Servers::sqlite(store).await;
                needed(&servers, $rule, $dataset, async |simulation| $schedule(simulation).await).await;
            }
        }
    )*};
}

needed! {
    without_the_epoch_a_claim_from_before_a_loss_is_committed_above_a_later_line:
        Rule::Epoch, plain(&[&["A", "B", "A"]]), commit_after_a_loss;
    without_forgetting_a_line_that_was_unchanged_is_lost_with_the_store:
        Rule::Forget, plain(&[&["A"], &["B", "A"]]), lose_the_store_twice;
    without_the_base_an_old_duplicate_leaves_a_stale_entry:
        Rule::Base, plain(&[&["A", "B"], &["A"]]), late_duplicate_after_a_loss;
    without_recovery_an_entry_is_trusted_that_the_table_is_ahead_of:
        Rule::Recovery, plain(&[&["A"], &["B"], &["A"]]), table_ahead_of_the_store;
    without_the_restart_an_entry_from_before_a_restore_is_trusted:
        Rule::Restart, plain(&[&["A"], &["A"]]), restore_before_a_settled_line;
    without_unique_ids_a_claim_is_committed_under_another_epoch_of_the_same_number:
        Rule::Unique, plain(&[&["A", "B", "A"]]), number_given_twice;
    without_admission_a_chunk_from_before_a_restore_supersedes_another_object:
        Rule::Registered, plain(&[&["AAA"], &["B"]]), number_of_another_object;
    without_later_objects_a_replayed_line_supersedes_a_later_one_that_was_unchanged:
        Rule::Behind, plain(&[&["A"], &["B"], &["A"]]), replay_below_an_unchanged_line;
    without_waiting_a_line_is_lost_that_a_refused_one_superseded:
        Rule::SupersededBy, plain(&[&["A"], &["R"]]), settle_before_a_refusal;
    without_a_new_epoch_a_line_is_lost_that_a_refused_one_superseded:
        Rule::Refusal, plain(&[&["A"], &["R"]]), commit_before_a_refusal;
    without_deleted_rows_a_line_below_a_delete_is_written_after_a_loss:
        Rule::Tombstone, deletes(&[File::of_version(1).deleting(), File::of_version(0)]), delete_before_a_loss;
    without_the_columns_of_the_epoch_a_value_of_a_superseded_line_stays:
        Rule::Columns, versions(&[File::of_version(1), File::of_version(0).with_more()]), add_a_column;
}

/// Files whose lines have one id.
fn plain(files: &[&[&str]]) -> Dataset {
    let files = files.iter().map(|chunks| File::of_one_id(chunks)).collect();
    Dataset { kind: Kind::PLAIN, declaration: Declaration::plain(), files }
}

fn versions(files: &[File]) -> Dataset {
    Dataset { kind: Kind::VERSIONED, declaration: Declaration::plain(), files: files.into() }
}

fn deletes(files: &[File]) -> Dataset {
    let declaration = Declaration { deletes: true, ..Declaration::plain() };
    Dataset { declaration, ..versions(files) }
}

async fn needed(
    servers: &Servers,
    rule: Rule,
    dataset: Dataset,
    schedule: impl AsyncFn(&mut Simulation<'_>),
) {
    for (without, right) in [(None, true), (Some(rule), false)] {
        let mut simulation = Simulation::new(servers, dataset.clone(), without, 1).await;
        schedule(&mut simulation).await;
        simulation.finish().await;
        let ended = simulation.check().await;
        let steps = simulation.log.join("\n");
        assert_eq!(ended.is_ok(), right, "without {without:?}: {ended:?}\n{steps}");
    }
}

/// The last A finds no entry and does not write the row, which has the first A. Then B, claimed before the loss, is
/// committed.
async fn commit_after_a_loss(simulation: &mut Simulation<'_>) {
    simulation.register(0).await;
    simulation.read(None).await;
    simulation.load(ONE, 0, 0).await;
    simulation.claim(ONE, 0, 1).await;
    simulation.wipe_dedup();
    simulation.load(TWO, 0, 2).await;
    simulation.commit(ONE).await;
}

/// The last A finds the row of the first one unchanged: only the entry says that the last A came after B.
async fn lose_the_store_twice(simulation: &mut Simulation<'_>) {
    simulation.register(0).await;
    simulation.read(None).await;
    simulation.load(ONE, 0, 0).await;
    simulation.settle().await;
    simulation.wipe_dedup();
    simulation.register(1).await;
    simulation.read(None).await;
    simulation.load(ONE, 1, 1).await;
    simulation.wipe_dedup();
    simulation.load(ONE, 1, 0).await;
}

/// The first A is redelivered in an epoch in which its object is settled: the A after B would count as unchanged.
async fn late_duplicate_after_a_loss(simulation: &mut Simulation<'_>) {
    simulation.register(0).await;
    simulation.read(None).await;
    simulation.claim(ONE, 0, 0).await;
    simulation.duplicate(ONE);
    simulation.commit(ONE).await;
    simulation.load(ONE, 0, 1).await;
    simulation.settle().await;
    simulation.wipe_dedup();
    simulation.load(ONE, 0, 0).await;
    simulation.register(1).await;
    simulation.read(None).await;
    simulation.load(ONE, 1, 0).await;
}

/// B is committed, and its entry is lost. The entry of the first A is of a settled object, but the row says B.
async fn table_ahead_of_the_store(simulation: &mut Simulation<'_>) {
    simulation.register(0).await;
    simulation.register(1).await;
    simulation.read(None).await;
    simulation.read(None).await;
    simulation.load(ONE, 1, 0).await;
    simulation.wipe_dedup();
    simulation.load(ONE, 0, 0).await;
    simulation.settle().await;
    simulation.register(2).await;
    simulation.read(None).await;
    simulation.load(ONE, 2, 0).await;
}

/// The second A was published when the first was settled, which is not so in the restored database.
async fn restore_before_a_settled_line(simulation: &mut Simulation<'_>) {
    simulation.register(0).await;
    simulation.read(None).await;
    simulation.claim(ONE, 0, 0).await;
    simulation.register(1).await;
    simulation.back_up().await;
    simulation.commit(ONE).await;
    simulation.settle().await;
    simulation.read(None).await;
    simulation.restore().await;
    simulation.load(ONE, 1, 0).await;
}

/// As in [`commit_after_a_loss`], but the restore undoes the epoch in between, and the next one gets its number.
async fn number_given_twice(simulation: &mut Simulation<'_>) {
    simulation.register(0).await;
    simulation.read(None).await;
    simulation.load(ONE, 0, 0).await;
    simulation.back_up().await;
    simulation.wipe_dedup();
    simulation.claim(ONE, 0, 1).await;
    simulation.restore().await;
    simulation.wipe_dedup();
    simulation.load(TWO, 0, 2).await;
    simulation.commit(ONE).await;
}

/// The first As belong to an object that is not in the restored database. Their claims have higher ranks than the B of
/// the object that has its number now; then their writer crashes and the queue loses them.
async fn number_of_another_object(simulation: &mut Simulation<'_>) {
    simulation.back_up().await;
    simulation.register(0).await;
    simulation.read(None).await;
    simulation.restore().await;
    simulation.register(1).await;
    simulation.read(None).await;
    simulation.claim(ONE, 0, 0).await;
    simulation.crash(ONE);
    simulation.load(TWO, 1, 0).await;
    simulation.wipe_queue();
    simulation.settle().await;
}

/// A is superseded by a line that the database refuses only after the object of A could have ended.
async fn settle_before_a_refusal(simulation: &mut Simulation<'_>) {
    commit_below_a_claim(simulation).await;
    simulation.settle().await;
    simulation.commit(ONE).await;
}

async fn commit_before_a_refusal(simulation: &mut Simulation<'_>) {
    commit_below_a_claim(simulation).await;
    simulation.commit(ONE).await;
}

/// The line of the second file is claimed, then the line of the first is committed.
async fn commit_below_a_claim(simulation: &mut Simulation<'_>) {
    simulation.register(0).await;
    simulation.register(1).await;
    simulation.read(None).await;
    simulation.read(None).await;
    simulation.claim(ONE, 1, 0).await;
    simulation.load(TWO, 0, 0).await;
}

/// A chunk that will never be committed superseded a line of an object that must end before the chunk's object can
/// fail.
#[tokio::test]
async fn line_that_a_dead_chunk_superseded_is_written_and_both_objects_end() {
    let servers = Servers::sqlite(Store::memory()).await;
    let dataset = plain(&[&["A"], &["B"]]);
    let mut simulation = Simulation::new(&servers, dataset, None, 1).await;
    commit_below_a_claim(&mut simulation).await;
    simulation.crash(ONE);
    simulation.dead_letter_chunk(1, 0).await;
    simulation.finish().await;
    let ended: Vec<_> = simulation.objects().await;
    let states: Vec<_> = ended.iter().map(|object| object.state).collect();
    assert_eq!(states, [State::Done, State::Failed]);
    let values = [("text".to_owned(), "A".to_owned())].into();
    let row = Row { version: 0, is_deleted: false, values };
    assert_eq!(simulation.table().await, [("1".to_owned(), row)].into());
}

/// B crashes its writers and is dead-lettered, so that the last A finds the row of the first one unchanged: only the
/// entry says that the last A came after B. Then the entries are lost, and B can be committed.
async fn replay_below_an_unchanged_line(simulation: &mut Simulation<'_>) {
    simulation.register(0).await;
    simulation.read(None).await;
    simulation.load(ONE, 0, 0).await;
    simulation.settle().await;
    simulation.register(1).await;
    simulation.read(None).await;
    simulation.dead_letter_chunk(1, 0).await;
    simulation.settle().await;
    simulation.register(2).await;
    simulation.read(None).await;
    simulation.load(ONE, 2, 0).await;
    simulation.settle().await;
    simulation.wipe_dedup();
    simulation.replay(2).await;
}

/// The row of the deleted record is the only thing that has the rank of the delete then.
async fn delete_before_a_loss(simulation: &mut Simulation<'_>) {
    load_alone(simulation, 0).await;
    simulation.wipe_dedup();
    load_alone(simulation, 1).await;
}

/// The first writer reads the declarations before there is the other one.
async fn add_a_column(simulation: &mut Simulation<'_>) {
    simulation.register(0).await;
    simulation.read(None).await;
    simulation.claim(ONE, 0, 0).await;
    let columns = vec!["text", "more"];
    simulation.declare(Declaration { columns, ..Declaration::plain() }).await;
    simulation.register(1).await;
    simulation.read(None).await;
    simulation.load(TWO, 1, 0).await;
    simulation.commit(ONE).await;
}

/// Loads a file of one chunk, and settles it.
async fn load_alone(simulation: &mut Simulation<'_>, file: usize) {
    simulation.register(file).await;
    simulation.read(None).await;
    simulation.load(ONE, file, 0).await;
    simulation.settle().await;
}

/// A delete after one of a lower version raises the version of the row, which an older line must not pass after a loss.
#[tokio::test]
async fn delete_of_a_deleted_record_with_a_higher_version_is_written() {
    let servers = Servers::sqlite(Store::memory()).await;
    let deletes_at = |version| File::of_version(version).deleting();
    let dataset = deletes(&[deletes_at(0), deletes_at(1), File::of_version(0)]);
    let mut simulation = Simulation::new(&servers, dataset, None, 1).await;
    load_alone(&mut simulation, 0).await;
    load_alone(&mut simulation, 1).await;
    simulation.wipe_dedup();
    load_alone(&mut simulation, 2).await;
    assert_eq!(simulation.check().await, Ok(()), "{:#?}", simulation.log);
}
