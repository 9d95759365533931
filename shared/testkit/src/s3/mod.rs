//! An S3 endpoint over HTTP on 127.0.0.1: signatures are checked, ranges and conditions are kept, lists come in pages.
//!
//! It counts its requests and answers them wrongly on order. Objects are in memory, or are files that are served as they
//! are; nothing is hashed when it is read.

mod buckets;
mod changes;
mod faults;
mod operations;

use std::{
    net::{self, SocketAddr},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, ensure};
use buckets::{Buckets, Object};
use bytes::Bytes;
pub use changes::{Change, Moment};
use chrono::{DateTime, Utc};
use faults::Traffic;
pub use faults::{Fault, Fired};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tokio_util::sync::CancellationToken;

use crate::{background::Background, process::listen_on_free_port, tls::ServerTls};

/// The keys of every server here.
const ACCESS_KEY: &str = "jetline-test";
const SECRET_KEY: &str = "jetline-test-secret";

/// What an endpoint holds and does, apart from its address. Clones are the same.
#[derive(Clone)]
pub struct Endpoint {
    buckets: Buckets,
    traffic: Traffic,
    service: S3Service,
}

impl Endpoint {
    /// One without buckets, for this pair of keys.
    #[must_use]
    pub fn new(access_key: &str, secret_key: &str) -> Self {
        let buckets = Buckets::default();
        let mut service = S3ServiceBuilder::new(buckets.clone());
        service.set_auth(SimpleAuth::from_single(access_key, secret_key));
        Self {
            buckets,
            traffic: Traffic::default(),
            service: service.build(),
        }
    }

    /// Makes a bucket, which stays as it is when there is one.
    pub fn create_bucket(&self, bucket: &str) {
        self.buckets.lock().entry(bucket.to_owned()).or_default();
    }

    /// Serves a file as an object.
    pub fn put_file(&self, bucket: &str, key: &str, path: &Path) -> anyhow::Result<()> {
        let object = Object::of_file(path);
        let object = object.with_context(|| format!("cannot read {}", path.display()))?;
        self.buckets.put(bucket, key, object);
        Ok(())
    }

    /// How many reads of objects were asked for.
    #[must_use]
    pub fn gets(&self) -> u64 {
        self.traffic.gets()
    }

    /// How many pages of lists were asked for.
    #[must_use]
    pub fn lists(&self) -> u64 {
        self.traffic.lists()
    }

    /// Answers whoever connects, for ever. Dropping the future closes all connections of its runtime's tasks.
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
            // An error is a client that went away or trusts nobody, or a fault on order.
            let _ = match tls {
                None => {
                    http.serve_connection(TokioIo::new(&mut stream), service)
                        .await
                }
                Some(tls) => match tls.accept(&mut stream).await {
                    Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
                    Err(_) => Ok(()),
                },
            };
        };
        tokio::select! {
            biased;
            () = reset.cancelled() => {
                // An error means that the client has gone.
                let _ = stream.set_zero_linger();
            }
            () = serving => {}
        }
    }
}

/// An endpoint on a port of 127.0.0.1, with a thread of its own. It keeps its port and what it holds when it is stopped
/// and started; it stops when it is dropped.
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

    /// Starts one without buckets that speaks TLS, and nothing else. Certificates of clients are not asked for.
    pub fn start_with_tls(tls: &ServerTls) -> anyhow::Result<Self> {
        Self::start_as(Some(tls.config()?))
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

    /// Goes away: connections break, new ones are refused.
    pub fn stop(&mut self) {
        self.serving = None;
    }

    /// Comes back after it was stopped, with what it holds.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        ensure!(self.serving.is_none(), "the endpoint runs already");
        let listener = net::TcpListener::bind(self.address)
            .with_context(|| format!("cannot listen on {} again", self.address))?;
        self.serving = Some(serve(&self.endpoint, listener, self.tls.clone())?);
        Ok(())
    }

    /// Its URL: what `AWS_ENDPOINT_URL` is set to.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// What `AWS_ACCESS_KEY_ID` is set to.
    #[must_use]
    pub fn access_key(&self) -> &'static str {
        ACCESS_KEY
    }

    /// What `AWS_SECRET_ACCESS_KEY` is set to.
    #[must_use]
    pub fn secret_key(&self) -> &'static str {
        SECRET_KEY
    }

    /// Makes a bucket, which stays as it is when there is one.
    pub fn create_bucket(&self, bucket: &str) {
        self.endpoint.create_bucket(bucket);
    }

    /// Puts an object, and makes the bucket when there is none.
    pub fn put(&self, bucket: &str, key: &str, content: impl Into<Bytes>) {
        let object = Object::of_bytes(content.into());
        self.endpoint.buckets.put(bucket, key, object);
    }

    /// Serves a file as an object, and makes the bucket when there is none.
    pub fn put_file(&self, bucket: &str, key: &str, path: &Path) -> anyhow::Result<()> {
        self.endpoint.put_file(bucket, key, path)
    }

    /// Removes an object.
    pub fn delete(&self, bucket: &str, key: &str) {
        self.endpoint.buckets.remove(bucket, key);
    }

    /// Removes a bucket with everything in it.
    pub fn delete_bucket(&self, bucket: &str) {
        self.endpoint.buckets.lock().remove(bucket);
    }

    /// Sets when an object was written; lists show it in milliseconds.
    pub fn set_last_modified(&self, bucket: &str, key: &str, time: DateTime<Utc>) {
        let mut buckets = self.endpoint.buckets.lock();
        let object = buckets
            .get_mut(bucket)
            .and_then(|bucket| bucket.get_mut(key));
        object.expect("there is such an object").last_modified = time.into();
    }

    /// Lets nothing go wrong any more.
    pub fn forget_faults(&self) {
        self.endpoint.traffic.forget_faults();
    }

    /// Lets the next requests, of any kind, go wrong.
    pub fn fail_next(&self, requests: usize, fault: &Fault) {
        self.endpoint.traffic.fail_next(requests, fault, false);
    }

    /// Lets the next reads of objects go wrong.
    pub fn fail_next_gets(&self, requests: usize, fault: &Fault) {
        self.endpoint.traffic.fail_next(requests, fault, true);
    }

    /// How many faults have fallen on requests.
    #[must_use]
    pub fn fired(&self) -> Fired {
        self.endpoint.traffic.fired()
    }

    /// Changes an object while it is being read: in the nth read of it from now on, counted from one. Reads that break
    /// off on order before they look at the object do not count.
    pub fn change_in_get(&self, nth: usize, moment: Moment, change: Change) {
        self.endpoint.buckets.changes.plan(nth, moment, change);
    }

    /// Lets no planned change happen any more, except within answers that are being sent.
    pub fn forget_changes(&self) {
        self.endpoint.buckets.changes.forget();
    }

    /// How many changes are planned that have not happened yet.
    #[must_use]
    pub fn planned_changes(&self) -> usize {
        self.endpoint.buckets.changes.planned()
    }

    /// How many reads of objects were asked for.
    #[must_use]
    pub fn gets(&self) -> u64 {
        self.endpoint.gets()
    }

    /// How many pages of lists were asked for.
    #[must_use]
    pub fn lists(&self) -> u64 {
        self.endpoint.lists()
    }
}

/// Serves on a thread that ends, with its connections, when what this returns is dropped.
fn serve(
    endpoint: &Endpoint,
    listener: net::TcpListener,
    tls: Option<TlsAcceptor>,
) -> anyhow::Result<Background> {
    let endpoint = endpoint.clone();
    Background::start_on(listener, |listener| endpoint.serve_with(listener, tls))
}
