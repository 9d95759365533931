//! The port for writing.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use crate::{Error, Location, ObjectVersion, Pattern};

pub(crate) const WRITE: &str = "write";
pub(crate) const DELETE: &str = "delete";

/// Writes objects, which a source of the same location lists.
///
/// Keys are relative to the root and begin with the prefix. One that a listing of the location would not show is refused: a
/// hidden one, or one without the extension of a format.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// What keys are relative to, as [`Source::root`](crate::Source::root) of the same location.
    fn root(&self) -> &str;

    /// What all keys begin with: empty, or it ends in `/`.
    fn prefix(&self) -> &str;

    /// Begins an object. No listing shows it before it is finished.
    async fn create(&self, key: &str) -> Result<Upload, Error>;

    /// Deletes an object, if there is one.
    async fn delete(&self, key: &str) -> Result<(), Error>;
}

/// An object that is being written.
///
/// If it is dropped before [`Upload::finish`], or a call of [`Upload::write`] fails or is not awaited to its end, nothing is
/// left of it, as far as the store can be reached.
pub struct Upload {
    uri: String,
    part_bytes: usize,
    /// The part that is being filled.
    part: BytesMut,
    /// `None` after a call that failed.
    writer: Option<Box<dyn PartWriter>>,
}

impl Upload {
    /// An upload to this URI, in parts of `part_bytes`, through `writer`.
    #[must_use]
    pub fn new(uri: String, part_bytes: usize, writer: Box<dyn PartWriter>) -> Self {
        Self { uri, part_bytes: part_bytes.max(1), part: BytesMut::new(), writer: Some(writer) }
    }

    /// Appends bytes. Up to two parts are in memory: one is filled while the other is stored.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), Error> {
        while !bytes.is_empty() {
            if self.part.len() == self.part_bytes {
                self.write_part().await?;
            }
            let room = self.part_bytes - self.part.len();
            self.part.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
        }
        Ok(())
    }

    /// Stores the object durably and makes it visible. Returns its version, exactly as a listing shows it.
    ///
    /// [`Error::AlreadyExists`] if there is an object of this key, unless the server knows no conditional writes: then the
    /// object is overwritten. After another error, or if it is not awaited to its end, the object may exist: the response may
    /// have been lost, or only the listing have failed.
    pub async fn finish(mut self) -> Result<ObjectVersion, Error> {
        let writer = self.writer()?;
        writer.finish(self.part.freeze()).await
    }

    /// Removes what is stored of it.
    pub async fn abort(mut self) {
        if let Some(writer) = self.writer.take() {
            writer.abort().await;
        }
    }

    async fn write_part(&mut self) -> Result<(), Error> {
        // Kept only after a success: an object with a gap is never finished.
        let mut writer = self.writer()?;
        writer.write_part(self.part.split().freeze()).await?;
        self.writer = Some(writer);
        Ok(())
    }

    fn writer(&mut self) -> Result<Box<dyn PartWriter>, Error> {
        self.writer.take().ok_or_else(|| Error::Unavailable {
            action: WRITE,
            uri: self.uri.clone(),
            source: "an earlier part failed".into(),
        })
    }
}

/// The adapter's part of an [`Upload`]. When it is dropped, it removes what it stored, as far as that is possible without
/// waiting.
#[async_trait]
pub trait PartWriter: Send {
    /// Stores a part, or begins to. An error may be returned by the next call.
    async fn write_part(&mut self, part: Bytes) -> Result<(), Error>;

    /// See [`Upload::finish`]; `last` is empty only if it is the only part.
    async fn finish(self: Box<Self>, last: Bytes) -> Result<ObjectVersion, Error>;

    /// See [`Upload::abort`].
    async fn abort(self: Box<Self>);
}

/// Refuses a location with wildcards.
pub(crate) fn check_directory(location: &Location, keys: &Pattern) -> Result<(), Error> {
    if !keys.is_glob() {
        return Ok(());
    }
    Err(Error::Refused {
        action: WRITE,
        uri: location.to_string(),
        reason: "it has wildcards: INTAKE_STORE is a directory or s3://bucket/prefix/".to_owned(),
    })
}

/// The keys below a prefix, which needs no slash at its end.
pub(crate) fn below(prefix: &str) -> Pattern {
    let slash = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
    Pattern::exact(&format!("{prefix}{slash}"))
}

/// Refuses a key that a listing would not show, or would show as another one. `keys` has no wildcards.
pub(crate) fn check_key(
    action: &'static str,
    root: &str,
    keys: &Pattern,
    key: &str,
) -> Result<(), Error> {
    let below = key.strip_prefix(keys.prefix()).unwrap_or_default();
    let has_empty_segment = below.split('/').any(str::is_empty);
    if keys.matches(key) && keys.takes(key) && !has_empty_segment {
        return Ok(());
    }
    Err(Error::Refused {
        action,
        uri: format!("{root}/{key}"),
        reason: "a listing of INTAKE_STORE does not show objects of such a key".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_a_listing_shows_are_allowed() {
        let check = |prefix, key| check_key(WRITE, "s3://shop", &below(prefix), key);
        for (prefix, key) in [
            ("", "a.jsonl"),
            ("", "orders/2026-11-27/ü b.jsonl.gz"),
            ("in", "in/a.jsonl"),
            ("in/", "in/a.jsonl"),
            ("_in/", "_in/a.jsonl"),
        ] {
            assert!(check(prefix, key).is_ok(), "{prefix} {key}");
        }
        for (prefix, key) in [
            ("", ""),
            ("", "a"),
            ("", "/a.jsonl"),
            ("", "a//b.jsonl"),
            ("", "a/"),
            ("", ".a.jsonl"),
            ("", "a/../b.jsonl"),
            ("", "_a/b.jsonl"),
            ("in", "a.jsonl"),
            ("in", "in.jsonl"),
            ("in", "in2/a.jsonl"),
            ("in/", "in//a.jsonl"),
        ] {
            let error = check(prefix, key).unwrap_err();
            assert!(matches!(error, Error::Refused { .. }), "{prefix} {key}");
        }
    }
}
