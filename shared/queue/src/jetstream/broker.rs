//! The stream and its consumer on the server: made, kept as configured, and asked about.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::{
    self,
    context::{Context, ContextBuilder, RequestErrorKind},
    response::Response,
    stream,
};
use jetline_records::ObjectId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::{sync::Mutex, time::sleep};
use tracing::{info, warn};

use super::{JetStreamConfig, OwnLedger, consumer, failing::Failing, failure, link::Link, message};
use crate::Error;

/// How long the server may take to answer.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// The stream forgets the ids of messages after this time: long enough for a publication that is tried again.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(2);

/// How long a stream that was deleted is not made again. Servers remove its files after they have said that it is gone,
/// and some with them those of a stream of the same name that was made meanwhile.
const REMOVAL: Duration = Duration::from_secs(1);

/// How often, and how long after each other, it is looked whether a stream that somebody else was making is there.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_millis(100);

/// What the server answered: what was asked for, or its own error.
type Answer<T> = Result<T, jetstream::Error>;

/// One stream with its consumer on one server.
pub(super) struct Broker {
    pub(super) link: Link,
    pub(super) context: Context,
    pub(super) config: JetStreamConfig,
    /// Held while the stream or the consumer is made, so that many who miss it make it once.
    making: Mutex<()>,
    /// Whether the stream was seen: one that is missing then was deleted.
    seen: AtomicBool,
    /// Whether the stream stores what is published.
    storing: Failing,
    /// Whether the stream takes a consumer.
    pub(super) consuming: Failing,
    /// Whose chunks are published and received here, where that is known.
    ledger: Option<Arc<OwnLedger>>,
}

/// What the stream and its consumer hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holdings {
    /// Messages in the stream, in flight or not.
    pub(super) messages: u64,
    /// Messages in flight.
    pub(super) in_flight: usize,
    /// How many deliveries the consumer made.
    pub(super) deliveries: u64,
    /// Whether somebody has paused the consumer, which NATS 2.11 and later can.
    pub(super) is_paused: bool,
    /// Which stream and which consumer these are.
    pub(super) made: Made,
}

/// When a stream and its consumer were made, by the server's clock: tells those that somebody replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) stream: i128,
    pub(super) consumer: i128,
}

/// Subjects with the number of their messages, out of `total`.
struct Subjects {
    subjects: HashMap<String, u64>,
    total: usize,
}

impl Broker {
    pub(super) fn new(link: Link, config: JetStreamConfig, ledger: Option<Arc<OwnLedger>>) -> Self {
        let context = ContextBuilder::new()
            .timeout(ANSWER)
            .build(link.client.clone());
        Self {
            link,
            context,
            config,
            making: Mutex::new(()),
            seen: AtomicBool::new(false),
            storing: Failing::default(),
            consuming: Failing::default(),
            ledger,
        }
    }

    /// Makes what is missing and updates what differs; says whether anything was missing.
    ///
    /// A stream that takes no consumer, as its store is damaged, is replaced after a while.
    pub(super) async fn ensure(&self) -> Result<bool, Error> {
        match self.ensure_both().await? {
            Ok(missing) => {
                self.consuming.is_over();
                Ok(missing)
            }
            Err(error) => {
                warn!(%error, stream = self.config.nats_stream, "consumer cannot be made");
                if self.consuming.is_long() {
                    warn!(
                        stream = self.config.nats_stream,
                        "stream takes no consumer and is replaced"
                    );
                    self.delete_stream().await?;
                }
                Err(self.link.unavailable("make the consumer", error.into()))
            }
        }
    }

    /// The error is one of the server's store, of which nothing but another consumer or stream helps.
    async fn ensure_both(&self) -> Result<Answer<bool>, Error> {
        let _making = self.making.lock().await;
        let stream = self.ensure_stream().await?;
        let consumer = self.ensure_consumer().await?;
        Ok(consumer.map(|consumer| stream || consumer))
    }

    /// Deletes the consumer and makes it again; what was in flight is delivered again.
    pub(super) async fn replace_consumer(&self) -> Result<(), Error> {
        {
            let _making = self.making.lock().await;
            self.delete_consumer().await?;
        }
        self.ensure().await.map(drop)
    }

    /// Deletes the stream and makes it again; what it held is lost.
    pub(super) async fn replace_stream(&self) -> Result<(), Error> {
        self.delete_stream().await?;
        self.ensure().await.map(drop)
    }

    async fn delete_stream(&self) -> Result<(), Error> {
        const ACTION: &str = "delete the stream";
        let _making = self.making.lock().await;
        let subject = self.stream_subject("DELETE");
        match self
            .call::<stream::DeleteStatus>(ACTION, subject, &json!({}))
            .await?
        {
            Err(error) if !failure::is_missing(&error) => {
                Err(failure::of_answer(&self.link, ACTION, &error))
            }
            _ => Ok(()),
        }
    }

    /// The stream has stored a message.
    pub(super) fn stored(&self) {
        self.storing.is_over();
    }

    /// The stream could not store a message. One that has not for a while is replaced.
    pub(super) async fn not_stored(&self) -> Result<(), Error> {
        if !self.storing.is_long() {
            return Ok(());
        }
        warn!(
            stream = self.config.nats_stream,
            "stream does not store what is published and is replaced"
        );
        self.replace_stream().await
    }

    /// Whose chunks are published and received here, where that is known.
    pub(super) fn ledger(&self) -> Option<&OwnLedger> {
        self.ledger.as_deref()
    }

    /// Notices whether the ledger was made anew.
    pub(super) async fn ask_ledger(&self) {
        if let Some(ledger) = self.ledger() {
            ledger.ask().await;
        }
    }

    /// What the stream and its consumer hold, or nothing where one of them is missing.
    pub(super) async fn holdings(&self) -> Result<Option<Holdings>, Error> {
        const ACTION: &str = "look at the stream";
        let Some(stream) = self.stream_info().await? else {
            return Ok(None);
        };
        let subject = self.consumer_subject("INFO");
        let consumer: consumer::Info = match self.call(ACTION, subject, &json!({})).await? {
            Ok(info) => info,
            Err(error) if failure::is_missing(&error) => return Ok(None),
            Err(error) => return Err(failure::of_answer(&self.link, ACTION, &error)),
        };
        Ok(Some(Holdings {
            messages: stream.state.messages,
            in_flight: consumer.num_ack_pending,
            deliveries: consumer.delivered.consumer_sequence,
            is_paused: consumer.paused,
            made: Made {
                stream: stream.created.unix_timestamp_nanos(),
                consumer: consumer.created.unix_timestamp_nanos(),
            },
        }))
    }

    /// How many messages of an object the stream holds; a stream that is missing holds none.
    pub(super) async fn messages_of(&self, object: ObjectId) -> Result<u64, Error> {
        let filter = message::subjects_of(&self.config.nats_stream, object);
        let page = self.subjects(&filter, 0).await?;
        Ok(page.subjects.values().sum())
    }

    /// How many messages of each object the stream holds; those it holds none of are left out.
    pub(super) async fn messages(&self) -> Result<HashMap<ObjectId, u64>, Error> {
        let filter = message::every_subject(&self.config.nats_stream);
        let mut messages = HashMap::new();
        let mut seen = 0;
        loop {
            let page = self.subjects(&filter, seen).await?;
            for (subject, count) in &page.subjects {
                if let Some(object) = message::object_of(subject) {
                    *messages.entry(object).or_default() += count;
                }
            }
            seen += page.subjects.len();
            if page.subjects.is_empty() || seen >= page.total {
                return Ok(messages);
            }
        }
    }

    /// The subjects of messages that the stream holds, from one of them on: as many as the server tells at once.
    async fn subjects(&self, filter: &str, offset: usize) -> Result<Subjects, Error> {
        #[derive(Default, Deserialize)]
        struct Info {
            #[serde(default)]
            total: usize,
            state: State,
        }
        #[derive(Default, Deserialize)]
        struct State {
            #[serde(default)]
            messages: u64,
            #[serde(default)]
            subjects: Option<HashMap<String, u64>>,
        }
        const ACTION: &str = "count the messages of objects";

        let request = json!({ "subjects_filter": filter, "offset": offset });
        let subject = self.stream_subject("INFO");
        let info = match self.call::<Info>(ACTION, subject, &request).await? {
            Ok(info) => info,
            Err(error) if failure::is_missing(&error) => Info::default(),
            Err(error) => return Err(failure::of_answer(&self.link, ACTION, &error)),
        };
        // A server that finds its store damaged may go on counting by subject what it has lost.
        let subjects = info.state.subjects.filter(|_| info.state.messages > 0);
        Ok(Subjects {
            subjects: subjects.unwrap_or_default(),
            total: info.total,
        })
    }

    async fn ensure_stream(&self) -> Result<bool, Error> {
        const ACTION: &str = "make the stream";
        let name = &self.config.nats_stream;
        let mut existing = self.stream_info().await?.map(|info| info.config);
        if existing.is_none() && self.seen.load(Ordering::Acquire) {
            sleep(REMOVAL).await;
            existing = self.stream_info().await?.map(|info| info.config);
        }
        self.seen.store(true, Ordering::Release);
        let mut looks = 0;
        loop {
            let wanted = self.stream_config(existing.clone().unwrap_or_default());
            let subject = match &existing {
                Some(existing) if *existing == wanted => return Ok(false),
                Some(_) => self.stream_subject("UPDATE"),
                None => self.stream_subject("CREATE"),
            };
            match self.call::<stream::Info>(ACTION, subject, &wanted).await? {
                Ok(_) => break,
                // Whoever makes it at this moment may not have it ready yet.
                Err(error) if existing.is_none() && looks < LOOKS && failure::is_taken(&error) => {
                    looks += 1;
                    sleep(LOOK).await;
                    existing = self.stream_info().await?.map(|info| info.config);
                }
                Err(error) => return Err(failure::of_answer(&self.link, ACTION, &error)),
            }
        }
        info!(
            stream = name,
            missing = existing.is_none(),
            "stream made as configured"
        );
        Ok(existing.is_none())
    }

    /// The stream as we want it. What we have no opinion about stays as its owner has set it.
    fn stream_config(&self, existing: stream::Config) -> stream::Config {
        stream::Config {
            name: self.config.nats_stream.clone(),
            subjects: vec![message::every_subject(&self.config.nats_stream)],
            retention: stream::RetentionPolicy::WorkQueue,
            discard: stream::DiscardPolicy::New,
            max_bytes: self.config.nats_max_bytes,
            storage: stream::StorageType::File,
            num_replicas: self.config.nats_replicas.into(),
            duplicate_window: DUPLICATE_WINDOW,
            ..existing
        }
    }

    async fn stream_info(&self) -> Result<Option<stream::Info>, Error> {
        const ACTION: &str = "look at the stream";
        let subject = self.stream_subject("INFO");
        match self.call(ACTION, subject, &json!({})).await? {
            Ok(info) => Ok(Some(info)),
            Err(error) if failure::is_missing(&error) => Ok(None),
            Err(error) => Err(failure::of_answer(&self.link, ACTION, &error)),
        }
    }

    async fn ensure_consumer(&self) -> Result<Answer<bool>, Error> {
        const ACTION: &str = "make the consumer";
        let info: Option<consumer::Info> = {
            let subject = self.consumer_subject("INFO");
            match self.call(ACTION, subject, &json!({})).await? {
                Ok(info) => Some(info),
                Err(error) if failure::is_missing(&error) => None,
                Err(error) => return Err(failure::of_answer(&self.link, ACTION, &error)),
            }
        };
        let agrees = |info: &consumer::Info| consumer::agrees(&info.config, &self.config);
        if info.as_ref().is_some_and(agrees) {
            return Ok(Ok(false));
        }
        let Err(error) = self.create_consumer(ACTION).await? else {
            info!(missing = info.is_none(), "consumer made as configured");
            return Ok(Ok(info.is_none()));
        };
        // Some servers keep of a consumer that they cannot read what is in the way of a new one.
        if info.is_none() && !failure::is_of_consumer_store(&error) {
            return Err(failure::of_answer(&self.link, ACTION, &error));
        }
        warn!(%error, "consumer cannot be made as configured and is replaced");
        self.delete_consumer().await?;
        match self.create_consumer(ACTION).await? {
            Ok(_) => Ok(Ok(true)),
            Err(error) if failure::is_of_consumer_store(&error) => Ok(Err(error)),
            Err(error) => Err(failure::of_answer(&self.link, ACTION, &error)),
        }
    }

    /// Creates the consumer, or updates it where the server allows that.
    async fn create_consumer(&self, action: &'static str) -> Result<Answer<consumer::Info>, Error> {
        let stream = &self.config.nats_stream;
        let subject = format!("CONSUMER.CREATE.{stream}.{}", consumer::NAME);
        let config = consumer::config(&self.config);
        let request = json!({ "stream_name": stream, "config": config });
        self.call(action, subject, &request).await
    }

    async fn delete_consumer(&self) -> Result<(), Error> {
        const ACTION: &str = "delete the consumer";
        let subject = self.consumer_subject("DELETE");
        match self
            .call::<stream::DeleteStatus>(ACTION, subject, &json!({}))
            .await?
        {
            Ok(_) => Ok(()),
            Err(error) if failure::is_missing(&error) => Ok(()),
            Err(error) => Err(failure::of_answer(&self.link, ACTION, &error)),
        }
    }

    fn stream_subject(&self, verb: &str) -> String {
        format!("STREAM.{verb}.{}", self.config.nats_stream)
    }

    fn consumer_subject(&self, verb: &str) -> String {
        format!(
            "CONSUMER.{verb}.{}.{}",
            self.config.nats_stream,
            consumer::NAME
        )
    }

    async fn call<T: DeserializeOwned>(
        &self,
        action: &'static str,
        subject: String,
        request: &(impl Serialize + ?Sized),
    ) -> Result<Answer<T>, Error> {
        self.link.check(action)?;
        match self.context.request(subject, request).await {
            Ok(Response::Ok(answer)) => Ok(Ok(answer)),
            Ok(Response::Err { error }) => Ok(Err(error)),
            Err(error)
                if error.kind() == RequestErrorKind::NoResponders
                    && !self.link.client.server_info().jetstream =>
            {
                Err(failure::no_jetstream(&self.link, action))
            }
            Err(error) => Err(self.link.unavailable(action, error.into())),
        }
    }
}
