//! Small disks, and a NATS server on one.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use async_nats::jetstream::{
    self,
    context::{Context, PublishError},
    stream::Config,
};
use jetline_testkit::{
    disk::SmallDisk,
    nats::{NatsOptions, NatsServer},
};

const MEGABYTE: u64 = 1 << 20;
/// The timeout of a publish that is not acknowledged.
const NO_ACK_TIMEOUT: Duration = Duration::from_secs(1);

#[test]
fn small_disk_is_full_until_it_is_freed() {
    let disk = SmallDisk::mount(4 * MEGABYTE).unwrap();
    let file = disk.folder().join("file");
    let content = vec![7; 1 << 20];
    fs::write(&file, &content).unwrap();
    disk.fill().unwrap();
    disk.fill().unwrap();
    let more = disk.folder().join("more");
    let error = fs::write(&more, &content).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(fs::read(&file).unwrap(), content);
    disk.free().unwrap();
    fs::write(&more, &content).unwrap();
    let error = fs::write(&more, vec![7; 4 << 20]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
}

#[test]
fn small_disk_leaves_nothing_behind() {
    let disk = SmallDisk::mount(MEGABYTE).unwrap();
    let folder = disk.folder().to_owned();
    fs::write(folder.join("file"), "x").unwrap();
    // Other processes see only the empty mount point.
    let root = folder.components().take(4).collect::<PathBuf>();
    let place = Path::new("/").join(folder.strip_prefix(root).unwrap());
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    drop(disk);
    assert!(!folder.exists());
    assert!(!place.exists());
}

/// NATS 2.9 disables `JetStream` at the first write without space, and acknowledges no publish until it is restarted, even
/// with free space.
#[tokio::test]
async fn nats_on_a_full_disk_acknowledges_nothing_and_loses_nothing() {
    let disk = SmallDisk::mount(32 * MEGABYTE).unwrap();
    let options = NatsOptions { store: Some(disk.folder().join("nats")), ..NatsOptions::default() };
    let mut server = NatsServer::start_with(options).unwrap();
    let stream =
        Config { name: "S".to_owned(), subjects: vec!["s".to_owned()], ..Config::default() };
    let mut context = connect(&server).await;
    context.create_stream(stream).await.unwrap();
    for sequence in 1..=5 {
        assert_eq!(publish(&context).await.unwrap(), sequence);
    }

    disk.fill().unwrap();
    context.set_timeout(NO_ACK_TIMEOUT);
    for _ in 0..3 {
        publish(&context).await.unwrap_err();
    }

    disk.free().unwrap();
    server.restart().unwrap();
    let context = connect(&server).await;
    let mut stream = context.get_stream("S").await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.messages, 5);
    assert_eq!(publish(&context).await.unwrap(), 6);
}

async fn connect(server: &NatsServer) -> Context {
    let client = async_nats::connect(server.url().as_str()).await.unwrap();
    jetstream::new(client)
}

/// Publishes more than a page, and returns its sequence number.
async fn publish(context: &Context) -> Result<u64, PublishError> {
    let acknowledged = context.publish("s", vec![7; 100_000].into()).await?;
    Ok(acknowledged.await?.sequence)
}
