//! An entry of a listing as an object version.

use chrono::DateTime;

use super::pages::Listed;
use crate::ObjectVersion;

/// What stands for the `ETag` where the server lists none: size and time. An `ETag` is quoted.
const WITHOUT_ETAG: &str = "size-and-time:";

/// Whether the version has an `ETag`, on the condition of which it can be read.
pub(super) fn has_etag(version: &ObjectVersion) -> bool {
    !version.etag.starts_with(WITHOUT_ETAG)
}

/// The version, or why the entry is none.
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
        .ok_or("the server lists it without the time of writing")?;
    let etag = object.e_tag.filter(|etag| !etag.is_empty());
    let etag = etag.unwrap_or_else(|| {
        let time = written.timestamp_nanos_opt().unwrap_or_default();
        format!("{WITHOUT_ETAG}{size}-{time}")
    });
    Ok(ObjectVersion {
        root: root.to_owned(),
        key: listed.key,
        etag,
        size,
        last_modified: written,
    })
}
