//! Bad objects, and a source with faults: errors name the object and the location, and nothing else is affected.

use std::time::Duration;

use jetline_oracle::{
    catalogue::{Compression, compress, line, lines, lines_with_bad_ones},
    fold,
};
use jetline_testkit::{process::free_port, s3::Fault};

use crate::{
    deployment::{BUCKET, Deployment, failed, finish, succeeded, terminate},
    wait::until,
};

#[tokio::test]
async fn empty_object_is_done_and_has_no_lines() {
    let deployment = Deployment::shared("empty").await;
    deployment.put("empty.jsonl", 0, b"");
    deployment.put("empty.jsonl.gz", 1, b"");
    let nothing = compress(Compression::Gzip, b"").await;
    deployment.put("nothing.jsonl.gz", 2, &nothing);
    succeeded(deployment.load());
    deployment.ledger.assert_holds(&fold(&[b"", b"", b""])).await;
}

#[tokio::test]
async fn object_with_a_wrong_extension_fails_alone() {
    let deployment = Deployment::shared("mismatch").await;
    let (before, after) = (lines(1, 50, 50), lines(2, 50, 50));
    deployment.put("a.jsonl", 0, &before);
    deployment.put("b.jsonl.gz", 1, b"{\"id\":1}\n");
    deployment.put("c.jsonl", 2, &after);
    let output = failed(deployment.load());
    let failed = &deployment.ledger.objects().await.unwrap()[1];
    assert_eq!((failed.key.as_str(), failed.state.as_str()), ("b.jsonl.gz", "failed"));
    let error = failed.error.clone().unwrap();
    assert!(error.contains("not gzip data although its name ends in .gz"), "{error}");
    assert!(output.contains("b.jsonl.gz") && output.contains(&error), "{output}");
    let expected = fold(&[&before[..], b"", &after]);
    deployment.ledger.assert_agrees(&expected).await;
}

#[tokio::test]
async fn complete_lines_before_corrupt_data_are_kept() {
    let deployment = Deployment::shared("truncated").await;
    let whole = lines_with_bad_ones(1, 300, 100, 20);
    let half = line(100_000, 0);
    let content = [&whole[..], &half.as_bytes()[..40]].concat();
    let mut stored = compress(Compression::Gzip, &content).await;
    // A second member with only its header.
    stored.extend_from_slice(&compress(Compression::Gzip, &lines(2, 10, 10)).await[..12]);
    deployment.put("a.jsonl.gz", 0, &stored);
    let good = lines(3, 50, 100);
    deployment.put("b.jsonl", 1, &good);
    let output = failed(deployment.load());
    let failed = &deployment.ledger.objects().await.unwrap()[0];
    assert_eq!(failed.state, "failed");
    let error = failed.error.clone().unwrap();
    assert!(error.contains("the object is truncated"), "{error}");
    assert!(output.contains(&error), "{output}");
    let expected = fold(&[&whole, &good]);
    deployment.ledger.assert_agrees(&expected).await;
    let (_, output) = deployment.fetch();
    assert!(output.contains("Nothing new"), "{output}");
}

#[tokio::test]
async fn line_of_a_megabyte_is_rejected_alone() {
    let deployment = Deployment::shared("long").await;
    let long = format!("{{\"id\":2,\"title\":\"{}\"}}", "x".repeat(1 << 20));
    let content = format!("{}\n{long}\n{}\n", line(1, 0), line(3, 0));
    deployment.put("long.jsonl", 0, content.as_bytes());
    succeeded(deployment.load());
    let expected = fold(&[&content]);
    assert_eq!((expected.rows.len(), expected.rejects.len()), (2, 1));
    deployment.ledger.assert_holds(&expected).await;
}

#[tokio::test]
async fn failed_and_interrupted_responses_are_retried() {
    let mut deployment = Deployment::shared("answers").await;
    deployment.set("S3_PART_SIZE", "8KiB");
    let content = lines_with_bad_ones(1, 600, 300, 50);
    deployment.put("a.jsonl", 0, &content);
    let parts = content.len().div_ceil(8 << 10) as u64;
    let s3 = &deployment.s3;
    s3.fail_next(1, &Fault::Status(503));
    s3.fail_next_gets(2, &Fault::Status(500));
    s3.fail_next_gets(4, &Fault::CutBody(1000));
    s3.fail_next_gets(2, &Fault::Status(503));
    s3.fail_next_gets(1, &Fault::Delay(Duration::from_millis(300)));
    s3.fail_next_gets(12, &Fault::CutBody(0));
    succeeded(deployment.load());
    assert_eq!(s3.lists(), 2);
    assert!(s3.gets() >= parts + 20, "{} for {parts}", s3.gets());
    deployment.ledger.assert_holds(&fold(&[&content])).await;
}

#[tokio::test]
async fn objects_on_every_page_of_a_long_list_are_found() {
    let mut deployment = Deployment::shared("pages").await;
    deployment.set("SOURCE", &format!("s3://{BUCKET}/*.jsonl"));
    for number in 0..1500 {
        deployment.put(&format!("{number:04}.old"), number, b"nonsense");
    }
    let contents: Vec<Vec<u8>> = (0..4).map(|seed| lines(seed, 20, 30)).collect();
    for (second, content) in (0..).zip(&contents) {
        deployment.put(&format!("{second}500.jsonl"), second, content);
    }
    succeeded(deployment.load());
    assert_eq!(deployment.s3.lists(), 2);
    deployment.ledger.assert_holds(&fold(&contents)).await;
}

#[tokio::test]
async fn bucket_that_does_not_exist_is_named() {
    let mut deployment = Deployment::shared("bucket").await;
    deployment.set("SOURCE", "s3://no-such-bucket/products");
    let output = failed(deployment.fetch());
    for words in ["s3://no-such-bucket/products", "SOURCE", "the bucket does not exist"] {
        assert!(output.contains(words), "{output}");
    }
}

#[tokio::test]
async fn watching_fetcher_waits_for_a_bucket_that_is_created_later() {
    let mut deployment = Deployment::shared("later").await;
    deployment.set("SOURCE", "s3://later");
    deployment.set("WATCH", "1s");
    let (_writers, fetcher) = (deployment.writers(1), deployment.start("jetline-fetcher"));
    until("the fetcher logs that the bucket is missing", async || {
        let output = fetcher.output();
        output.contains("the bucket does not exist").then_some(())
    })
    .await;
    let content = lines(1, 50, 20);
    deployment.s3.create_bucket("later");
    deployment.s3.put("later", "a.jsonl", content.clone());
    until("the object is loaded", async || {
        let objects = deployment.ledger.objects().await.unwrap();
        objects.first().filter(|object| object.state == "done")?;
        Some(())
    })
    .await;
    succeeded(terminate(fetcher));
    deployment.ledger.assert_holds(&fold(&[&content])).await;

    deployment.set("SOURCE", "s3://never");
    deployment.set("STARTUP_TIMEOUT", "1s");
    let output = failed(deployment.fetch());
    for words in ["cannot start without the sources (SOURCE)", "s3://never"] {
        assert!(output.contains(words), "{output}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_reported_by_their_settings_only() {
    let mut deployment = Deployment::shared("credentials").await;
    for (name, value) in
        [("AWS_ACCESS_KEY_ID", "unknown-user"), ("AWS_SECRET_ACCESS_KEY", "hunter2")]
    {
        let right = deployment.set(name, value);
        let output = failed(deployment.fetch());
        assert!(output.contains(&format!("s3://{BUCKET}")), "{output}");
        assert!(output.contains("AWS_SECRET_ACCESS_KEY"), "{output}");
        assert!(!output.contains("hunter2"), "{output}");
        deployment.set(name, &right);
    }
    deployment.unset("AWS_SECRET_ACCESS_KEY");
    let output = failed(deployment.fetch());
    assert!(output.contains("AWS_SECRET_ACCESS_KEY"), "{output}");
}

#[tokio::test]
async fn directory_that_does_not_exist_is_named() {
    let mut deployment = Deployment::shared("directory").await;
    deployment.set("SOURCE", "./no/such/place");
    let output = failed(deployment.fetch());
    assert!(output.contains("./no/such/place"), "{output}");
}

#[tokio::test]
async fn source_that_cannot_be_reached_at_start_is_named() {
    let mut deployment = Deployment::shared("source_away").await;
    let closed_port = format!("http://127.0.0.1:{}", free_port().unwrap());
    deployment.set("AWS_ENDPOINT_URL", &closed_port);
    deployment.set("STARTUP_TIMEOUT", "1s");
    let output = failed(finish(deployment.start("jetline-fetcher")));
    assert!(output.contains("(SOURCE)"), "{output}");
    assert!(!output.contains(deployment.s3.secret_key()), "{output}");
}
