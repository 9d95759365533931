//! What is delivered, and when.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jetline_core::Epoch;
use jetline_datasets::{Dataset, Destination};
use jetline_store::{
    Outbox,
    outbox::{Attempt, AttemptOutcome, Folded, Redeliver},
};

use crate::fixtures::{
    self, LEASE_TERM, TestDatabase, both, commit_either, declare, postgres, rows,
};

const ORDERS: &str = "key = 'id'\ndeleted = { column = 'op', equals = 'D' }
columns = { id = 'text', total = 'bigint', wait = { type = 'bigint', optional = true } }\n";

const ANY: &str = "[[deliver]]\nname = 'crm'\nurl = '${CRM_URL}'\n";

/// A database with a dataset that has one destination.
struct Scene {
    base: TestDatabase,
    epoch: Epoch,
    dataset: Arc<Dataset>,
    /// Its current declaration.
    current: Arc<Dataset>,
    outbox: Outbox,
    objects: i64,
}

impl Scene {
    async fn with(base: TestDatabase, deliver: &str) -> Self {
        let dataset = declare(&base.database, "orders", &format!("{ORDERS}{deliver}")).await;
        let (base, epoch) = base.with_objects(20).await;
        let outbox = Outbox::new(&base.database);
        Self { base, epoch, current: dataset.clone(), dataset, outbox, objects: 0 }
    }

    fn destination(&self) -> &Destination {
        &self.dataset.destinations[0]
    }

    /// Commits records such as `a=1`, as the lines of the next object; `a` deletes.
    async fn commit(&mut self, records: &[impl AsRef<str>]) {
        let json = |record: &str| match record.split_once('=') {
            Some((id, total)) => format!(r#"{{"id":"{id}","total":{total}}}"#),
            None => format!(r#"{{"id":"{record}","op":"D"}}"#),
        };
        let records: Vec<String> = records.iter().map(|record| json(record.as_ref())).collect();
        self.commit_json(&records).await;
    }

    /// Commits records, and folds the changes.
    async fn commit_json(&mut self, records: &[impl AsRef<str>]) {
        self.append_json(records).await;
        self.fold().await;
    }

    /// Some objects are committed by the commit that can reject.
    async fn append_json(&mut self, records: &[impl AsRef<str>]) {
        self.objects += 1;
        let chunk = rows(&self.dataset, self.objects, records);
        let rejects = self.objects % 2 == 0;
        commit_either(&self.base, &self.epoch, &self.dataset, chunk, rejects).await;
    }

    async fn fold(&self) {
        let datasets = self.base.database.datasets().await.unwrap();
        self.outbox.fold(&datasets).await.unwrap();
        assert!(!self.outbox.has_changes().await.unwrap());
    }

    async fn lease(&self) -> Vec<Attempt> {
        self.lease_for(LEASE_TERM).await
    }

    async fn lease_for(&self, term: Duration) -> Vec<Attempt> {
        let mut leased =
            self.outbox.lease(&self.current, self.destination(), "me", term, 100).await.unwrap();
        leased.sort_by(|a, b| a.key.cmp(&b.key));
        leased
    }

    async fn end(&self, attempt: &Attempt, outcome: AttemptOutcome) -> bool {
        let ended = [(attempt.clone(), outcome)];
        self.outbox.record(self.destination(), &ended).await.unwrap()[0]
    }

    /// Delivers what is due, as texts such as `inserted a`.
    async fn deliver(&self) -> Vec<String> {
        let leased = self.lease().await;
        for attempt in &leased {
            assert!(self.end(attempt, DELIVERED).await);
        }
        shown(&leased)
    }

    async fn number(&self, sql: &str) -> i64 {
        self.base.number(sql).await.unwrap()
    }
}

fn shown(attempts: &[Attempt]) -> Vec<String> {
    attempts.iter().map(|one| format!("{} {}", one.kind.name(), one.key)).collect()
}

const RELEASED: AttemptOutcome = AttemptOutcome::Released { after: Duration::ZERO };
const DELIVERED: AttemptOutcome = AttemptOutcome::Delivered { status: 200 };

fn retry(after: Duration) -> AttemptOutcome {
    AttemptOutcome::Retry { after, status: Some(503), error: "busy\0".to_owned() }
}

#[tokio::test]
async fn only_changes_are_delivered() {
    for base in both().await {
        let mut scene = Scene::with(base, ANY).await;
        scene.commit(&["a=1", "b=1"]).await;
        assert_eq!(scene.deliver().await, ["inserted a", "inserted b"]);
        scene.commit(&["a=1", "b=1"]).await;
        assert!(scene.deliver().await.is_empty());
        scene.commit(&["a=1", "b=2", "c=1"]).await;
        assert_eq!(scene.deliver().await, ["updated b", "inserted c"]);
        scene.commit(&["b", "unknown"]).await;
        assert_eq!(scene.deliver().await, ["deleted b"]);
        scene.commit(&["b=2", "unknown=1"]).await;
        assert_eq!(scene.deliver().await, ["inserted b", "inserted unknown"]);
        assert!(scene.outbox.next_due(scene.destination()).await.unwrap().is_none());
    }
}

/// Rows that were removed by hand are new to the table, and not to the outbox.
#[tokio::test]
async fn row_that_was_removed_by_hand_is_known_to_the_outbox() {
    for base in both().await {
        let mut scene = Scene::with(base, ANY).await;
        scene.commit(&["a=1", "b=1"]).await;
        assert_eq!(scene.deliver().await, ["inserted a", "inserted b"]);
        scene.base.run("DELETE FROM orders").await;
        scene.commit(&["a=1", "b=2", "c=1"]).await;
        assert_eq!(scene.deliver().await, ["inserted b", "inserted c"]);
    }
}

/// The same chunk again, in a new epoch: the rows are as they were.
#[tokio::test]
async fn repeated_commit_delivers_nothing() {
    for base in both().await {
        let mut scene = Scene::with(base, ANY).await;
        scene.commit(&["a=1"]).await;
        assert_eq!(scene.deliver().await, ["inserted a"]);
        let mode = jetline_core::Mode::Shared;
        let epoch = Some(scene.epoch.id);
        scene.epoch = fixtures::begin(&scene.base.ledger, mode, epoch, 2).await;
        scene.objects = 0;
        scene.commit(&["a=1"]).await;
        assert!(scene.deliver().await.is_empty());
    }
}

#[tokio::test]
async fn newer_content_replaces_one_that_waits() {
    for base in both().await {
        let mut scene = Scene::with(base, ANY).await;
        scene.commit(&["a=1"]).await;
        scene.commit(&["a=2"]).await;
        let leased = scene.lease().await;
        assert_eq!(shown(&leased), ["inserted a"]);
        assert_eq!(leased[0].rank.position.object().get(), 2);
    }
}

#[tokio::test]
async fn newer_content_waits_for_the_attempt_under_way() {
    let dead = AttemptOutcome::Dead { status: Some(400), error: "no".to_owned() };
    for (outcome, then) in [
        (DELIVERED, "updated a"),
        (retry(Duration::from_hours(1)), "inserted a"),
        (dead, "inserted a"),
        (RELEASED, "inserted a"),
    ] {
        for base in both().await {
            let mut scene = Scene::with(base, ANY).await;
            scene.commit(&["a=1"]).await;
            let first = scene.lease().await.remove(0);
            scene.commit(&["a=2"]).await;
            assert!(scene.lease().await.is_empty());
            assert!(scene.end(&first, outcome.clone()).await);
            let second = scene.lease().await;
            assert_eq!(shown(&second), [then], "{outcome:?}");
            assert_eq!((second[0].number, second[0].rank.position.object().get()), (1, 2));
        }
    }
}

/// 1 is acknowledged, 2 is committed, 1 again.
#[tokio::test]
async fn acknowledged_content_is_delivered_again_only_if_another_one_may_have_arrived() {
    for base in both().await {
        let mut scene = Scene::with(base, ANY).await;
        scene.commit(&["a=1"]).await;
        scene.deliver().await;
        scene.commit(&["a=2"]).await;
        scene.commit(&["a=1"]).await;
        assert!(scene.deliver().await.is_empty(), "2 was never sent");

        scene.commit(&["a=2"]).await;
        let two = scene.lease().await.remove(0);
        scene.commit(&["a=1"]).await;
        assert!(scene.end(&two, RELEASED).await);
        assert!(scene.deliver().await.is_empty(), "2 was not sent");

        scene.commit(&["a=2"]).await;
        let two = scene.lease().await.remove(0);
        scene.commit(&["a=1"]).await;
        assert!(scene.end(&two, retry(Duration::from_hours(1))).await);
        assert_eq!(scene.deliver().await, ["updated a"], "2 may have arrived");

        scene.commit(&["a=2"]).await;
        // The courier crashes, and its lease expires.
        assert_eq!(scene.lease_for(Duration::ZERO).await.len(), 1);
        scene.commit(&["a=1"]).await;
        assert_eq!(scene.deliver().await, ["updated a"], "2 may have arrived");
    }
}

#[tokio::test]
async fn expired_lease_is_taken_over_and_its_outcome_ignored() {
    for base in both().await {
        let mut scene = Scene::with(base, ANY).await;
        scene.commit(&["a=1"]).await;
        let lost = scene.lease_for(Duration::ZERO).await.remove(0);
        let destination = scene.destination();
        let taken =
            scene.outbox.lease(&scene.current, destination, "other", LEASE_TERM, 1).await.unwrap();
        let taken = &taken[0];
        assert_eq!((lost.number, taken.number), (1, 2));
        assert!(!scene.end(&lost, DELIVERED).await);
        assert!(scene.lease().await.is_empty());
        assert!(scene.end(taken, retry(Duration::ZERO)).await);
        assert_eq!(scene.deliver().await, ["inserted a"]);
    }
}

#[tokio::test]
async fn destination_gets_only_the_changes_that_it_wants() {
    for (on, expected) in [
        ("'inserted'", [&["inserted a"][..], &[], &[], &["inserted a"]]),
        ("'updated'", [&[], &["updated a"], &[], &[]]),
        ("'deleted'", [&[], &[], &["deleted a"], &[]]),
    ] {
        for base in both().await {
            let mut scene = Scene::with(base, &format!("{ANY}on = [{on}]")).await;
            for (record, expected) in ["a=1", "a=2", "a", "a=1"].into_iter().zip(expected) {
                scene.commit(&[record]).await;
                assert_eq!(scene.deliver().await, expected, "{on}: {record}");
            }
            // As before, after a change that it does not want.
            scene.commit(&["a"]).await;
            let expected: &[&str] = if on == "'deleted'" { &["deleted a"] } else { &[] };
            assert_eq!(scene.deliver().await, expected, "{on}");
        }
    }
}

/// A customer is not created twice: the update of one that was delivered meanwhile is not wanted.
#[tokio::test]
async fn insert_that_arrives_while_a_newer_one_waits_is_the_only_one() {
    for base in both().await {
        let mut scene = Scene::with(base, &format!("{ANY}on = ['inserted']")).await;
        scene.commit(&["a=1"]).await;
        let first = scene.lease().await.remove(0);
        scene.commit(&["a=2"]).await;
        assert!(scene.end(&first, DELIVERED).await);
        assert!(scene.deliver().await.is_empty());
    }
}

#[tokio::test]
async fn dead_delivery_is_attempted_again_only_with_a_newer_content() {
    for base in both().await {
        let mut scene = Scene::with(base, ANY).await;
        scene.commit(&["a=1"]).await;
        let attempt = scene.lease().await.remove(0);
        let dead = AttemptOutcome::Dead { status: Some(422), error: "no".to_owned() };
        assert!(scene.end(&attempt, dead).await);
        scene.commit(&["a=1"]).await;
        assert!(scene.deliver().await.is_empty());
        assert_eq!(scene.outbox.backlog().await.unwrap()[0].dead, 1);
        scene.commit(&["a=2"]).await;
        assert_eq!(scene.deliver().await, ["inserted a"]);
        assert_eq!(scene.outbox.backlog().await.unwrap()[0].dead, 0);
    }
}

#[tokio::test]
async fn failed_delivery_is_due_again_after_its_time() {
    for base in both().await {
        let mut scene = Scene::with(base, ANY).await;
        scene.commit(&["a=1", "b=1"]).await;
        let leased = scene.lease().await;
        assert!(scene.end(&leased[0], retry(Duration::from_hours(1))).await);
        assert!(scene.end(&leased[1], retry(Duration::ZERO)).await);
        assert_eq!(scene.deliver().await, ["inserted b"]);
        let next = scene.outbox.next_due(scene.destination()).await.unwrap().unwrap();
        assert!(next > Duration::from_mins(59) && next <= Duration::from_hours(1), "{next:?}");
        assert_eq!(scene.outbox.backlog().await.unwrap()[0].waiting, 1);
    }
}

#[tokio::test]
async fn delay_counts_from_the_commit_and_a_newer_version_cancels_the_callback() {
    let deliver = format!("{ANY}delay = {{ column = 'wait', unit = 'h' }}");
    for base in both().await {
        let mut scene = Scene::with(base, &deliver).await;
        let order = |wait: &str| format!(r#"{{"id":"a","total":1,"wait":{wait}}}"#);
        scene.commit_json(&[order("2")]).await;
        let next = scene.outbox.next_due(scene.destination()).await.unwrap().unwrap();
        assert!(next > Duration::from_mins(119) && next <= Duration::from_hours(2), "{next:?}");
        scene.commit_json(&[order("1")]).await;
        let next = scene.outbox.next_due(scene.destination()).await.unwrap().unwrap();
        assert!(next <= Duration::from_hours(1), "{next:?}");
        scene.commit_json(&[order("null")]).await;
        assert_eq!(
            scene
                .number("SELECT COUNT(*) FROM delivery_cancellations WHERE by_position - position = 4294967296")
                .await,
            2
        );
        // An attempt that is under way may be the one that arrives: it is cancelled when it fails.
        let third = scene.lease().await.remove(0);
        scene.commit_json(&[order("0")]).await;
        assert_eq!(scene.number("SELECT COUNT(*) FROM delivery_cancellations").await, 2);
        assert!(scene.end(&third, retry(Duration::ZERO)).await);
        assert_eq!(scene.number("SELECT COUNT(*) FROM delivery_cancellations").await, 3);
        assert_eq!(scene.deliver().await, ["inserted a"]);
        scene.commit_json(&[order("null")]).await;
        assert_eq!(scene.deliver().await, ["updated a"]);
        assert_eq!(scene.number("SELECT COUNT(*) FROM delivery_cancellations").await, 3);
    }
}

#[tokio::test]
async fn delay_that_is_none_is_a_dead_delivery_and_not_a_rejected_record() {
    let deliver = format!("{ANY}delay = {{ column = 'wait', unit = 'd' }}");
    for base in both().await {
        let mut scene = Scene::with(base, &deliver).await;
        scene
            .commit_json(&[
                r#"{"id":"a","total":1,"wait":-1}"#,
                r#"{"id":"b","total":1,"wait":3651}"#,
                r#"{"id":"c","total":1,"wait":9223372036854775807}"#,
                r#"{"id":"d","total":1,"wait":3650}"#,
            ])
            .await;
        let backlog = scene.outbox.backlog().await.unwrap().remove(0);
        assert_eq!((backlog.dead, backlog.waiting), (3, 1));
        let negative =
            "SELECT COUNT(*) FROM deliveries WHERE error = 'wait: the delay -1 is negative'";
        assert_eq!(scene.number(negative).await, 1);
        assert_eq!(scene.number("SELECT COUNT(*) FROM orders").await, 4);
    }
}

#[tokio::test]
async fn nothing_is_delivered_to_a_disabled_destination() {
    for base in both().await {
        let mut scene = Scene::with(base, ANY).await;
        scene.commit(&["a=1"]).await;
        scene.outbox.disable(scene.destination(), "it answered 410").await.unwrap();
        assert!(scene.deliver().await.is_empty());
        assert!(scene.outbox.next_due(scene.destination()).await.unwrap().is_none());
        let disabled = scene.outbox.backlog().await.unwrap().remove(0).disabled;
        assert_eq!(disabled.as_deref(), Some("it answered 410"));
        scene.outbox.enable(scene.destination()).await.unwrap();
        assert_eq!(scene.deliver().await, ["inserted a"]);
    }
}

/// A dataset has the destinations of its current declaration, also for objects of an earlier one.
#[tokio::test]
async fn destinations_are_those_of_the_current_declaration() {
    for base in both().await {
        let before = declare(&base.database, "orders", ORDERS).await;
        let mut scene = Scene::with(base, ANY).await;
        assert_ne!(before.declaration, scene.dataset.declaration);
        let datasets = scene.base.database.datasets().await.unwrap();
        scene.dataset = datasets.declaration(before.declaration).unwrap().clone();
        scene.commit(&["a=1"]).await;
        assert_eq!(scene.deliver().await, ["inserted a"]);
        scene.commit(&["a=2"]).await;

        let other = format!("{ORDERS}{}", ANY.replace("crm", "shop"));
        scene.dataset = declare(&scene.base.database, "orders", &other).await;
        scene.current = scene.dataset.clone();
        let mode = jetline_core::Mode::Shared;
        let epoch = Some(scene.epoch.id);
        scene.epoch = fixtures::begin(&scene.base.ledger, mode, epoch, 2).await;
        assert_eq!(scene.number("SELECT COUNT(*) FROM deliveries").await, 0);
        scene.commit(&["a=3"]).await;
        assert_eq!(scene.deliver().await, ["updated a"]);

        scene.base.database.drop_dataset("orders").await.unwrap();
        for table in ["deliveries", "delivery_destinations"] {
            assert_eq!(scene.number(&format!("SELECT COUNT(*) FROM {table}")).await, 0);
        }
    }
}

/// The destination knows it already, whatever the state says.
#[tokio::test]
async fn update_of_a_record_that_is_redelivered_is_an_update() {
    for base in both().await {
        let mut scene = Scene::with(base, ANY).await;
        scene.commit(&["a=1", "b=1", "c=1"]).await;
        assert_eq!(scene.deliver().await.len(), 3);
        let id = scene.destination().id;
        let by_key = Redeliver::Key("a".to_owned());
        assert_eq!(scene.outbox.redeliver(id, &by_key).await.unwrap(), 1);
        scene.commit(&["a=2"]).await;
        assert_eq!(scene.deliver().await, ["updated a"]);
        assert_eq!(scene.outbox.redeliver(id, &Redeliver::Since(0)).await.unwrap(), 3);
        let released = scene.lease().await;
        for attempt in &released {
            assert!(scene.end(attempt, RELEASED).await);
        }
        assert_eq!(scene.deliver().await, ["updated a", "inserted b", "inserted c"]);
        assert_eq!(scene.outbox.redeliver(id, &Redeliver::Dead).await.unwrap(), 0);
    }
}

/// What is wanted depends on the declaration.
#[tokio::test]
async fn changes_are_folded_only_by_the_current_declarations() {
    for base in both().await {
        let mut scene = Scene::with(base, &format!("{ANY}on = ['inserted']")).await;
        scene.commit(&["a=1"]).await;
        assert_eq!(scene.deliver().await, ["inserted a"]);
        let earlier = scene.base.database.datasets().await.unwrap();
        scene.current = declare(&scene.base.database, "orders", &format!("{ORDERS}{ANY}")).await;
        let mode = jetline_core::Mode::Shared;
        let epoch = Some(scene.epoch.id);
        scene.epoch = fixtures::begin(&scene.base.ledger, mode, epoch, 2).await;
        scene.append_json(&[r#"{"id":"a","total":2}"#]).await;
        let folded = scene.outbox.fold(&earlier).await.unwrap();
        assert_eq!(folded, Folded { is_outdated: true, ..Folded::default() });
        let datasets = scene.base.database.datasets().await.unwrap();
        let folded = scene.outbox.fold(&datasets).await.unwrap();
        assert_eq!(folded, Folded { changes: 1, ..Folded::default() });
        assert_eq!(scene.deliver().await, ["updated a"]);
    }
}

/// By another declaration, the record may be read without some of its columns.
#[tokio::test]
async fn delivery_is_leased_only_by_the_current_declaration() {
    for base in both().await {
        let mut scene = Scene::with(base, ANY).await;
        scene.commit(&["a=1"]).await;
        let text = format!("{ORDERS}{ANY}")
            .replace("total =", "note = { type = 'text', optional = true }, total =");
        let later = declare(&scene.base.database, "orders", &text).await;
        assert!(scene.lease().await.is_empty());
        assert!(!scene.outbox.is_current(&scene.current).await.unwrap());
        scene.current = later;
        assert!(scene.outbox.is_current(&scene.current).await.unwrap());
        assert_eq!(scene.deliver().await, ["inserted a"]);
    }
}

#[tokio::test]
async fn concurrent_couriers_lease_different_deliveries() {
    let mut scene = Scene::with(postgres().await, ANY).await;
    let records: Vec<String> = (0..400).map(|number| format!("k{number:03}=1")).collect();
    scene.commit(&records).await;
    let couriers = (0..8)
        .map(|_| scene.outbox.lease(&scene.current, scene.destination(), "me", LEASE_TERM, 50));
    let leased = futures::future::try_join_all(couriers).await.unwrap();
    let keys: Vec<String> = leased.into_iter().flatten().map(|attempt| attempt.key).collect();
    let different: BTreeSet<&String> = keys.iter().collect();
    assert_eq!(keys.len(), different.len());
    assert!(keys.len() >= 50, "{}", keys.len());
}
