//! One range of an object, read to its end although connections break.

use std::{collections::VecDeque, ops::Range, time::Duration};

use aws_sdk_s3::{Client, operation::get_object::GetObjectOutput, primitives::DateTime};
use bytes::Bytes;
use jetline_runtime::Backoff;

use super::{
    failure::{self, Failure},
    pages::Pages,
    version,
};
use crate::{Error, ObjectVersion};

/// How often a body that breaks off is asked for again, from where it broke. (Requests that get no answer are repeated
/// by the SDK.)
const RESUMES: u32 = 5;
/// How often a server is asked again that says of an object what its own listing denies.
const CONTRADICTIONS: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Which version of which object.
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
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT, range.start);
    let mut blocks = VecDeque::new();
    let mut missing = range;
    let mut resumes = 0;
    loop {
        let answer = request.answer(Some(&missing), &mut backoff).await?;
        let broken = collect(answer, &mut missing, &mut blocks).await;
        if missing.is_empty() {
            return Ok(blocks);
        }
        let broken = broken
            .err()
            .unwrap_or_else(|| "the body ended too early".into());
        if resumes == RESUMES {
            return Err(failure::unavailable(request.version.uri(), broken));
        }
        resumes += 1;
        tracing::debug!(object.uri = request.version.uri(), offset = missing.start, error = %broken, "resuming a read");
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// Asks whether an object that is listed with no bytes has none; there is no range to ask for.
pub(super) async fn check_empty(request: Request) -> Result<(), Error> {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT, 0);
    request.answer(None, &mut backoff).await.map(drop)
}

/// Takes what a body has, and no more than was asked for.
async fn collect(
    answer: GetObjectOutput,
    missing: &mut Range<u64>,
    blocks: &mut VecDeque<Bytes>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut body = answer.body;
    while let Some(mut block) = body.try_next().await? {
        if missing.is_empty() {
            // A body without end is not read to it.
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
    /// An answer with that version. What the server says against it counts when its listing says so too.
    async fn answer(
        &self,
        range: Option<&Range<u64>>,
        backoff: &mut Backoff,
    ) -> Result<GetObjectOutput, Error> {
        let mut contradictions = 0;
        loop {
            let (error, said) = match self.get(range).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Other(error)) => return Err(error),
                Err(Failure::Suspect { error, said }) => (error, said),
            };
            match self.listed().await? {
                None => {
                    return Err(Error::Gone {
                        uri: self.version.uri(),
                    });
                }
                Some(now) if !self.is_of(&now) => {
                    return Err(Error::Changed {
                        uri: self.version.uri(),
                    });
                }
                Some(_) => {}
            }
            if contradictions == CONTRADICTIONS {
                let uri = self.version.uri();
                let reason = format!(
                    "{said}, although the listing shows this version of it: look at AWS_ENDPOINT_URL"
                );
                return Err(failure::refused(uri, reason));
            }
            contradictions += 1;
            tracing::warn!(%error, said, "the listing shows the object as it was, it is asked for again");
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// What the listing says of the key now.
    async fn listed(&self) -> Result<Option<ObjectVersion>, Error> {
        let (key, uri) = (&self.version.key, self.version.uri());
        let mut pages = Pages::new(&self.client, &self.bucket, key, uri, self.max_keys);
        while let Some(page) = pages.next().await? {
            let mut page = page.into_iter();
            if let Some(found) = page.find(|entry| entry.escaped.is_none() && entry.key == *key) {
                return Ok(version::read(&self.version.root, found).ok());
            }
        }
        Ok(None)
    }

    fn is_of(&self, now: &ObjectVersion) -> bool {
        let ObjectVersion { etag, size, .. } = now;
        (etag, size) == (&self.version.etag, &self.version.size)
    }

    async fn get(&self, range: Option<&Range<u64>>) -> Result<GetObjectOutput, Failure> {
        let ObjectVersion {
            key,
            etag,
            last_modified,
            ..
        } = &self.version;
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let range_of = |range: &Range<u64>| format!("bytes={}-{}", range.start, range.end - 1);
        let request = request.set_range(range.map(range_of));
        let request = if version::has_etag(&self.version) {
            request.if_match(etag)
        } else {
            // The header has whole seconds; what was written within one is no later than its end.
            let second =
                last_modified.timestamp() + i64::from(last_modified.timestamp_subsec_nanos() > 0);
            request.if_unmodified_since(DateTime::from_secs(second))
        };
        let answer = request.send().await;
        let answer = answer.map_err(|error| failure::reading(&self.version.uri(), error))?;
        self.check(&answer, range)?;
        Ok(answer)
    }

    /// Servers that are only nearly S3 may ignore the condition or the range; and what they list may not be true.
    fn check(&self, answer: &GetObjectOutput, range: Option<&Range<u64>>) -> Result<(), Failure> {
        let suspect = |said: String| Failure::Suspect {
            error: Error::Changed {
                uri: self.version.uri(),
            },
            said,
        };
        let bare = |etag: &str| etag.trim_matches('"').to_owned();
        if let Some(etag) = answer.e_tag()
            && version::has_etag(&self.version)
            && bare(etag) != bare(&self.version.etag)
        {
            let etag = failure::shown(etag);
            return Err(suspect(format!("the server answers with the ETag {etag}")));
        }
        if !version::has_etag(&self.version)
            && let Some(written) = answer.last_modified()
            && written.secs() != self.version.last_modified.timestamp()
        {
            return Err(suspect(
                "the server answers with another time of writing".into(),
            ));
        }
        let (total, listed) = match range {
            None => (answer.content_length().map(i64::cast_unsigned), 0),
            Some(range) => {
                let total = total(answer.content_range(), range.start).ok_or_else(|| {
                    let reason = "the server does not answer a request for a range with that range and the object's \
                                  size: look at AWS_ENDPOINT_URL";
                    Failure::Other(failure::refused(self.version.uri(), reason.into()))
                })?;
                (Some(total), self.version.size)
            }
        };
        match total {
            Some(total) if total != listed => Err(suspect(format!(
                "the server answers with an object of {total} bytes, and lists {listed}"
            ))),
            _ => Ok(()),
        }
    }
}

/// The object's size, as the header of a range that starts there says it.
fn total(content_range: Option<&str>, start: u64) -> Option<u64> {
    let (range, total) = content_range?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    (first.parse() == Ok(start)).then(|| total.trim().parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_counts_with_its_start_and_the_size_of_the_object() {
        assert_eq!(total(Some("bytes 5-9/10"), 5), Some(10));
        for header in ["bytes 5-9/*", "bytes 0-9/10", "bytes */10", "5-9/10", ""] {
            assert_eq!(total(Some(header), 5), None, "{header}");
        }
        assert_eq!(total(None, 5), None);
    }
}
