//! Replays of rejected lines after a fix, and objects with too many of them.

use jetline_oracle::{
    catalogue::{line, lines},
    fold,
};

use crate::{
    deployment::{BUCKET, Deployment, failed, finish, succeeded, terminate},
    wait::until,
};

/// Makes the database refuse items in one of their states.
const REFUSE: &str = "ALTER TABLE products ADD CONSTRAINT refuse CHECK (title NOT LIKE '%state 3')";

/// Objects with lines that the database refuses, and later lines with the same ids.
fn refused_objects() -> [Vec<u8>; 3] {
    let refused = [line(501, 3), line(502, 3), String::new()].join("\n");
    let later = [line(501, 1), line(503, 3), line(504, 0), String::new()].join("\n");
    [
        lines(1, 40, 30),
        [refused.as_bytes(), &lines(2, 60, 30)].concat(),
        [later.as_bytes(), &lines(3, 60, 30)].concat(),
    ]
}

async fn rejected_by_the_database(deployment: &Deployment) -> usize {
    let objects = deployment.ledger.objects().await.unwrap();
    let rejected: i64 = objects.iter().map(|object| object.rejected).sum();
    usize::try_from(rejected).unwrap()
}

#[tokio::test]
async fn refused_lines_become_rows_after_a_fix_and_later_lines_still_win() {
    let mut deployment = Deployment::shared("refused").await;
    let contents = refused_objects();
    deployment.put_all(&contents);
    deployment.ledger.run(REFUSE).await.unwrap();
    let _writers = deployment.writers(2);
    deployment.set("WATCH", "1h");
    let watching = deployment.start("jetline-fetcher");
    let done = async || {
        let objects = deployment.ledger.objects().await.unwrap();
        (objects.len() == 3 && objects.iter().all(|object| object.state == "done")).then_some(())
    };
    until("all objects are done", done).await;
    assert!(rejected_by_the_database(&deployment).await >= 3);

    let replay = |flags: &[&str]| {
        let flags = [&["replay", "--rejects"], flags].concat();
        finish(deployment.start_with("jetline-fetcher", &flags))
    };
    let output = succeeded(replay(&["--reason", "invalid_json"]));
    assert!(output.contains("Nothing to replay"), "{output}");
    let output = failed(replay(&["--reason", "bad_mood"]));
    assert!(output.contains("refused_by_database"), "{output}");
    let output = succeeded(replay(&["--dry-run"]));
    assert!(output.contains("would be read again"), "{output}");
    assert!(done().await.is_some());

    deployment.ledger.run("ALTER TABLE products DROP CONSTRAINT refuse").await.unwrap();
    let output = succeeded(replay(&["--reason", "refused_by_database"]));
    assert!(output.contains("are read again"), "{output}");
    until("all objects are done again", done).await;
    let expected = fold(&contents);
    assert_eq!(expected.rejects.len(), 0);
    deployment.ledger.assert_replayed(&expected).await;
    succeeded(terminate(watching));
}

#[tokio::test]
async fn replay_past_a_deleted_object_is_refused_and_names_it() {
    let deployment = Deployment::shared("past").await;
    let contents: Vec<Vec<u8>> = (0..4).map(|seed| lines(seed, 20, 30)).collect();
    deployment.put_all(&contents);
    succeeded(deployment.load());
    deployment.s3.delete(BUCKET, "1.jsonl");
    deployment.put("2.jsonl", 100, &lines(9, 20, 30));
    let replay =
        |number| finish(deployment.start_with("jetline-fetcher", &["replay", "--object", number]));
    let output = failed(replay("1"));
    for words in ["object 2 (s3://shop/1.jsonl)", "object 3 (s3://shop/2.jsonl)"] {
        assert!(output.contains(words), "{output}");
    }
    let output = failed(replay("77"));
    assert!(output.contains("there is no object 77"), "{output}");
    deployment.ledger.assert_holds(&fold(&contents)).await;
    let output = succeeded(replay("4"));
    assert!(output.contains("1 objects"), "{output}");
}

#[tokio::test]
async fn object_with_too_many_rejected_lines_ends_early_and_alone() {
    let mut deployment = Deployment::shared("reject_limit").await;
    deployment.set("MAX_REJECTS", "40");
    deployment.set("FETCH_OBJECTS", "1");
    // A small queue, so that most lines are not read yet when the object ends, however slow the machine is.
    deployment.set("NATS_MAX_BYTES", "20000");
    let (before, after) = (lines(1, 50, 50), lines(2, 50, 50));
    let bad = br#"{"id":7}"#.iter().chain(b"\n").copied();
    let bad: Vec<u8> = std::iter::repeat_n(bad, 2_000_000).flatten().collect();
    deployment.put("a.jsonl", 0, &before);
    deployment.put("b.jsonl", 1, &bad);
    deployment.put("c.jsonl", 2, &after);
    let output = failed(deployment.load());
    let objects = deployment.ledger.objects().await.unwrap();
    let failed = &objects[1];
    assert_eq!((failed.state.as_str(), failed.total_lines), ("failed", None));
    assert!((41..2_000_000).contains(&failed.rejected), "{failed:?}");
    assert_eq!(failed.lines(), failed.rejected);
    let error = failed.error.as_deref().unwrap();
    let reason = "more than 40 lines were rejected (MAX_REJECTS); first: line ";
    assert!(error.starts_with(reason) && error.contains("missing_field"), "{error}");
    assert!(output.contains(error), "{output}");
    for object in [&objects[0], &objects[2]] {
        assert_eq!(object.state, "done", "{object:?}");
    }
    let expected = fold(&[&before[..], b"", &after]);
    deployment.ledger.assert_rows(&expected.rows).await;
}
