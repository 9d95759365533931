//! For the rules that chance hits once in many thousand schedules: a schedule that ends wrong without the rule, and
//! right with it. Every file has lines of one id only; A and B are what they say.

use jetline_store::entities::objects::State;

use super::{
    files::File,
    place::{Place, Store},
    rule::Rule,
    world::World,
};

/// Two writers; the third one finishes whatever is left at the end.
const ONE: usize = 0;
const TWO: usize = 1;

macro_rules! needed {
    ($($name:ident: $rule:expr, $files:expr, $schedule:ident;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let place = Place::sqlite(Store::memory()).await;
            needed(&place, $rule, $files, async |world| $schedule(world).await).await;
            let place = Place::sqlite(Store::redis().await).await;
            needed(&place, $rule, $files, async |world| $schedule(world).await).await;
        }
    )*};
}

needed! {
    without_the_epoch_a_claim_from_before_a_loss_is_committed_above_a_later_line:
        Rule::Epoch, &[&["A", "B", "A"]], commit_after_a_loss;
    without_forgetting_a_line_that_needed_no_row_is_lost_with_the_store:
        Rule::Forget, &[&["A"], &["B", "A"]], lose_the_store_twice;
    without_the_base_an_old_duplicate_leaves_a_stale_entry:
        Rule::Base, &[&["A", "B"], &["A"]], late_duplicate_after_a_loss;
    without_recovery_an_entry_is_trusted_that_the_table_is_ahead_of:
        Rule::Recovery, &[&["A"], &["B"], &["A"]], table_ahead_of_the_store;
    without_the_restart_an_entry_is_trusted_that_the_database_took_back:
        Rule::Restart, &[&["A"], &["A"]], restore_before_a_settled_line;
    without_unique_ids_a_claim_is_committed_under_another_epoch_of_the_same_number:
        Rule::Unique, &[&["A", "B", "A"]], number_given_twice;
    without_admission_a_chunk_that_the_database_took_back_outdoes_another_object:
        Rule::Registered, &[&["AAA"], &["B"]], number_of_another_object;
    without_what_is_behind_it_a_replayed_line_outdoes_a_later_one_that_needed_no_row:
        Rule::Behind, &[&["A"], &["B"], &["A"]], replay_below_an_unchanged_line;
    without_waiting_a_line_is_lost_that_was_outdone_by_a_refused_one:
        Rule::Outdone, &[&["A"], &["R"]], settle_before_a_refusal;
    without_a_new_epoch_a_line_is_lost_that_was_outdone_by_a_refused_one:
        Rule::Refusal, &[&["A"], &["R"]], commit_before_a_refusal;
}

async fn needed(
    place: &Place,
    rule: Rule,
    files: &[&[&str]],
    schedule: impl AsyncFn(&mut World<'_>),
) {
    for (without, right) in [(None, true), (Some(rule), false)] {
        let files = files.iter().map(|chunks| File::of_one_id(chunks));
        let mut world = World::new(place, files.collect(), false, without, 1).await;
        schedule(&mut world).await;
        world.finish().await;
        let ended = world.faults().await;
        let steps = world.log.join("\n");
        assert_eq!(
            ended.is_ok(),
            right,
            "without {without:?}: {ended:?}\n{steps}"
        );
    }
}

/// The last A finds no entry and leaves the row of the first A alone. Then B, claimed before the loss, is committed.
async fn commit_after_a_loss(world: &mut World<'_>) {
    world.register(0).await;
    world.read(None).await;
    world.load(ONE, 0, 0).await;
    world.claim(ONE, 0, 1).await;
    world.lose_store();
    world.load(TWO, 0, 2).await;
    world.commit(ONE).await;
}

/// The last A finds the first one's row and leaves it alone: only the entry says that it came after B.
async fn lose_the_store_twice(world: &mut World<'_>) {
    world.register(0).await;
    world.read(None).await;
    world.load(ONE, 0, 0).await;
    world.settle().await;
    world.lose_store();
    world.register(1).await;
    world.read(None).await;
    world.load(ONE, 1, 1).await;
    world.lose_store();
    world.load(ONE, 1, 0).await;
}

/// The first A comes again, in an epoch in which its object is settled: the A after B would be taken for unchanged.
async fn late_duplicate_after_a_loss(world: &mut World<'_>) {
    world.register(0).await;
    world.read(None).await;
    world.claim(ONE, 0, 0).await;
    world.duplicate(ONE);
    world.commit(ONE).await;
    world.load(ONE, 0, 1).await;
    world.settle().await;
    world.lose_store();
    world.load(ONE, 0, 0).await;
    world.register(1).await;
    world.read(None).await;
    world.load(ONE, 1, 0).await;
}

/// B is committed, and its entry is lost. The entry of the first A is of a settled object, but the row says B.
async fn table_ahead_of_the_store(world: &mut World<'_>) {
    world.register(0).await;
    world.register(1).await;
    world.read(None).await;
    world.read(None).await;
    world.load(ONE, 1, 0).await;
    world.lose_store();
    world.load(ONE, 0, 0).await;
    world.settle().await;
    world.register(2).await;
    world.read(None).await;
    world.load(ONE, 2, 0).await;
}

/// The second A was published when the first was settled, which the restored database does not know.
async fn restore_before_a_settled_line(world: &mut World<'_>) {
    world.register(0).await;
    world.read(None).await;
    world.claim(ONE, 0, 0).await;
    world.register(1).await;
    world.back_up().await;
    world.commit(ONE).await;
    world.settle().await;
    world.read(None).await;
    world.restore().await;
    world.load(ONE, 1, 0).await;
}

/// As in [`commit_after_a_loss`], but the epoch in between is taken back, and the next one gets its number.
async fn number_given_twice(world: &mut World<'_>) {
    world.register(0).await;
    world.read(None).await;
    world.load(ONE, 0, 0).await;
    world.back_up().await;
    world.lose_store();
    world.claim(ONE, 0, 1).await;
    world.restore().await;
    world.lose_store();
    world.load(TWO, 0, 2).await;
    world.commit(ONE).await;
}

/// The first As are of an object that the restored database does not know. What they claim stands above the B of the
/// object that has its number now, when their writer dies and the queue loses them.
async fn number_of_another_object(world: &mut World<'_>) {
    world.back_up().await;
    world.register(0).await;
    world.read(None).await;
    world.restore().await;
    world.register(1).await;
    world.read(None).await;
    world.claim(ONE, 0, 0).await;
    world.crash(ONE);
    world.load(TWO, 1, 0).await;
    world.lose_queue();
    world.settle().await;
}

/// A is superseded by a line that the database refuses only after the object of A could have ended.
async fn settle_before_a_refusal(world: &mut World<'_>) {
    commit_below_a_claim(world).await;
    world.settle().await;
    world.commit(ONE).await;
}

async fn commit_before_a_refusal(world: &mut World<'_>) {
    commit_below_a_claim(world).await;
    world.commit(ONE).await;
}

/// The line of the second file is claimed, the one of the first is committed.
async fn commit_below_a_claim(world: &mut World<'_>) {
    world.register(0).await;
    world.register(1).await;
    world.read(None).await;
    world.read(None).await;
    world.claim(ONE, 1, 0).await;
    world.load(TWO, 0, 0).await;
}

/// A chunk that will never be committed outdid a line of an object that must end before its own object can fail.
#[tokio::test]
async fn line_that_a_dead_chunk_outdid_is_written_and_both_objects_end() {
    let place = Place::sqlite(Store::memory()).await;
    let files = [&["A"][..], &["B"]].map(File::of_one_id);
    let mut world = World::new(&place, files.into(), false, None, 1).await;
    commit_below_a_claim(&mut world).await;
    world.crash(ONE);
    world.give_up_chunk(1, 0).await;
    world.finish().await;
    let ended: Vec<_> = world.objects().await;
    let states: Vec<_> = ended.iter().map(|object| object.state).collect();
    assert_eq!(states, [State::Done, State::Failed]);
    let row = ("A".to_owned(), 0);
    assert_eq!(world.table().await, [(1, row)].into());
}

/// B crashes its writers and is given up, so that the last A leaves the row of the first one alone: only the entry says
/// that it came after B. Then the entries are lost, and B can be committed.
async fn replay_below_an_unchanged_line(world: &mut World<'_>) {
    world.register(0).await;
    world.read(None).await;
    world.load(ONE, 0, 0).await;
    world.settle().await;
    world.register(1).await;
    world.read(None).await;
    world.give_up_chunk(1, 0).await;
    world.settle().await;
    world.register(2).await;
    world.read(None).await;
    world.load(ONE, 2, 0).await;
    world.settle().await;
    world.lose_store();
    world.replay(2).await;
}
