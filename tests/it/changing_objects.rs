//! Objects that change while they are read: the lines read of the old version are kept, and the new version is loaded in
//! the same run.

use jetline_oracle::{catalogue::lines, database_state::Object, fold};
use jetline_testkit::process::Process;

use crate::{
    deployment::{BUCKET, Deployment, failed, finish, succeeded},
    wait::logs,
};

/// A fetcher that is in the middle of `a.jsonl`, because the stream is full and has no consumer.
async fn in_the_middle(name: &str, content: &[u8]) -> (Deployment, Process) {
    let mut deployment = Deployment::shared(name).await;
    deployment.set("NATS_MAX_BYTES", "40000");
    deployment.set("S3_PART_SIZE", "8KiB");
    deployment.set("S3_PARALLEL_PARTS", "1");
    deployment.put("a.jsonl", 0, content);
    let fetcher = deployment.start("jetline-fetcher");
    logs(&fetcher, "publish chunk failed, retrying").await;
    (deployment, fetcher)
}

/// The lines of it that were read.
fn read_of(content: &[u8], object: &Object) -> Vec<u8> {
    let lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
    let read = usize::try_from(object.total_lines.unwrap()).unwrap();
    assert!(0 < read && read < lines.len(), "{object:?}");
    lines[..read].concat()
}

fn assert_failed(object: &Object, words: &str, output: &str) {
    assert_eq!(object.state, "failed");
    let error = object.error.as_deref().unwrap();
    assert!(error.contains("s3://shop/a.jsonl"), "{error}");
    assert!(error.contains(words), "{error}");
    assert!(output.contains(error), "{output}");
}

#[tokio::test]
async fn overwritten_object_fails_and_its_new_version_is_loaded_in_the_same_run() {
    let (old, new) = (lines(1, 900, 200), lines(2, 300, 400));
    let (deployment, fetcher) = in_the_middle("overwritten", &old).await;
    deployment.put("a.jsonl", 60, &new);
    let _writers = deployment.writers(2);
    let output = failed(finish(fetcher));
    let objects = deployment.ledger.objects().await.unwrap();
    assert_failed(&objects[0], "was overwritten while it was read", &output);
    assert_eq!(objects[1].state, "done");
    let expected = fold(&[&read_of(&old, &objects[0]), &new]);
    deployment.ledger.assert_agrees(&expected).await;
    let output = succeeded(deployment.fetch());
    assert!(output.contains("Nothing new"), "{output}");
}

#[tokio::test]
async fn deleted_object_fails_alone() {
    let (old, other) = (lines(1, 900, 200), lines(2, 300, 400));
    let (deployment, fetcher) = in_the_middle("deleted", &old).await;
    deployment.s3.delete(BUCKET, "a.jsonl");
    deployment.put("b.jsonl", 60, &other);
    let _writers = deployment.writers(2);
    let output = failed(finish(fetcher));
    let objects = deployment.ledger.objects().await.unwrap();
    assert_failed(&objects[0], "was deleted while it was read", &output);
    assert_eq!(objects[1].state, "done");
    let expected = fold(&[&read_of(&old, &objects[0]), &other]);
    deployment.ledger.assert_agrees(&expected).await;
}
