//! Converts an entry of a listing to an object version.

use aws_sdk_s3::Client;
use chrono::DateTime;

use super::pages::{Listed, Pages};
use crate::{Error, ObjectVersion};

/// The prefix of the substitute for a missing `ETag`: size and time. A real `ETag` is quoted.
const WITHOUT_ETAG: &str = "size-and-time:";

/// Whether the version has an `ETag`, for `If-Match`.
pub(super) fn has_etag(version: &ObjectVersion) -> bool {
    !version.etag.starts_with(WITHOUT_ETAG)
}

/// The version, or why the entry is skipped.
pub(super) fn read(root: &str, listed: Listed) -> Result<ObjectVersion, &'static str> {
    if listed.escaped.is_some() {
        return Err("its key is not UTF-8");
    }
    let object = listed.object;
    let size = object.size.and_then(|size| u64::try_from(size).ok());
    let size = size.ok_or("the server lists it without a size")?;
    let written = object
        .last_modified
        .and_then(|at| DateTime::from_timestamp(at.secs(), at.subsec_nanos()))
        .ok_or("the server lists it without a modification time")?;
    let etag = object.e_tag.filter(|etag| !etag.is_empty());
    let etag = etag.unwrap_or_else(|| {
        let time = written.timestamp_nanos_opt().unwrap_or_default();
        format!("{WITHOUT_ETAG}{size}-{time}")
    });
    Ok(ObjectVersion { root: root.to_owned(), key: listed.key, etag, size, last_modified: written })
}

/// The current version of a key, as a listing shows it.
pub(super) async fn current(
    client: &Client,
    bucket: &str,
    root: &str,
    key: &str,
    max_keys: u64,
) -> Result<Option<ObjectVersion>, Error> {
    let uri = format!("{root}/{key}");
    let mut pages = Pages::new(client, bucket, key, uri, max_keys);
    while let Some(page) = pages.next().await? {
        let mut page = page.into_iter();
        if let Some(found) = page.find(|entry| entry.escaped.is_none() && entry.key == *key) {
            return Ok(read(root, found).ok());
        }
    }
    Ok(None)
}
