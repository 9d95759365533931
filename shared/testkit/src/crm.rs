//! A receiver of webhooks over HTTP on 127.0.0.1, such as a CRM: it fails at random, loses answers after it has done what was
//! asked, and counts calls and effects. It reports what a sender must never do: an older content of a record after a
//! newer one, and two calls for a record at a time.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response, StatusCode, Version,
    body::{Frame, Incoming},
    header::{HeaderMap, HeaderName, HeaderValue},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet, time::sleep};
use tokio_rustls::TlsAcceptor;

use crate::{background::Background, tls::ServerTls};

/// How long it may take until the end of a connection is seen.
const GRACE: Duration = Duration::from_millis(200);

/// How it behaves.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// Of a hundred calls, how many fail before anything is done.
    pub failed_percent: u32,
    /// Of a hundred calls, how many get no answer although everything is done.
    pub lost_percent: u32,
    /// Whether the same message again has an effect again.
    pub ignores_ids: bool,
    /// Whether calls are counted and nothing else: not even kept.
    pub counts_only: bool,
    /// How long a call takes.
    pub delay: Duration,
    /// Seeds what is random.
    pub seed: u64,
}

/// The answer to a call.
#[derive(Clone, Debug)]
pub enum Script {
    /// A status with headers and a body.
    Answer(u16, Vec<(&'static str, String)>, &'static str),
    /// 200, with a body of so many bytes.
    Long(u64),
    /// None.
    Never,
    /// The connection is closed.
    Close,
}

/// A message that had an effect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effect {
    /// The dataset.
    pub dataset: String,
    /// The key of the record.
    pub key: String,
    /// The id of the message.
    pub id: String,
    /// The type, such as `customers.inserted`.
    pub kind: String,
    /// The sequence.
    pub sequence: String,
    /// The record.
    pub data: Value,
}

/// The version, the headers and the body of a call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The version of HTTP.
    pub version: Version,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    effects: Vec<Effect>,
    ids: HashSet<String>,
    /// The greatest sequence that came for a record.
    newest: HashMap<(String, String), String>,
    under_way: HashSet<(String, String)>,
    violations: Vec<String>,
    /// By the key of the record.
    scripts: HashMap<String, VecDeque<Script>>,
    is_down: bool,
    count: u64,
}

/// What has the effect of a call.
pub type Act<'a> = dyn Fn() + Send + Sync + 'a;

/// Does something else than the receiver in each call.
#[async_trait]
pub trait CallHook: Send + Sync {
    /// Calls `act`, or not, or twice. Returns whether there is an answer.
    async fn call(&self, path: &str, act: &Act<'_>) -> bool;
}

/// The receiver, without its address. Clones share its state.
#[derive(Clone)]
pub struct Crm {
    hook: Option<Arc<dyn CallHook>>,
    behaviour: Behaviour,
    random: Arc<Mutex<StdRng>>,
    state: Arc<Mutex<State>>,
}

/// What is random in a call.
#[derive(Clone, Copy)]
struct Luck {
    fails: bool,
    loses: bool,
}

type Body = BoxBody<Bytes, Infallible>;

/// Marks the end of a call, also when its connection is closed.
struct UnderWay {
    crm: Crm,
    record: (String, String),
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.crm.state().under_way.remove(&self.record);
    }
}

impl Crm {
    /// One that has received nothing.
    #[must_use]
    pub fn new(behaviour: Behaviour) -> Self {
        let random = StdRng::seed_from_u64(behaviour.seed);
        Self { hook: None, behaviour, random: Arc::new(Mutex::new(random)), state: Arc::default() }
    }

    /// Waits until there were so many calls.
    pub async fn called(&self, calls: u64) {
        while self.calls() < calls {
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it closes all connections without an answer.
    pub fn set_down(&self, is_down: bool) {
        self.state().is_down = is_down;
    }

    /// Answers the next calls for a record in this way, and does nothing else in them.
    pub fn script(&self, key: &str, scripts: impl IntoIterator<Item = Script>) {
        self.state().scripts.entry(key.to_owned()).or_default().extend(scripts);
    }

    /// The number of calls, also of those that failed.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().count
    }

    /// The calls with their headers and bodies.
    #[must_use]
    pub fn received(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// What had an effect, in order.
    #[must_use]
    pub fn effects(&self) -> Vec<Effect> {
        self.state().effects.clone()
    }

    /// The last effect for each key of a dataset.
    #[must_use]
    pub fn records(&self, dataset: &str) -> BTreeMap<String, Effect> {
        let effects = self.effects().into_iter().filter(|effect| effect.dataset == dataset);
        effects.map(|effect| (effect.key.clone(), effect)).collect()
    }

    /// What a sender must never do, and did.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// Serves all connections.
    pub async fn serve(
        self,
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
    ) -> anyhow::Result<()> {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (crm, tls) = (self.clone(), tls.clone());
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let crm = crm.clone();
                    async move { crm.answer(request).await }
                });
                let http = auto::Builder::new(TokioExecutor::new());
                // An error is a client that has gone, or a connection that is closed on purpose.
                let _ = match tls {
                    None => http.serve_connection(TokioIo::new(stream), service).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => http.serve_connection(TokioIo::new(stream), service).await,
                        Err(_) => Ok(()),
                    },
                };
            });
            while connections.try_join_next().is_some() {}
        }
    }

    fn luck(&self) -> Luck {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_one_of = |percent: u32| random.random_ratio(percent.min(100), 100);
        Luck {
            fails: is_one_of(self.behaviour.failed_percent),
            loses: is_one_of(self.behaviour.lost_percent),
        }
    }

    /// An error closes the connection.
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, &'static str> {
        let (head, body) = request.into_parts();
        if head.uri.path() == "/stats" {
            return Ok(answer(StatusCode::OK, &self.stats().to_string()));
        }
        if self.state().is_down {
            return Err("down");
        }
        let body = body.collect().await.map_err(|_| "the client has gone")?.to_bytes();
        {
            let mut state = self.state();
            state.count += 1;
            if self.behaviour.counts_only {
                return Ok(answer(StatusCode::OK, ""));
            }
            state.calls.push(Call {
                version: head.version,
                headers: head.headers.clone(),
                body: body.clone(),
            });
        }
        let Some(effect) = effect(&head.headers, &body) else {
            return Ok(answer(StatusCode::BAD_REQUEST, "not a webhook"));
        };
        let script = self.state().scripts.get_mut(&effect.key).and_then(VecDeque::pop_front);
        if let Some(script) = script {
            return scripted(script).await;
        }
        let Luck { fails, loses } = self.luck();
        let _under_way = self.begin(&effect).await;
        if !self.behaviour.delay.is_zero() {
            sleep(self.behaviour.delay).await;
        }
        if fails {
            return Ok(answer(StatusCode::SERVICE_UNAVAILABLE, "try again"));
        }
        let act = || {
            let mut state = self.state();
            if state.ids.insert(effect.id.clone()) || self.behaviour.ignores_ids {
                state.effects.push(effect.clone());
            }
        };
        match &self.hook {
            Some(hook) if !hook.call(head.uri.path(), &act).await => return Err("lost"),
            Some(_) => {}
            None => act(),
        }
        if loses { Err("lost") } else { Ok(answer(StatusCode::OK, "thank you")) }
    }

    /// A client that has given a call up closes its connection, which is seen a moment later.
    async fn begin(&self, effect: &Effect) -> UnderWay {
        let record = (effect.dataset.clone(), effect.key.clone());
        let begin = Instant::now();
        while self.state().under_way.contains(&record) && begin.elapsed() < GRACE {
            sleep(Duration::from_millis(1)).await;
        }
        let mut state = self.state();
        let shown = format!("{} {} of {}", effect.kind, effect.sequence, effect.key);
        if !state.under_way.insert(record.clone()) {
            state.violations.push(format!("two calls at a time: {shown}"));
        }
        let newest = state.newest.entry(record.clone()).or_default();
        if *newest > effect.sequence {
            let violation = format!("{newest} came before {shown}");
            state.violations.push(violation);
        } else {
            newest.clone_from(&effect.sequence);
        }
        UnderWay { crm: self.clone(), record }
    }

    /// Calls, effects and violations as JSON.
    #[must_use]
    pub fn stats(&self) -> Value {
        let state = self.state();
        let records: HashSet<(&str, &str)> =
            state.effects.iter().map(|effect| (&*effect.dataset, &*effect.key)).collect();
        json!({
            "calls": state.count,
            "effects": state.effects.len(),
            "records": records.len(),
            "violations": state.violations,
        })
    }
}

fn effect(headers: &HeaderMap, body: &[u8]) -> Option<Effect> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let body: Value = serde_json::from_slice(body).ok()?;
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    Some(Effect {
        dataset: text("dataset")?,
        key: text("key")?,
        id: header("webhook-id")?.to_owned(),
        kind: text("type")?,
        sequence: header("sequence").filter(|sequence| body["sequence"] == **sequence)?.to_owned(),
        data: body["data"].clone(),
    })
}

fn answer(status: StatusCode, body: &str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())).boxed());
    *response.status_mut() = status;
    response
}

async fn scripted(script: Script) -> Result<Response<Body>, &'static str> {
    match script {
        Script::Answer(status, headers, body) => {
            let status = StatusCode::from_u16(status).map_err(|_| "no status")?;
            let mut response = answer(status, body);
            for (name, value) in headers {
                let value = HeaderValue::from_str(&value).map_err(|_| "no header")?;
                response.headers_mut().append(HeaderName::from_static(name), value);
            }
            Ok(response)
        }
        Script::Long(bytes) => {
            const PART: usize = 64 << 10;
            let part = Bytes::from(vec![b'x'; PART]);
            let parts = usize::try_from(bytes).unwrap_or(usize::MAX) / PART;
            let parts = stream::repeat(part).take(parts);
            let frames = parts.map(|part| Ok::<_, Infallible>(Frame::data(part)));
            Ok(Response::new(BodyExt::boxed(StreamBody::new(frames))))
        }
        Script::Never => std::future::pending().await,
        Script::Close => Err("closed"),
    }
}

/// A receiver on a port of 127.0.0.1, with a thread of its own; it stops when it is dropped.
pub struct CrmServer {
    crm: Crm,
    scheme: &'static str,
    background: Background,
}

impl CrmServer {
    /// Starts one.
    pub fn start(behaviour: Behaviour) -> anyhow::Result<Self> {
        let crm = Crm::new(behaviour);
        let serving = crm.clone();
        let background = Background::start(|listener| serving.serve(listener, None))?;
        Ok(Self { crm, scheme: "http", background })
    }

    /// Starts one with a hook.
    pub fn start_with_hook(behaviour: Behaviour, hook: Arc<dyn CallHook>) -> anyhow::Result<Self> {
        let crm = Crm { hook: Some(hook), ..Crm::new(behaviour) };
        let serving = crm.clone();
        let background = Background::start(|listener| serving.serve(listener, None))?;
        Ok(Self { crm, scheme: "http", background })
    }

    /// Starts one that requires TLS, and offers HTTP of these versions, named as ALPN names them.
    pub fn start_with_tls(
        behaviour: Behaviour,
        tls: &ServerTls,
        versions: &[&str],
    ) -> anyhow::Result<Self> {
        let crm = Crm::new(behaviour);
        let mut config = tls.config()?;
        config.alpn_protocols = versions.iter().map(|version| (*version).into()).collect();
        let (serving, tls) = (crm.clone(), TlsAcceptor::from(Arc::new(config)));
        let background = Background::start(|listener| serving.serve(listener, Some(tls)))?;
        Ok(Self { crm, scheme: "https", background })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.background.address()
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}/hook", self.scheme, self.address())
    }
}

impl std::ops::Deref for CrmServer {
    type Target = Crm;

    fn deref(&self) -> &Crm {
        &self.crm
    }
}
