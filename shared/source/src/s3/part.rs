//! Reads one range of an object, resuming after interrupted connections.

use std::{collections::VecDeque, ops::Range};

use aws_sdk_s3::{Client, operation::get_object::GetObjectOutput, primitives::DateTime};
use bytes::Bytes;
use jetline_runtime::Backoff;

use super::{
    failure::{self, Failure},
    version,
};
use crate::{Error, ObjectVersion};

/// How often an interrupted body is resumed. (The SDK retries requests without a response.)
const MAX_RESUMES: u32 = 5;
/// How often a request is retried whose response contradicts the server's own listing.
const MAX_CONTRADICTIONS: u32 = 3;

/// A request for an object version.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) client: Client,
    pub(super) bucket: String,
    pub(super) version: ObjectVersion,
    /// The most keys of a listing.
    pub(super) max_keys: u64,
}

/// The bytes of a range, which must not be empty and must lie within the object.
pub(super) async fn read(request: Request, range: Range<u64>) -> Result<VecDeque<Bytes>, Error> {
    let mut backoff = Backoff::for_calls(range.start);
    let mut blocks = VecDeque::new();
    let mut missing = range;
    let mut resumes = 0;
    loop {
        let response = request.send(Some(&missing), &mut backoff).await?;
        let collected = collect(response, &mut missing, &mut blocks).await;
        if missing.is_empty() {
            return Ok(blocks);
        }
        let error = collected.err().unwrap_or_else(|| "the body ended too early".into());
        if resumes == MAX_RESUMES {
            return Err(failure::unavailable(request.version.uri(), error));
        }
        resumes += 1;
        tracing::debug!(object.uri = request.version.uri(), offset = missing.start, %error, "read interrupted, resuming");
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// Checks that an object that is listed as empty is empty; there is no range to request.
pub(super) async fn check_empty(request: Request) -> Result<(), Error> {
    let mut backoff = Backoff::for_calls(0);
    request.send(None, &mut backoff).await.map(drop)
}

/// Collects a body, up to the requested length.
async fn collect(
    response: GetObjectOutput,
    missing: &mut Range<u64>,
    blocks: &mut VecDeque<Bytes>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut body = response.body;
    while let Some(mut block) = body.try_next().await? {
        if missing.is_empty() {
            // A longer body is not read further.
            break;
        }
        let left = usize::try_from(missing.end - missing.start).unwrap_or(usize::MAX);
        block.truncate(left);
        missing.start += block.len() as u64;
        blocks.push_back(block);
    }
    Ok(())
}

impl Request {
    /// Gets that version. A response that denies it counts only if the server's listing confirms it.
    async fn send(
        &self,
        range: Option<&Range<u64>>,
        backoff: &mut Backoff,
    ) -> Result<GetObjectOutput, Error> {
        let mut contradictions = 0;
        loop {
            let (error, response) = match self.get(range).await {
                Ok(response) => return Ok(response),
                Err(Failure::Other(error)) => return Err(error),
                Err(Failure::Suspect { error, response }) => (error, response),
            };
            let ObjectVersion { root, key, .. } = &self.version;
            let max_keys = self.max_keys;
            match version::current(&self.client, &self.bucket, root, key, max_keys).await? {
                None => {
                    return Err(Error::Deleted { uri: self.version.uri() });
                }
                Some(now) if !self.is_of(&now) => {
                    return Err(Error::Changed { uri: self.version.uri() });
                }
                Some(_) => {}
            }
            if contradictions == MAX_CONTRADICTIONS {
                let uri = self.version.uri();
                let reason = format!(
                    "{response}, although the listing still has this version: check AWS_ENDPOINT_URL"
                );
                return Err(failure::refused(uri, reason));
            }
            contradictions += 1;
            tracing::warn!(%error, response, "response contradicts the listing, retrying");
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    fn is_of(&self, now: &ObjectVersion) -> bool {
        let ObjectVersion { etag, size, .. } = now;
        (etag, size) == (&self.version.etag, &self.version.size)
    }

    async fn get(&self, range: Option<&Range<u64>>) -> Result<GetObjectOutput, Failure> {
        let ObjectVersion { key, etag, last_modified, .. } = &self.version;
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let range_of = |range: &Range<u64>| format!("bytes={}-{}", range.start, range.end - 1);
        let request = request.set_range(range.map(range_of));
        let request = if version::has_etag(&self.version) {
            request.if_match(etag)
        } else {
            // The header has whole seconds: round up.
            let second =
                last_modified.timestamp() + i64::from(last_modified.timestamp_subsec_nanos() > 0);
            request.if_unmodified_since(DateTime::from_secs(second))
        };
        let response = request.send().await;
        let response = response.map_err(|error| failure::reading(&self.version.uri(), error))?;
        self.check(&response, range)?;
        Ok(response)
    }

    /// Checks the response: S3-compatible servers may ignore the condition or the range, or list wrong sizes.
    fn check(&self, response: &GetObjectOutput, range: Option<&Range<u64>>) -> Result<(), Failure> {
        let suspect = |response: String| Failure::Suspect {
            error: Error::Changed { uri: self.version.uri() },
            response,
        };
        let bare = |etag: &str| etag.trim_matches('"').to_owned();
        if let Some(etag) = response.e_tag()
            && version::has_etag(&self.version)
            && bare(etag) != bare(&self.version.etag)
        {
            let etag = failure::quoted(etag);
            return Err(suspect(format!("the response has the ETag {etag}")));
        }
        if !version::has_etag(&self.version)
            && let Some(written) = response.last_modified()
            && written.secs() != self.version.last_modified.timestamp()
        {
            return Err(suspect("the response has another modification time".into()));
        }
        let (total, listed) = match range {
            None => (response.content_length().map(i64::cast_unsigned), 0),
            Some(range) => {
                let total = total(response.content_range(), range.start).ok_or_else(|| {
                    let reason = "the response to a ranged request lacks that range or the object's size: check \
                                  AWS_ENDPOINT_URL";
                    Failure::Other(failure::refused(self.version.uri(), reason.into()))
                })?;
                (Some(total), self.version.size)
            }
        };
        match total {
            Some(total) if total != listed => Err(suspect(format!(
                "the response is of an object of {total} bytes, listed with {listed}"
            ))),
            _ => Ok(()),
        }
    }
}

/// The object's size from the `Content-Range` header, if the range has this start.
fn total(content_range: Option<&str>, start: u64) -> Option<u64> {
    let (range, total) = content_range?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    (first.parse() == Ok(start)).then(|| total.trim().parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_must_have_the_start_and_the_size() {
        assert_eq!(total(Some("bytes 5-9/10"), 5), Some(10));
        for header in ["bytes 5-9/*", "bytes 0-9/10", "bytes */10", "5-9/10", ""] {
            assert_eq!(total(Some(header), 5), None, "{header}");
        }
        assert_eq!(total(None, 5), None);
    }
}
