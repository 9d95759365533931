//! Objects of an S3 bucket.
//!
//! An object is read as several ranged GETs at a time, each on the condition that the `ETag` is still the one that was
//! listed, so that what comes out is one version whatever happens to the key in between.

mod access;
mod failure;
mod part;

use std::{collections::VecDeque, num::NonZeroUsize, ops::Range};

pub use access::S3Access;
use async_trait::async_trait;
use aws_sdk_s3::{Client, types};
use chrono::DateTime;
use clap::Args;
use futures::{StreamExt, stream};
use jetline_runtime::settings;
use tokio_util::task::AbortOnDropHandle;

use crate::{ByteStream, Error, ObjectVersion, Pattern, Source};

/// How objects are read from S3.
///
/// An object in reading takes up to `s3_part_size` × (`s3_parallel_parts` + 1) bytes of memory.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "S3")]
pub struct S3Config {
    /// How much one request for a range of an object asks for, such as 4MiB.
    #[arg(long, env, value_name = "SIZE", value_parser = part_size, default_value = "4MiB")]
    pub s3_part_size: u64,
    /// How many ranges of an object are in flight at a time.
    #[arg(long, env, value_name = "NUMBER", default_value = "4")]
    pub s3_parallel_parts: NonZeroUsize,
    /// The endpoint and the keys; without them, as every AWS tool finds them: `AWS_ACCESS_KEY_ID`, `AWS_REGION`,
    /// `AWS_ENDPOINT_URL`, profiles, roles.
    #[arg(skip)]
    pub access: Option<S3Access>,
}

impl Default for S3Config {
    fn default() -> Self {
        Self {
            s3_part_size: 4 << 20,
            s3_parallel_parts: NonZeroUsize::MIN.saturating_add(3),
            access: None,
        }
    }
}

fn part_size(text: &str) -> Result<u64, String> {
    match settings::bytes(text)? {
        0 => Err("a part has at least one byte".into()),
        size => Ok(size),
    }
}

/// A bucket's objects that match a pattern.
#[derive(Clone, Debug)]
pub struct S3 {
    client: Client,
    bucket: String,
    root: String,
    keys: Pattern,
    part_size: u64,
    parallel_parts: usize,
}

impl S3 {
    /// Finds credentials, region and endpoint; asks the bucket nothing yet.
    pub async fn connect(bucket: &str, keys: Pattern, config: &S3Config) -> Result<Self, Error> {
        Ok(Self {
            client: access::client(bucket, config.access.as_ref()).await?,
            bucket: bucket.to_owned(),
            root: format!("s3://{bucket}"),
            keys,
            part_size: config.s3_part_size.max(1),
            parallel_parts: config.s3_parallel_parts.get(),
        })
    }

    fn version(&self, object: types::Object) -> Option<ObjectVersion> {
        let written = object.last_modified?;
        Some(ObjectVersion {
            root: self.root.clone(),
            key: object.key?,
            etag: object.e_tag?,
            size: u64::try_from(object.size?).ok()?,
            last_modified: DateTime::from_timestamp(written.secs(), written.subsec_nanos())?,
        })
    }
}

#[async_trait]
impl Source for S3 {
    fn root(&self) -> &str {
        &self.root
    }

    async fn list(&self) -> Result<Vec<ObjectVersion>, Error> {
        let uri = || format!("{}/{}", self.root, self.keys.as_str());
        let request = self.client.list_objects_v2().bucket(&self.bucket);
        let mut pages = request.prefix(self.keys.prefix()).into_paginator().send();
        let mut objects = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failure::listing(uri(), error))?;
            let found = page.contents.unwrap_or_default().into_iter();
            objects.extend(
                found
                    .filter_map(|object| self.version(object))
                    .filter(|object| self.keys.matches(&object.key)),
            );
        }
        // A key of exactly that name is what is meant, not `a.jsonl.old` beside `a.jsonl`.
        if let Some(exact) = objects
            .iter()
            .position(|object| !self.keys.is_glob() && object.key == self.keys.prefix())
        {
            return Ok(vec![objects.swap_remove(exact)]);
        }
        objects.sort_by(|a, b| (a.last_modified, &a.key).cmp(&(b.last_modified, &b.key)));
        Ok(objects)
    }

    fn read(&self, object: &ObjectVersion, range: Range<u64>) -> ByteStream {
        let request = part::Request {
            client: self.client.clone(),
            bucket: self.bucket.clone(),
            key: object.key.clone(),
            etag: object.etag.clone(),
            uri: object.uri(),
        };
        let end = range.end.min(object.size);
        let size = self.part_size;
        let next = move |start: &u64| start.checked_add(size);
        let starts = std::iter::successors(Some(range.start), next).take_while(move |&s| s < end);
        // Each part is a task: it goes on while the reader is busy with the part before.
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
