//! Objects of an S3 bucket.
//!
//! An object is read with several concurrent ranged GETs, each with `If-Match` on the listed `ETag`, so that all bytes are
//! of one version even if the key is overwritten meanwhile. If a server lists no `ETag`, the version is the size and the
//! modification time.
//!
//! An object is written with one request, or as a multipart upload, on the condition that its key is free.

mod access;
mod body_limit;
mod failure;
mod pages;
mod part;
mod upload;
mod version;

use std::{collections::VecDeque, num::NonZeroUsize, ops::Range};

use async_trait::async_trait;
use aws_sdk_s3::{Client, error::ProvideErrorMetadata};
use aws_types::SdkConfig;
use clap::Args;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use jetline_runtime::settings;
use tokio_util::task::AbortOnDropHandle;

use self::pages::{Listed, Pages};
use crate::{
    ByteStream, Error, Listing, ObjectStore, ObjectVersion, Pattern, Source, Upload,
    object_store::{DELETE, WRITE, check_key},
    pattern::{Fit, no_format},
};

/// How objects are read from S3.
///
/// Each object that is being read takes up to `s3_part_size` × (`s3_parallel_parts` + 1) bytes of memory.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "S3")]
pub struct S3Config {
    /// The size of a ranged GET, such as 4MiB.
    #[arg(long, env, value_name = "SIZE", value_parser = part_size, default_value = "4MiB")]
    pub s3_part_size: u64,
    /// How many ranges of an object are requested at the same time.
    #[arg(long, env, value_name = "NUMBER", default_value = "4")]
    pub s3_parallel_parts: NonZeroUsize,
    /// How many keys a listing may have, matching or not, with 256 bytes of key and `ETag` for each; a larger or endless
    /// one is refused.
    #[arg(long, env, value_name = "NUMBER", default_value = "1000000")]
    pub s3_max_keys: u64,
    /// Endpoint, region and credentials; `None` for those of the AWS environment: `AWS_ACCESS_KEY_ID`, `AWS_REGION`,
    /// `AWS_ENDPOINT_URL`, profiles, roles.
    #[arg(skip)]
    pub sdk: Option<SdkConfig>,
}

impl Default for S3Config {
    fn default() -> Self {
        Self {
            s3_part_size: 4 << 20,
            s3_parallel_parts: NonZeroUsize::MIN.saturating_add(3),
            s3_max_keys: 1_000_000,
            sdk: None,
        }
    }
}

fn part_size(text: &str) -> Result<u64, String> {
    match settings::bytes(text)? {
        0 => Err("a part has at least one byte".into()),
        size => Ok(size),
    }
}

/// A bucket's objects that match a pattern. For writing, the pattern has no wildcards.
#[derive(Clone, Debug)]
pub struct S3 {
    client: Client,
    bucket: String,
    root: String,
    keys: Pattern,
    part_size: u64,
    parallel_parts: usize,
    max_keys: u64,
}

impl S3 {
    /// Finds credentials, region and endpoint; sends no request to the bucket yet.
    pub async fn connect(bucket: &str, keys: Pattern, config: &S3Config) -> Result<Self, Error> {
        Ok(Self {
            client: access::client(bucket, config.sdk.clone()).await?,
            bucket: bucket.to_owned(),
            root: format!("s3://{bucket}"),
            keys,
            part_size: config.s3_part_size.max(1),
            parallel_parts: config.s3_parallel_parts.get(),
            max_keys: config.s3_max_keys,
        })
    }

    fn uri(&self, key: &str) -> String {
        format!("{}/{key}", self.root)
    }
}

/// A listing that is being read.
struct Reading<'a> {
    s3: &'a S3,
    pages: Pages,
    best: Fit,
    /// Whether the prefix is that of a key, or the pattern matches one.
    exists: bool,
}

impl Reading<'_> {
    /// The best matches of the next page; `None` after the last one.
    async fn next(&mut self) -> Result<Option<Listing>, Error> {
        let Some(page) = self.pages.next().await? else { return Ok(None) };
        let mut listing = Listing::default();
        for entry in page {
            self.add(entry, &mut listing);
        }
        Ok(Some(listing))
    }

    /// An entry of higher precedence replaces all before it: `a.jsonl` replaces `a.jsonl.old`.
    fn add(&mut self, entry: Listed, listing: &mut Listing) {
        let keys = &self.s3.keys;
        // A prefix exists if any key is below it; a pattern, if any key matches.
        self.exists |= !keys.is_glob() && entry.key.starts_with(keys.prefix());
        let Some(fit) = keys.fit(&entry.key) else {
            return;
        };
        self.exists = true;
        if fit > self.best {
            self.best = fit;
            *listing = Listing { replaces: true, ..Listing::default() };
        }
        if fit == self.best {
            let name = self.s3.uri(entry.escaped.as_ref().unwrap_or(&entry.key));
            match version::read(&self.s3.root, entry) {
                Ok(version) if keys.takes(&version.key) => listing.objects.push(version),
                Ok(_) => listing.skipped.add_other(&name, no_format()),
                Err(reason) => listing.skipped.add(&name, reason),
            }
        }
    }
}

#[async_trait]
impl Source for S3 {
    fn root(&self) -> &str {
        &self.root
    }

    fn pages(&self) -> BoxStream<'_, Result<Listing, Error>> {
        let uri = self.uri(self.keys.as_str());
        let prefix = self.keys.listing_prefix();
        let pages = Pages::new(&self.client, &self.bucket, prefix, uri, self.max_keys);
        let exists = self.keys.as_str().is_empty();
        let reading = Reading { s3: self, pages, best: Fit::Matches, exists };
        stream::try_unfold(Some(reading), async |reading| {
            let Some(mut reading) = reading else { return Ok(None) };
            let page = reading.next().await?;
            let is_missing = page.is_none() && !reading.exists;
            let next = page.is_some().then_some(reading);
            Ok(Some((page.unwrap_or(Listing { is_missing, ..Listing::default() }), next)))
        })
        .boxed()
    }

    async fn find(&self, key: &str) -> Result<Option<ObjectVersion>, Error> {
        // A listing, so that the version is the one of listings. The key is the first of those that begin with it.
        let uri = self.uri(key);
        let mut pages = Pages::new(&self.client, &self.bucket, key, uri, self.max_keys);
        // Pages of deleted versions are empty.
        while let Some(page) = pages.next().await? {
            let found = page.into_iter().find(|entry| entry.key == key && entry.escaped.is_none());
            if let Some(found) = found {
                return version::read(&self.root, found).map(Some).map_err(|reason| {
                    Error::Refused { action: "list", uri: self.uri(key), reason: reason.to_owned() }
                });
            }
        }
        Ok(None)
    }

    fn read(&self, object: &ObjectVersion, range: Range<u64>) -> ByteStream {
        let request = part::Request {
            client: self.client.clone(),
            bucket: self.bucket.clone(),
            version: object.clone(),
            max_keys: self.max_keys,
        };
        if object.size == 0 {
            return stream::once(part::check_empty(request))
                .filter_map(async |checked| checked.err().map(Err))
                .boxed();
        }
        let end = range.end.min(object.size);
        let size = self.part_size;
        let next = move |start: &u64| start.checked_add(size);
        let starts = std::iter::successors(Some(range.start), next).take_while(move |&s| s < end);
        // Each part is a task, which continues while the reader processes the part before.
        let parts = stream::iter(starts).map(move |start| {
            let part = start..start.saturating_add(size).min(end);
            AbortOnDropHandle::new(tokio::spawn(part::read(request.clone(), part)))
        });
        let parts = parts.buffered(self.parallel_parts).boxed();
        stream::try_unfold((parts, VecDeque::new()), async |(mut parts, mut blocks)| {
            loop {
                if let Some(block) = blocks.pop_front() {
                    return Ok(Some((block, (parts, blocks))));
                }
                let Some(part) = parts.next().await else {
                    return Ok(None);
                };
                blocks = part.map_err(failure::stopped)??;
            }
        })
        .boxed()
    }
}

#[async_trait]
impl ObjectStore for S3 {
    fn root(&self) -> &str {
        &self.root
    }

    fn prefix(&self) -> &str {
        self.keys.prefix()
    }

    async fn create(&self, key: &str) -> Result<Upload, Error> {
        check_key(WRITE, &self.root, &self.keys, key)?;
        Ok(upload::begin(self, key))
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        check_key(DELETE, &self.root, &self.keys, key)?;
        let request = self.client.delete_object().bucket(&self.bucket).key(key);
        match request.send().await {
            Err(error) if error.code() != Some("NoSuchKey") => {
                Err(failure::writing(DELETE, self.uri(key), error))
            }
            _ => Ok(()),
        }
    }
}
