//! Writes an object: with one request if it has no more than one part, else as a multipart upload.
//!
//! A multipart upload that is neither completed nor aborted stays in the bucket, where no listing shows it: after a crash, or
//! if the response with its id was lost. A lifecycle rule for incomplete multipart uploads removes it.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    types::{CompletedMultipartUpload, CompletedPart},
};
use bytes::Bytes;
use tokio::{runtime::Handle, task::JoinHandle};

use super::{S3, failure, version};
use crate::{Error, ObjectVersion, PartWriter, Upload, object_store::WRITE};

/// The size of a part. S3 allows 10,000 parts, of 5 MiB or more.
const PART_BYTES: usize = 8 << 20;

/// The metadata with the random token of an upload.
///
/// A request whose response was lost is repeated, and finds that the key is taken: the token tells whether by itself.
const TOKEN: &str = "jetline-upload";

/// Sends no request.
pub(super) fn begin(s3: &S3, key: &str) -> Upload {
    let target = Target {
        s3: s3.clone(),
        key: key.to_owned(),
        token: format!("{:032x}", rand::random::<u128>()),
    };
    let writer = Writer { target: Arc::new(target), sending: None };
    Upload::new(s3.uri(key), PART_BYTES, Box::new(writer))
}

struct Writer {
    target: Arc<Target>,
    /// The part that is being sent. The task continues if the writer is dropped: a server may keep a part that arrives
    /// after its upload was aborted.
    sending: Option<JoinHandle<Result<Multipart, Error>>>,
}

#[async_trait]
impl PartWriter for Writer {
    async fn write_part(&mut self, part: Bytes) -> Result<(), Error> {
        let begun = self.sent().await?;
        let target = Arc::clone(&self.target);
        self.sending = Some(tokio::spawn(async move {
            let mut multipart = match begun {
                Some(multipart) => multipart,
                None => target.begin_multipart().await?,
            };
            multipart.send(part).await?;
            Ok(multipart)
        }));
        Ok(())
    }

    async fn finish(mut self: Box<Self>, last: Bytes) -> Result<ObjectVersion, Error> {
        match self.sent().await? {
            None => self.target.put(last).await?,
            Some(mut multipart) => {
                multipart.send(last).await?;
                multipart.complete().await?;
            }
        }
        self.target.listed().await
    }

    async fn abort(mut self: Box<Self>) {
        if let Ok(Some(mut multipart)) = self.sent().await
            && let Some(id) = multipart.id.take()
        {
            Arc::clone(&self.target).abort_multipart(id).await;
        }
    }
}

impl Writer {
    /// Waits until the last part is sent.
    async fn sent(&mut self) -> Result<Option<Multipart>, Error> {
        let Some(sending) = self.sending.take() else {
            return Ok(None);
        };
        let sent = sending.await.map_err(|stopped| self.target.unavailable(stopped.into()))?;
        sent.map(Some)
    }
}

/// A multipart upload. It is aborted when it is dropped.
struct Multipart {
    target: Arc<Target>,
    /// `None` once it is completed or aborted.
    id: Option<String>,
    parts: Vec<CompletedPart>,
}

impl Multipart {
    async fn send(&mut self, content: Bytes) -> Result<(), Error> {
        let number = i32::try_from(self.parts.len()).unwrap_or(i32::MAX).saturating_add(1);
        let Target { s3, key, .. } = &*self.target;
        let request = s3.client.upload_part().bucket(&s3.bucket).key(key);
        let request = request.set_upload_id(self.id.clone()).part_number(number);
        let response = request.body(content.into()).send().await;
        let response = response.map_err(|error| self.target.failed(error))?;
        let part = CompletedPart::builder().part_number(number).set_e_tag(response.e_tag);
        self.parts.push(part.build());
        Ok(())
    }

    async fn complete(mut self) -> Result<(), Error> {
        let Target { s3, key, .. } = &*self.target;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(self.parts.clone())).build();
        let request = s3.client.complete_multipart_upload().bucket(&s3.bucket).key(key);
        let request = request.set_upload_id(self.id.clone()).multipart_upload(parts);
        let send = |condition| request.clone().set_if_none_match(condition).send();
        self.target.unless_taken(send).await?;
        self.id = None;
        Ok(())
    }
}

impl Drop for Multipart {
    fn drop(&mut self) {
        if let Some(id) = self.id.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(Arc::clone(&self.target).abort_multipart(id));
        }
    }
}

/// The object that is to be written.
struct Target {
    s3: S3,
    key: String,
    token: String,
}

impl Target {
    async fn put(&self, content: Bytes) -> Result<(), Error> {
        let send = |condition| {
            let request = self.s3.client.put_object().bucket(&self.s3.bucket).key(&self.key);
            let request = request.metadata(TOKEN, &self.token);
            let request = request.set_content_type(self.content_type());
            request.set_if_none_match(condition).body(content.clone().into()).send()
        };
        self.unless_taken(send).await
    }

    async fn begin_multipart(self: Arc<Self>) -> Result<Multipart, Error> {
        let request = self.s3.client.create_multipart_upload().bucket(&self.s3.bucket);
        let request = request.key(&self.key).metadata(TOKEN, &self.token);
        let response = request.set_content_type(self.content_type()).send().await;
        let response = response.map_err(|error| self.failed(error))?;
        Ok(Multipart { id: response.upload_id, target: self, parts: Vec::new() })
    }

    async fn abort_multipart(self: Arc<Self>, id: String) {
        let request = self.s3.client.abort_multipart_upload().bucket(&self.s3.bucket);
        let response = request.key(&self.key).upload_id(id).send().await;
        if let Err(error) = response
            && error.code() != Some("NoSuchUpload")
        {
            let error = self.failed(error);
            tracing::warn!(object.uri = self.uri(), %error, "abort multipart upload failed");
        }
    }

    /// Sends the request that makes the object visible, on the condition that there is none of this key.
    async fn unless_taken<T, E, F>(&self, send: impl Fn(Option<String>) -> F) -> Result<(), Error>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let mut result = send(Some("*".to_owned())).await;
        if result.as_ref().is_err_and(|error| error.code() == Some("NotImplemented")) {
            // A server without conditional writes.
            result = send(None).await;
        }
        let Err(error) = result else {
            return Ok(());
        };
        match error.raw_response().map(|response| response.status().as_u16()) {
            // The key is taken, or the multipart upload is completed.
            Some(404 | 412) if self.is_stored().await => Ok(()),
            Some(412) => Err(Error::AlreadyExists { uri: self.uri() }),
            _ => Err(self.failed(error)),
        }
    }

    /// Whether the object of the key is the one of this upload.
    async fn is_stored(&self) -> bool {
        let request = self.s3.client.head_object().bucket(&self.s3.bucket).key(&self.key);
        let response = request.send().await;
        let found = response.ok().and_then(|head| head.metadata?.remove(TOKEN));
        found.as_ref() == Some(&self.token)
    }

    async fn listed(&self) -> Result<ObjectVersion, Error> {
        let S3 { client, bucket, root, max_keys, .. } = &self.s3;
        let version = version::current(client, bucket, root, &self.key, *max_keys).await?;
        version.ok_or_else(|| self.unavailable("the listing does not show the object".into()))
    }

    fn content_type(&self) -> Option<String> {
        self.key.strip_suffix(".jsonl").map(|_| "application/x-ndjson".to_owned())
    }

    fn uri(&self) -> String {
        self.s3.uri(&self.key)
    }

    fn failed<E>(&self, error: SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        failure::writing(WRITE, self.uri(), error)
    }

    fn unavailable(&self, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
        Error::Unavailable { action: WRITE, uri: self.uri(), source }
    }
}
