//! An S3 endpoint over HTTP on 127.0.0.1 with signatures, ranges, conditional requests and paged listings.
//!
//! It counts requests and injects faults. Objects are in memory or in files; reads compute no hashes.

mod buckets;
mod changes;
mod faults;
mod multipart;
mod object;
mod operations;

use std::{
    net::{self, SocketAddr},
    ops::Deref,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, ensure};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_types::{SdkConfig, region::Region};
use buckets::Buckets;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use faults::Traffic;
pub use faults::{Fault, Fired};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use object::{Content, Object};
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tokio_util::sync::CancellationToken;

use crate::{background::Background, process::listen_on_free_port, tls::ServerTls};

/// The credentials of every server here.
const ACCESS_KEY: &str = "jetline-test";
const SECRET_KEY: &str = "jetline-test-secret";

/// The configuration of a client of a server here, under another URL, such as a proxy's.
#[must_use]
pub fn sdk_config(endpoint_url: &str) -> SdkConfig {
    let keys = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "testkit");
    SdkConfig::builder()
        .region(Region::from_static("us-east-1"))
        .endpoint_url(endpoint_url)
        .credentials_provider(SharedCredentialsProvider::new(keys))
        .build()
}

/// The state of an endpoint, without its address. Clones share it.
#[derive(Clone)]
pub struct Endpoint {
    buckets: Buckets,
    traffic: Traffic,
    service: S3Service,
}

impl Endpoint {
    /// An endpoint without buckets, with these credentials.
    #[must_use]
    pub fn new(access_key: &str, secret_key: &str) -> Self {
        let buckets = Buckets::default();
        let mut service = S3ServiceBuilder::new(buckets.clone());
        service.set_auth(SimpleAuth::from_single(access_key, secret_key));
        Self { buckets, traffic: Traffic::default(), service: service.build() }
    }

    /// Creates a bucket unless it exists.
    pub fn create_bucket(&self, bucket: &str) {
        self.buckets.lock().entry(bucket.to_owned()).or_default();
    }

    /// Serves a file as an object, and creates the bucket if it is missing.
    pub fn put_file(&self, bucket: &str, key: &str, path: &Path) -> anyhow::Result<()> {
        let object = Object::of_file(path);
        let object = object.with_context(|| format!("cannot read {}", path.display()))?;
        self.buckets.put(bucket, key, object);
        Ok(())
    }

    /// The number of GET requests for objects.
    #[must_use]
    pub fn gets(&self) -> u64 {
        self.traffic.gets()
    }

    /// The number of requests for pages of listings.
    #[must_use]
    pub fn lists(&self) -> u64 {
        self.traffic.lists()
    }

    /// Puts an object, and creates the bucket if it is missing.
    pub fn put(&self, bucket: &str, key: &str, content: impl Into<Bytes>) {
        let object = Object::of_bytes(content.into());
        self.buckets.put(bucket, key, object);
    }

    /// Removes an object.
    pub fn delete(&self, bucket: &str, key: &str) {
        self.buckets.remove(bucket, key);
    }

    /// The keys of a bucket, in their order.
    #[must_use]
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let buckets = self.buckets.lock();
        let mut keys: Vec<String> =
            buckets.get(bucket).into_iter().flat_map(|bucket| bucket.keys().cloned()).collect();
        keys.sort_unstable();
        keys
    }

    /// The content of an object that is in memory.
    #[must_use]
    pub fn content(&self, bucket: &str, key: &str) -> Bytes {
        let buckets = self.buckets.lock();
        let object = buckets.get(bucket).and_then(|bucket| bucket.get(key));
        match object.map(|object| &object.content) {
            Some(Content::Memory(bytes)) => bytes.clone(),
            _ => panic!("{bucket} has no {key} in memory"),
        }
    }

    /// Removes a bucket with everything in it.
    pub fn delete_bucket(&self, bucket: &str) {
        self.buckets.lock().remove(bucket);
    }

    /// The number of multipart uploads that are neither completed nor aborted.
    #[must_use]
    pub fn open_uploads(&self) -> usize {
        self.buckets.uploads.count()
    }

    /// Sets the modification time of an object; listings have millisecond precision.
    pub fn set_last_modified(&self, bucket: &str, key: &str, time: DateTime<Utc>) {
        let mut buckets = self.buckets.lock();
        let object = buckets.get_mut(bucket).and_then(|bucket| bucket.get_mut(key));
        object.expect("there is such an object").last_modified = time.into();
    }

    /// Removes all faults.
    pub fn forget_faults(&self) {
        self.traffic.forget_faults();
    }

    /// Injects a fault into the next requests of any kind.
    pub fn fail_next(&self, requests: usize, fault: &Fault) {
        self.traffic.fail_next(requests, fault, false);
    }

    /// Injects a fault into the next GET requests for objects.
    pub fn fail_next_gets(&self, requests: usize, fault: &Fault) {
        self.traffic.fail_next(requests, fault, true);
    }

    /// The faults that were injected.
    #[must_use]
    pub fn fired(&self) -> Fired {
        self.traffic.fired()
    }

    /// Overwrites an object before its nth read from now on, counted from one. Reads that an injected fault answers do not count.
    pub fn overwrite_before_get(
        &self,
        nth: usize,
        bucket: &str,
        key: &str,
        content: impl Into<Bytes>,
    ) {
        self.buckets.changes.plan(nth, bucket, key, content.into());
    }

    /// Removes all planned overwrites.
    pub fn forget_changes(&self) {
        self.buckets.changes.forget();
    }

    /// Serves all connections. Dropping the future closes all connections of its runtime's tasks.
    pub async fn serve(self, listener: TcpListener) -> anyhow::Result<()> {
        self.serve_with(listener, None).await
    }

    async fn serve_with(
        self,
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
    ) -> anyhow::Result<()> {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            connections.spawn(self.clone().answer(stream, tls.clone()));
            while connections.try_join_next().is_some() {}
        }
    }

    async fn answer(self, mut stream: TcpStream, tls: Option<TlsAcceptor>) {
        let reset = CancellationToken::new();
        let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
            let traffic = self.traffic.clone();
            let request = request.map(s3s::Body::from);
            traffic.serve(self.service.clone(), request, reset.clone())
        });
        let serving = async {
            let http = http1::Builder::new();
            // An error is a client that disconnected or does not trust us, or an injected fault.
            let _ = match tls {
                None => http.serve_connection(TokioIo::new(&mut stream), service).await,
                Some(tls) => match tls.accept(&mut stream).await {
                    Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
                    Err(_) => Ok(()),
                },
            };
        };
        tokio::select! {
            biased;
            () = reset.cancelled() => {
                // An error means that the client has disconnected.
                let _ = stream.set_zero_linger();
            }
            () = serving => {}
        }
    }
}

/// An endpoint on a port of 127.0.0.1, with a thread of its own. It keeps its port and objects when it is stopped and
/// started; it stops when it is dropped.
pub struct S3Server {
    endpoint: Endpoint,
    scheme: &'static str,
    tls: Option<TlsAcceptor>,
    address: SocketAddr,
    serving: Option<Background>,
}

impl S3Server {
    /// Starts one without buckets.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_as(None)
    }

    /// Starts one without buckets that requires TLS, without client certificates.
    pub fn start_with_tls(tls: &ServerTls) -> anyhow::Result<Self> {
        Self::start_as(Some(Arc::new(tls.config()?)))
    }

    fn start_as(tls: Option<Arc<ServerConfig>>) -> anyhow::Result<Self> {
        let endpoint = Endpoint::new(ACCESS_KEY, SECRET_KEY);
        let listener = listen_on_free_port()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let tls = tls.map(TlsAcceptor::from);
        Ok(Self {
            address: listener.local_addr()?,
            serving: Some(serve(&endpoint, listener, tls.clone())?),
            endpoint,
            scheme,
            tls,
        })
    }

    /// Stops: connections are closed, new ones are refused.
    pub fn stop(&mut self) {
        self.serving = None;
    }

    /// Starts again after it was stopped, with its objects.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        ensure!(self.serving.is_none(), "the endpoint runs already");
        let listener = net::TcpListener::bind(self.address)
            .with_context(|| format!("cannot listen on {} again", self.address))?;
        self.serving = Some(serve(&self.endpoint, listener, self.tls.clone())?);
        Ok(())
    }

    /// Its URL, for `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// For `AWS_ACCESS_KEY_ID`.
    #[must_use]
    pub fn access_key(&self) -> &'static str {
        ACCESS_KEY
    }

    /// For `AWS_SECRET_ACCESS_KEY`.
    #[must_use]
    pub fn secret_key(&self) -> &'static str {
        SECRET_KEY
    }

    /// The configuration of a client.
    #[must_use]
    pub fn sdk_config(&self) -> SdkConfig {
        sdk_config(&self.endpoint())
    }

    /// The settings of programs that read from it.
    #[must_use]
    pub fn settings(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }
}

impl Deref for S3Server {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// Serves on a thread that ends, with its connections, when the result is dropped.
fn serve(
    endpoint: &Endpoint,
    listener: net::TcpListener,
    tls: Option<TlsAcceptor>,
) -> anyhow::Result<Background> {
    let endpoint = endpoint.clone();
    Background::start_on(listener, |listener| endpoint.serve_with(listener, tls))
}
