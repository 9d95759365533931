//! An S3 endpoint over HTTP on 127.0.0.1: signatures are checked, ranges and conditions are kept, lists come in pages.
//!
//! It counts its requests and answers them wrongly on order. Objects are in memory, or are files that are served as they
//! are; nothing is hashed when it is read.

mod buckets;
mod faults;
mod operations;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    thread,
};

use anyhow::Context;
use buckets::{Buckets, Object};
use bytes::Bytes;
use chrono::{DateTime, Utc};
pub use faults::Fault;
use faults::Traffic;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use tokio::{net::TcpListener, runtime, sync::oneshot};

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
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let endpoint = self.clone();
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let traffic = endpoint.traffic.clone();
                traffic.serve(endpoint.service.clone(), request.map(s3s::Body::from))
            });
            connections.spawn(async move {
                // An error is a client that went away, or a fault on order.
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
            while connections.try_join_next().is_some() {}
        }
    }
}

/// A running endpoint on a free port, with a thread of its own. It stops when it is dropped.
pub struct S3Server {
    endpoint: Endpoint,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl S3Server {
    /// Starts one without buckets.
    pub fn start() -> anyhow::Result<Self> {
        let endpoint = Endpoint::new(ACCESS_KEY, SECRET_KEY);
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let serving = endpoint.clone();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = TcpListener::from_std(listener) else {
                    return;
                };
                tokio::select! {
                    _ = serving.serve(listener) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Ok(Self {
            endpoint,
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Its URL: what `AWS_ENDPOINT_URL` is set to.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
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
        if let Some(bucket) = self.endpoint.buckets.lock().get_mut(bucket) {
            bucket.remove(key);
        }
    }

    /// Sets when an object was written; lists show it in milliseconds.
    pub fn set_last_modified(&self, bucket: &str, key: &str, time: DateTime<Utc>) {
        let mut buckets = self.endpoint.buckets.lock();
        let object = buckets
            .get_mut(bucket)
            .and_then(|bucket| bucket.get_mut(key));
        object.expect("there is such an object").last_modified = time.into();
    }

    /// Lets the next requests, of any kind, go wrong.
    pub fn fail_next(&self, requests: usize, fault: &Fault) {
        self.endpoint.traffic.fail_next(requests, fault, false);
    }

    /// Lets the next reads of objects go wrong.
    pub fn fail_next_gets(&self, requests: usize, fault: &Fault) {
        self.endpoint.traffic.fail_next(requests, fault, true);
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

impl Drop for S3Server {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It panics only after a panic of its own, which the test has seen by then.
            let _ = thread.join();
        }
    }
}
