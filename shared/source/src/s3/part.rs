//! One range of an object, read to its end although connections break.

use std::{collections::VecDeque, ops::Range, time::Duration};

use aws_sdk_s3::{Client, operation::get_object::GetObjectOutput};
use bytes::Bytes;
use jetline_runtime::Backoff;

use super::failure;
use crate::Error;

/// How often a body that breaks off is asked for again, from where it broke. (Requests that get no answer are repeated
/// by the SDK.)
const RESUMES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Which version of which object.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) client: Client,
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) etag: String,
    pub(super) uri: String,
}

/// The bytes of a range, which must not be empty and must lie within the object.
pub(super) async fn read(request: Request, range: Range<u64>) -> Result<VecDeque<Bytes>, Error> {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT, range.start);
    let mut blocks = VecDeque::new();
    let mut missing = range;
    let mut resumes = 0;
    loop {
        let answer = request.get(&missing).await?;
        let broken = collect(answer, &mut missing, &mut blocks).await;
        if missing.is_empty() {
            return Ok(blocks);
        }
        let broken = broken
            .err()
            .unwrap_or_else(|| "the body ended too early".into());
        if resumes == RESUMES {
            return Err(failure::unavailable(request.uri, broken));
        }
        resumes += 1;
        tracing::debug!(object.uri = request.uri, offset = missing.start, error = %broken, "resuming a read");
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// Takes what a body has, and no more than was asked for.
async fn collect(
    answer: GetObjectOutput,
    missing: &mut Range<u64>,
    blocks: &mut VecDeque<Bytes>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut body = answer.body;
    while let Some(mut block) = body.try_next().await? {
        let left = usize::try_from(missing.end - missing.start).unwrap_or(usize::MAX);
        block.truncate(left);
        missing.start += block.len() as u64;
        blocks.push_back(block);
    }
    Ok(())
}

impl Request {
    async fn get(&self, range: &Range<u64>) -> Result<GetObjectOutput, Error> {
        let answer = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(&self.key)
            .if_match(&self.etag)
            .range(format!("bytes={}-{}", range.start, range.end - 1))
            .send()
            .await
            .map_err(|error| failure::reading(&self.uri, error))?;
        self.check(&answer, range)?;
        Ok(answer)
    }

    /// Servers that are only nearly S3 may ignore the condition or the range.
    fn check(&self, answer: &GetObjectOutput, range: &Range<u64>) -> Result<(), Error> {
        let bare = |etag: &str| etag.trim_matches('"').to_owned();
        if answer
            .e_tag()
            .is_some_and(|etag| bare(etag) != bare(&self.etag))
        {
            return Err(Error::Changed {
                uri: self.uri.clone(),
            });
        }
        let asked = format!("bytes {}-", range.start);
        if answer
            .content_range()
            .is_some_and(|got| got.starts_with(&asked))
        {
            return Ok(());
        }
        Err(Error::Refused {
            action: "read",
            uri: self.uri.clone(),
            reason: "the server does not answer requests for a range: look at AWS_ENDPOINT_URL"
                .into(),
        })
    }
}
