//! A local directory.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use chrono::{DateTime, Utc};
use jetline_source::{Error, Location, S3Config, Source, open};
use tempfile::TempDir;

use crate::conformance::{Fixture, all, conforms, only};

pub(crate) struct Files {
    directory: TempDir,
    /// Each file is a second older than the next: the clocks of file systems are too coarse for a test.
    clock: AtomicI64,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self { directory: TempDir::new().unwrap(), clock: AtomicI64::new(1_000_000_000) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) async fn open(&self, path: &str) -> Result<Arc<dyn Source>, Error> {
        let location = format!("{}/{path}", self.directory.path().display());
        let location: Location = location.parse().unwrap();
        open(&location, &S3Config::default()).await
    }
}

impl Fixture for Files {
    fn put(&self, key: &str, content: &[u8]) {
        let path = self.directory.path().join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        let seconds = self.clock.fetch_add(1, Ordering::Relaxed);
        self.set_last_modified(key, DateTime::from_timestamp(seconds, 0).unwrap());
    }

    fn set_last_modified(&self, key: &str, time: DateTime<Utc>) {
        let file = File::options().append(true).open(self.directory.path().join(key));
        file.unwrap().set_modified(time.into()).unwrap();
    }

    fn delete(&self, key: &str) {
        fs::remove_file(self.directory.path().join(key)).unwrap();
    }

    async fn source(&self, pattern: &str) -> Arc<dyn Source> {
        self.open(pattern).await.unwrap()
    }

    async fn missing(&self) -> Error {
        self.open("nowhere/").await.err().unwrap()
    }
}

conforms!(Files::new());

#[tokio::test]
async fn root_is_the_absolute_directory() {
    let files = Files::new();
    let source = files.open("../").await.unwrap();
    let parent = files.directory.path().parent().unwrap().canonicalize().unwrap();
    assert_eq!(source.root(), format!("file://{}", parent.display()));
}

#[tokio::test]
async fn deleted_directory_is_not_found_and_named() {
    let files = Files::new();
    let source = files.open("").await.unwrap();
    fs::remove_dir(files.directory.path()).unwrap();
    let error = source.list().await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert!(error.to_string().contains(files.directory.path().to_str().unwrap()));
}

#[tokio::test]
async fn glob_below_a_missing_directory_is_not_found() {
    let error = Files::new().open("nowhere/*.jsonl").await.err().unwrap();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn replaced_file_of_the_same_size_and_time_is_changed() {
    let files = Files::new();
    files.put("a.jsonl", b"one");
    let source = files.source("").await;
    let object = only(&*source).await;
    files.put(".b.jsonl", b"two");
    files.set_last_modified(".b.jsonl", object.last_modified);
    let path = |name| files.directory.path().join(name);
    fs::rename(path(".b.jsonl"), path("a.jsonl")).unwrap();
    let read = all(source.read(&object, 0..3)).await;
    assert!(matches!(read, Err(Error::Changed { .. })));
}

#[tokio::test]
async fn links_to_files_are_followed_and_links_to_directories_are_not() {
    let files = Files::new();
    files.put("a.jsonl", b"one");
    let path = |name| files.directory.path().join(name);
    symlink(path("a.jsonl"), path("b.jsonl")).unwrap();
    symlink(files.directory.path(), path("c")).unwrap();
    symlink(path("nowhere"), path("d.jsonl")).unwrap();
    let objects = files.source("").await.list().await.unwrap().objects;
    let keys: Vec<_> = objects.iter().map(|object| &object.key).collect();
    assert_eq!(keys, ["a.jsonl", "b.jsonl"]);
}
