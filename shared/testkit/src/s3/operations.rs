//! The S3 operations that Jetline and the usual tools need.

use std::ops::{Bound, Range};

use bytes::Bytes;
use futures::TryStreamExt;
use s3s::{
    S3, S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
        CompleteMultipartUploadOutput, CreateBucketInput, CreateBucketOutput,
        CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput,
        DeleteObjectOutput, ETag, ETagCondition, EncodingType, GetObjectInput, GetObjectOutput,
        HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input,
        ListObjectsV2Output, Object as ListedObject, PutObjectInput, PutObjectOutput,
        StreamingBlob, Timestamp, UploadPartInput, UploadPartOutput,
    },
    s3_error,
};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
};
use tokio_util::io::ReaderStream;

use super::{
    buckets::{Bucket, Buckets},
    object::{Content, Object},
};

/// Keys per page of a listing, as in S3.
const PAGE: usize = 1000;
/// How many bytes of a file are read at once.
const BLOCK: usize = 512 << 10;

#[async_trait::async_trait]
impl S3 for Buckets {
    async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let mut buckets = self.lock();
        if buckets.contains_key(&request.input.bucket) {
            return Err(s3_error!(BucketAlreadyOwnedByYou));
        }
        buckets.insert(request.input.bucket, Bucket::new());
        Ok(S3Response::new(CreateBucketOutput::default()))
    }

    async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        if !self.lock().contains_key(&request.input.bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        let content = received(input.body).await?;
        let object = Object { metadata: input.metadata, ..Object::of_bytes(content) };
        let output = PutObjectOutput {
            e_tag: Some(ETag::Strong(object.etag.clone())),
            ..Default::default()
        };
        self.put_if(&input.bucket, &input.key, object, input.if_none_match.as_ref())?;
        Ok(S3Response::new(output))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        if !self.lock().contains_key(&input.bucket) {
            return Err(s3_error!(NoSuchBucket));
        }
        Ok(S3Response::new(CreateMultipartUploadOutput {
            upload_id: Some(self.uploads.begin(input.metadata)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            ..Default::default()
        }))
    }

    async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = request.input;
        let content = received(input.body).await?;
        let etag = self.uploads.add(&input.upload_id, input.part_number, content)?;
        let output = UploadPartOutput { e_tag: Some(ETag::Strong(etag)), ..Default::default() };
        Ok(S3Response::new(output))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let object = self.uploads.object(&input.upload_id, &parts)?;
        let etag = Some(ETag::Strong(object.etag.clone()));
        self.put_if(&input.bucket, &input.key, object, input.if_none_match.as_ref())?;
        self.uploads.end(&input.upload_id)?;
        Ok(S3Response::new(CompleteMultipartUploadOutput { e_tag: etag, ..Default::default() }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.uploads.end(&request.input.upload_id)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let mut buckets = self.lock();
        let bucket =
            buckets.get_mut(&request.input.bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        bucket.remove(&request.input.key);
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        let object = self.object(&input.bucket, &input.key, input.if_match.as_ref())?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(signed(object.size)?),
            e_tag: Some(ETag::Strong(object.etag)),
            metadata: object.metadata,
            last_modified: Some(Timestamp::from(object.last_modified)),
            accept_ranges: Some("bytes".into()),
            ..Default::default()
        }))
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        self.change_before_get(&input.bucket, &input.key);
        let object = self.object(&input.bucket, &input.key, input.if_match.as_ref())?;
        let range = match input.range {
            Some(range) => range.check(object.size)?,
            None => 0..object.size,
        };
        let content_range = input.range.map(|_| {
            let (first, last) = (range.start, range.end - 1);
            format!("bytes {first}-{last}/{}", object.size)
        });
        Ok(S3Response::new(GetObjectOutput {
            content_length: Some(signed(range.end - range.start)?),
            body: Some(body(object.content, range).await?),
            content_range,
            e_tag: Some(ETag::Strong(object.etag)),
            last_modified: Some(Timestamp::from(object.last_modified)),
            accept_ranges: Some("bytes".into()),
            ..Default::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        if input.delimiter.is_some() {
            return Err(s3_error!(NotImplemented, "a delimiter is not supported"));
        }
        let prefix = input.prefix.clone().unwrap_or_default();
        // The token is the last key of the previous page.
        let behind = input.continuation_token.as_ref().or(input.start_after.as_ref());
        let from = match behind {
            Some(key) => Bound::Excluded(key.max(&prefix).as_str()),
            None => Bound::Included(prefix.as_str()),
        };
        let page = input.max_keys.map_or(PAGE, |keys| usize::try_from(keys).unwrap_or(0).min(PAGE));
        let buckets = self.lock();
        let bucket = buckets.get(&input.bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        let mut below = bucket
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&prefix))
            .peekable();
        let mut contents = Vec::new();
        while contents.len() < page
            && let Some((key, object)) = below.next()
        {
            contents.push(listed(key, object)?);
        }
        let more = below.peek().is_some();
        let last = contents.last().and_then(|object| object.key.clone());
        let encoding =
            input.encoding_type.filter(|encoding| encoding.as_str() == EncodingType::URL);
        if encoding.is_some() {
            for object in &mut contents {
                object.key = object.key.as_deref().map(url_encoded);
            }
        }
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            max_keys: i32::try_from(page).ok(),
            key_count: i32::try_from(contents.len()).ok(),
            is_truncated: Some(more),
            next_continuation_token: last.filter(|_| more),
            continuation_token: input.continuation_token,
            contents: Some(contents),
            encoding_type: encoding,
            ..Default::default()
        }))
    }
}

impl Buckets {
    fn object(
        &self,
        bucket: &str,
        key: &str,
        condition: Option<&ETagCondition>,
    ) -> S3Result<Object> {
        let buckets = self.lock();
        let bucket = buckets.get(bucket).ok_or_else(|| s3_error!(NoSuchBucket))?;
        let object = bucket.get(key).ok_or_else(|| s3_error!(NoSuchKey))?;
        let wanted = condition.and_then(ETagCondition::as_etag);
        if wanted.is_some_and(|etag| etag.value() != object.etag) {
            return Err(s3_error!(PreconditionFailed));
        }
        Ok(object.clone())
    }
}

async fn received(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let mut bytes = Vec::new();
    if let Some(mut body) = body {
        let broken = |_| s3_error!(IncompleteBody);
        while let Some(block) = body.try_next().await.map_err(broken)? {
            bytes.extend_from_slice(&block);
        }
    }
    Ok(bytes.into())
}

async fn body(content: Content, range: Range<u64>) -> S3Result<StreamingBlob> {
    match content {
        Content::Memory(bytes) => {
            let within = |offset| usize::try_from(offset).map_err(s3s::S3Error::internal_error);
            let slice = bytes.slice(within(range.start)?..within(range.end)?);
            Ok(StreamingBlob::from(s3s::Body::from(slice)))
        }
        Content::File(path) => {
            let mut file = File::open(path).await.map_err(s3s::S3Error::internal_error)?;
            file.seek(std::io::SeekFrom::Start(range.start))
                .await
                .map_err(s3s::S3Error::internal_error)?;
            let slice = file.take(range.end - range.start);
            Ok(StreamingBlob::wrap(ReaderStream::with_capacity(slice, BLOCK)))
        }
    }
}

fn listed(key: &str, object: &Object) -> S3Result<ListedObject> {
    Ok(ListedObject {
        key: Some(key.to_owned()),
        e_tag: Some(ETag::Strong(object.etag.clone())),
        size: Some(signed(object.size)?),
        last_modified: Some(Timestamp::from(object.last_modified)),
        ..Default::default()
    })
}

/// The encoding of S3: a space is a plus, and slashes are not encoded.
fn url_encoded(key: &str) -> String {
    let encoded: String = url::form_urlencoded::byte_serialize(key.as_bytes()).collect();
    encoded.replace("%2F", "/")
}

fn signed(size: u64) -> S3Result<i64> {
    i64::try_from(size).map_err(s3s::S3Error::internal_error)
}
