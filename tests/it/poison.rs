//! A chunk that kills its writer every time is dead-lettered alone, and is loaded by a replay after the cause is removed.

use jetline_oracle::{
    catalogue::{line, lines},
    fold,
    ledger::Ledger,
};
use jetline_testkit::http;
use sea_orm::{ConnectionTrait, DatabaseTransaction, TransactionTrait};

use crate::{
    deployment::{Deployment, finish, succeeded, terminate},
    metrics::value,
    wait::until,
};

/// The record that kills writers.
const POISON: i64 = 4242;

const FAILED: &str = r#"jetline_objects_total{state="failed"}"#;

/// A writer of the record waits for a lock of the test, and is killed there.
struct Trap {
    ledger: Ledger,
    lock: DatabaseTransaction,
}

impl Trap {
    async fn set(ledger: &Ledger) -> Self {
        let sql = format!(
            "CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM pg_advisory_xact_lock({POISON}); RETURN NEW; END $$;
             CREATE TRIGGER trap BEFORE INSERT ON products FOR EACH ROW
             WHEN (NEW.id = {POISON}) EXECUTE FUNCTION trap()"
        );
        ledger.run(&sql).await.unwrap();
        let lock = ledger.0.begin().await.unwrap();
        let sql = format!("SELECT pg_advisory_xact_lock({POISON})");
        lock.execute_unprepared(&sql).await.unwrap();
        Self { ledger: ledger.clone(), lock }
    }

    /// The waiting connection.
    async fn caught(&self) -> Option<String> {
        let sql = format!(
            "SELECT CAST(pid AS TEXT) AS text FROM pg_locks WHERE locktype = 'advisory' AND objid = {POISON} AND NOT granted"
        );
        self.ledger.texts(&sql).await.unwrap().pop()
    }

    /// Waits until the server has noticed the end of the process.
    async fn free(&self, pid: &str) {
        let sql = format!("SELECT pg_terminate_backend({pid})");
        self.ledger.run(&sql).await.unwrap();
        until("the trap is empty", async || self.caught().await.is_none().then_some(())).await;
    }

    async fn remove(self) {
        self.lock.rollback().await.unwrap();
        self.ledger.run("DROP TRIGGER trap ON products").await.unwrap();
    }
}

#[tokio::test]
async fn chunk_that_kills_its_writers_is_dead_lettered_alone_and_loaded_by_a_replay() {
    let mut deployment = Deployment::shared("poison").await;
    deployment.set_all([
        ("NATS_ACK_WAIT", "1s"),
        ("MAX_DELIVER", "2"),
        ("WRITER_WORKERS", "1"),
        ("FETCH_OBJECTS", "1"),
    ]);
    // The last object repeats the first one, which leaves only the position of the row: the poisoned one, committed later,
    // must not supersede it.
    let first = lines(1, 30, 20);
    let poisoned = format!("{}\n{}\n{}\n", line(1, 9), line(POISON, 0), line(2, 9));
    let last = [&first[..], &lines(2, 40, 60)].concat();
    deployment.put("a.jsonl", 0, &first);
    succeeded(deployment.load());
    deployment.put("b.jsonl", 1, poisoned.as_bytes());
    deployment.put("c.jsonl", 2, &last);

    let trap = Trap::set(&deployment.ledger).await;
    deployment.set("WATCH", "1h");
    let (fetcher, metrics) = deployment.serve("jetline-fetcher").await;
    let killed = kill_until_dead_lettered(&deployment, &trap).await;
    // Three times with others, and twice alone.
    assert_eq!(killed, 5);
    let _writer = deployment.start("jetline-writer");
    until("the object behind it is done", async || {
        let objects = deployment.ledger.objects().await.unwrap();
        (objects[2].state == "done").then_some(())
    })
    .await;

    let (_api, api) = deployment.serve("jetline-api").await;
    let object = http::get(api, "/objects/2", &[]).await.unwrap().json();
    assert_eq!((&object["state"], &object["lines"]), (&"failed".into(), &0.into()));
    let dead_lettered = "1 chunks crashed their writer too often and were dead-lettered";
    assert_eq!(object["error"], dead_lettered);
    until("the failure is counted", async || {
        value(metrics, FAILED).await.filter(|failed| *failed == 1)
    })
    .await;
    let without = fold(&[&first[..], b"", &last]);
    deployment.ledger.assert_rows(&without.rows).await;
    let (_, output) = terminate(fetcher);
    assert!(output.contains(dead_lettered), "{output}");

    trap.remove().await;
    deployment.unset("WATCH");
    let output =
        succeeded(finish(deployment.start_with("jetline-fetcher", &["replay", "--object", "2"])));
    assert!(output.contains("2 objects"), "{output}");
    let output = succeeded(deployment.fetch());
    assert!(output.contains("b.jsonl") && output.contains("c.jsonl"), "{output}");
    let whole = fold(&[&first[..], poisoned.as_bytes(), &last]);
    deployment.ledger.assert_replayed(&whole).await;
}

/// Kills every writer of the record, until there are none; returns how many.
async fn kill_until_dead_lettered(deployment: &Deployment, trap: &Trap) -> usize {
    for killed in 0.. {
        let mut writer = deployment.start("jetline-writer");
        let caught = until("a writer is caught, or the chunk is dead-lettered", async || {
            if let Some(pid) = trap.caught().await {
                return Some(Some(pid));
            }
            let objects = deployment.ledger.objects().await.unwrap();
            objects.get(1)?.error.as_ref().map(|_| None)
        });
        let Some(pid) = caught.await else {
            return killed;
        };
        writer.kill();
        trap.free(&pid).await;
    }
    unreachable!("the loop ends by returning");
}
