//! The pages of a listing, with limits that detect an endless one.

use std::{collections::HashSet, time::Duration};

use aws_sdk_s3::{
    Client,
    operation::list_objects_v2::ListObjectsV2Output,
    types::{EncodingType, Object},
};

use super::{body_limit::BodyLimit, failure};
use crate::Error;

/// The timeout of a page; the SDK ends a stalled response long before.
const PAGE_TIMEOUT: Duration = Duration::from_mins(5);
/// The most successive pages without a key: a bucket with many deleted versions has some.
const MAX_EMPTY_PAGES: u32 = 1_000;
/// The fewest keys per page on average, after the first pages. S3 returns 1,000.
const MIN_KEYS_PER_PAGE: u64 = 10;
const UNCHECKED_PAGES: u64 = 1_000;
/// How many bytes of keys and `ETag`s a listing may have per allowed key. Together they bound its memory.
const BYTES_PER_KEY: u64 = 256;

/// A listing of the keys below a prefix.
pub(super) struct Pages {
    client: Client,
    bucket: String,
    prefix: String,
    /// The listed URI, for errors.
    uri: String,
    /// The most keys of the listing.
    limit: u64,
    token: Option<String>,
    is_last: bool,
    progress: Progress,
}

/// One entry of a page.
pub(super) struct Listed {
    /// With replacement characters, if it is not UTF-8.
    pub(super) key: String,
    /// The escaped key, if it is not UTF-8.
    pub(super) escaped: Option<String>,
    pub(super) object: Object,
}

/// Detects a listing that makes no progress.
#[derive(Default)]
struct Progress {
    pages: u64,
    keys: u64,
    /// Bytes of keys and `ETag`s.
    bytes: u64,
    empty: u32,
    first_keys: HashSet<String>,
}

impl Pages {
    pub(super) fn new(
        client: &Client,
        bucket: &str,
        prefix: &str,
        uri: String,
        limit: u64,
    ) -> Self {
        Self {
            client: client.clone(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            uri,
            limit,
            token: None,
            is_last: false,
            progress: Progress::default(),
        }
    }

    /// The next page, with decoded keys; `None` after the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Listed>>, Error> {
        if self.is_last {
            return Ok(None);
        }
        let page = self.page().await?;
        let is_encoded = page.encoding_type() == Some(&EncodingType::Url);
        let objects = page.contents.unwrap_or_default().into_iter();
        let listed: Vec<Listed> = objects.map(|object| Listed::read(object, is_encoded)).collect();
        self.progress.record(&listed, self.limit).map_err(|reason| self.refused(&reason))?;
        // Some servers return the token without the flag.
        let next = page.next_continuation_token.filter(|next| !next.is_empty());
        self.is_last = next.is_none() && page.is_truncated != Some(true);
        if !self.is_last {
            if next.is_none() || next == self.token {
                return Err(
                    self.refused("the listing is truncated and has no new continuation token")
                );
            }
            self.token = next;
        }
        Ok(Some(listed))
    }

    async fn page(&self) -> Result<ListObjectsV2Output, Error> {
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .set_prefix(Some(self.prefix.clone()).filter(|prefix| !prefix.is_empty()))
            .set_continuation_token(self.token.clone())
            // Without it, a page with a control character in a key is not valid XML.
            .encoding_type(EncodingType::Url);
        let response = request.customize().interceptor(BodyLimit::All).send();
        match tokio::time::timeout(PAGE_TIMEOUT, response).await {
            Ok(page) => page.map_err(|error| failure::listing(self.uri.clone(), error)),
            Err(elapsed) => Err(Error::Unavailable {
                action: "list",
                uri: self.uri.clone(),
                source: elapsed.into(),
            }),
        }
    }

    fn refused(&self, reason: &str) -> Error {
        Error::Refused {
            action: "list",
            uri: self.uri.clone(),
            reason: format!("{reason}: check AWS_ENDPOINT_URL"),
        }
    }
}

impl Listed {
    fn read(mut object: Object, is_encoded: bool) -> Self {
        let key = object.key.take().unwrap_or_default();
        if !is_encoded {
            return Self { key, escaped: None, object };
        }
        match String::from_utf8(percent_decoded(&key)) {
            Ok(key) => Self { key, escaped: None, object },
            Err(error) => Self {
                key: String::from_utf8_lossy(error.as_bytes()).into_owned(),
                escaped: Some(error.as_bytes().escape_ascii().to_string()),
                object,
            },
        }
    }

    /// The size of its key and `ETag`.
    fn bytes(&self) -> u64 {
        let etag = self.object.e_tag().unwrap_or_default();
        (self.key.len() + etag.len()) as u64
    }
}

impl Progress {
    fn record(&mut self, page: &[Listed], limit: u64) -> Result<(), String> {
        self.pages += 1;
        self.keys += page.len() as u64;
        self.bytes += page.iter().map(Listed::bytes).sum::<u64>();
        let what_to_do = "narrow the prefix, or raise it; or the listing is endless";
        if self.keys > limit {
            return Err(format!("there are more than {limit} keys (S3_MAX_KEYS): {what_to_do}"));
        }
        if self.bytes > limit.saturating_mul(BYTES_PER_KEY) {
            return Err(format!(
                "keys and ETags have more than {BYTES_PER_KEY} bytes for each of the {limit} keys allowed \
                 (S3_MAX_KEYS): {what_to_do}"
            ));
        }
        let Some(first) = page.first().map(|entry| entry.key.clone()) else {
            self.empty += 1;
            let is_endless = self.empty > MAX_EMPTY_PAGES;
            let reason = || format!("{} successive pages of the listing have no key", self.empty);
            return if is_endless { Err(reason()) } else { Ok(()) };
        };
        self.empty = 0;
        if !self.first_keys.insert(first) {
            return Err("the listing repeats a page".to_owned());
        }
        if self.pages > UNCHECKED_PAGES + self.keys / MIN_KEYS_PER_PAGE {
            return Err(format!(
                "the listing is endless: it has {} pages with {} keys in all",
                self.pages, self.keys
            ));
        }
        Ok(())
    }
}

fn percent_decoded(key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = |at: usize| after.get(at).and_then(|digit| (*digit as char).to_digit(16));
        let (byte, taken) = match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => (u8::try_from(high * 16 + low).unwrap_or(b'%'), 3),
            // S3 encodes a space as a plus, and a plus as %2B.
            (b'+', ..) => (b' ', 1),
            (byte, ..) => (*byte, 1),
        };
        bytes.push(byte);
        rest = &rest[taken..];
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoded_key_is_decoded() {
        let decoded = |key| String::from_utf8(percent_decoded(key)).unwrap();
        assert_eq!(decoded("a+b%2Bc%20d/%C3%BC%01"), "a b+c d/ü\u{1}");
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%zz%4"), "%zz%4");
        assert_eq!(percent_decoded("caf%E9"), b"caf\xe9");
    }
}
