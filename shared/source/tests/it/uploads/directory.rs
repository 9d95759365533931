//! Writes to a directory.

use std::{env, fs, os::unix::fs::symlink, path::Path, process::Command};

use jetline_source::{Error, S3Config};
use jetline_testkit::disk::SmallDisk;

use super::{SEVERAL_PARTS, Store, begun, hidden_files, opened, write};
use crate::{
    conformance::{Fixture, content},
    directory::Files,
    s3::Bucket,
};

#[tokio::test]
async fn directory_is_created_with_its_parents() {
    let files = Files::new();
    let store = files.opened("x/y/in").await.unwrap();
    begun(&*store, "a.jsonl").await.finish().await.unwrap();
    assert!(files.path("x/y/in/a.jsonl").exists());
}

#[tokio::test]
async fn location_with_wildcards_or_of_a_file_is_refused() {
    let files = Files::new();
    files.put("a.jsonl", b"x");
    let bucket = Bucket::new();
    for opened in [
        files.opened("a.jsonl").await,
        files.opened("a.jsonl/b").await,
        files.opened("in-*/").await,
        opened("s3://shop/*.jsonl", &bucket.config()).await,
    ] {
        let error = opened.err().unwrap();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert!(error.to_string().contains("INTAKE_STORE"), "{error}");
    }
}

#[tokio::test]
async fn directory_whose_name_looks_like_a_pattern_is_written_to() {
    let files = Files::new();
    fs::create_dir(files.path("in[1]")).unwrap();
    let store = files.opened("in[1]").await.unwrap();
    begun(&*store, "a.jsonl").await.finish().await.unwrap();
    assert!(files.path("in[1]/a.jsonl").exists());
}

#[tokio::test]
async fn directory_that_cannot_take_a_file_is_refused() {
    let files = Files::new();
    let store = files.store().await;
    files.put("in/file.jsonl", b"x");
    fs::create_dir(files.path("elsewhere")).unwrap();
    symlink(files.path("elsewhere"), files.path("in/link")).unwrap();
    let long = format!("{}.jsonl", "a".repeat(300));
    for key in ["file.jsonl/a.jsonl", "link/a.jsonl", &long, "a/\0.jsonl"] {
        let error = match store.create(key).await {
            Ok(upload) => upload.finish().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(error, Error::Refused { .. }), "{key}: {error}");
        assert!(error.to_string().contains("INTAKE_STORE"), "{error}");
    }
    assert_eq!(files.unfinished(), 0);
}

/// Its disk may not be mounted.
#[tokio::test]
async fn missing_directory_is_refused_and_not_created_again() {
    let files = Files::new();
    let store = files.store().await;
    fs::remove_dir(files.path("in")).unwrap();
    let error = store.create("a/b.jsonl").await.err().unwrap();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(!files.path("in").exists());
}

/// The variable of the disk's directory for a test that runs itself again where the disk is mounted.
const DISK: &str = "JETLINE_TEST_DISK";

#[tokio::test]
async fn full_disk_is_refused_and_nothing_is_left() {
    if let Ok(disk) = env::var(DISK) {
        let store = opened(&format!("{disk}/in"), &S3Config::default()).await.unwrap();
        let mut upload = begun(&*store, "a.jsonl").await;
        let error = write(&mut upload, &content(SEVERAL_PARTS)).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert!(error.to_string().ends_with("make room in INTAKE_STORE"), "{error}");
        assert_eq!(hidden_files(Path::new(&disk)), 0);
        return;
    }
    let disk = SmallDisk::mount(4 << 20).unwrap();
    let mut again = Command::new(env::current_exe().unwrap());
    again.args(["--exact", "uploads::directory::full_disk_is_refused_and_nothing_is_left"]);
    let run = disk.enter(again.env(DISK, disk.mount_point())).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
}
