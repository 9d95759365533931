//! The stream and its consumer on the server: creation, configuration and state.

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
use jetline_core::ObjectId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::{sync::Mutex, time::sleep};
use tracing::{info, warn};

use super::{
    JetStreamConfig, OwnLedger, connection::Connection, consumer, failure,
    failure_timer::FailureTimer, message,
};
use crate::Error;

/// The timeout of requests to the server.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The deduplication window of the stream: long enough for a retried publication.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(2);

/// How long to wait before a deleted stream is created again. Servers remove its files after they have confirmed the
/// deletion, and some remove those of a new stream of the same name as well.
const DELETE_DELAY: Duration = Duration::from_secs(1);

/// How often, and at which interval, creation is retried while another process is creating the stream.
const CREATE_RETRIES: u32 = 10;
const CREATE_RETRY_DELAY: Duration = Duration::from_millis(100);

/// A response of the server's API: the result, or the server's error.
type ApiResult<T> = Result<T, jetstream::Error>;

/// One stream with its consumer on one server.
pub(super) struct Broker {
    pub(super) connection: Connection,
    pub(super) context: Context,
    pub(super) config: JetStreamConfig,
    /// Held while the stream or the consumer is created, so that concurrent callers create it once.
    creating: Mutex<()>,
    /// Whether the stream existed before: if it is missing then, it was deleted.
    seen: AtomicBool,
    /// Failures to store messages.
    storing: FailureTimer,
    /// Failures to create a consumer.
    pub(super) consuming: FailureTimer,
    /// The ledger whose chunks are published and received, if it is known.
    ledger: Option<Arc<OwnLedger>>,
}

/// The state of the stream and its consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamState {
    /// Messages in the stream, in flight or not.
    pub(super) messages: u64,
    /// Messages in flight.
    pub(super) in_flight: usize,
    /// How many deliveries the consumer made.
    pub(super) deliveries: u64,
    /// Whether the consumer is paused, which NATS 2.11 and later support.
    pub(super) is_paused: bool,
    /// Identifies the stream and the consumer.
    pub(super) created: CreatedAt,
}

/// When a stream and its consumer were created, by the server's clock: detects their replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CreatedAt {
    pub(super) stream: i128,
    pub(super) consumer: i128,
}

/// A page of subjects with their message counts, out of `total` subjects.
struct Subjects {
    subjects: HashMap<String, u64>,
    total: usize,
}

impl Broker {
    pub(super) fn new(
        connection: Connection,
        config: JetStreamConfig,
        ledger: Option<Arc<OwnLedger>>,
    ) -> Self {
        let context =
            ContextBuilder::new().timeout(RESPONSE_TIMEOUT).build(connection.client.clone());
        Self {
            connection,
            context,
            config,
            creating: Mutex::new(()),
            seen: AtomicBool::new(false),
            storing: FailureTimer::default(),
            consuming: FailureTimer::default(),
            ledger,
        }
    }

    /// Creates what is missing and updates what differs; returns whether anything was missing.
    ///
    /// A stream on which no consumer can be created, because its store is damaged, is replaced after a while.
    pub(super) async fn ensure(&self) -> Result<bool, Error> {
        match self.ensure_both().await? {
            Ok(missing) => {
                self.consuming.succeeded();
                Ok(missing)
            }
            Err(error) => {
                warn!(%error, stream = self.config.nats_stream, "create consumer failed");
                if self.consuming.failed_for_long() {
                    warn!(
                        stream = self.config.nats_stream,
                        "create consumer keeps failing, replacing the stream"
                    );
                    self.delete_stream().await?;
                }
                Err(self.connection.unavailable("create the consumer", error.into()))
            }
        }
    }

    /// The inner error is one of the server's store, which only a new consumer or stream can repair.
    async fn ensure_both(&self) -> Result<ApiResult<bool>, Error> {
        let _creating = self.creating.lock().await;
        let stream = self.ensure_stream().await?;
        let consumer = self.ensure_consumer().await?;
        Ok(consumer.map(|consumer| stream || consumer))
    }

    /// Deletes and recreates the consumer; messages in flight are redelivered.
    pub(super) async fn replace_consumer(&self) -> Result<(), Error> {
        {
            let _creating = self.creating.lock().await;
            self.delete_consumer().await?;
        }
        self.ensure().await.map(drop)
    }

    /// Deletes and recreates the stream; its messages are lost.
    pub(super) async fn replace_stream(&self) -> Result<(), Error> {
        self.delete_stream().await?;
        self.ensure().await.map(drop)
    }

    async fn delete_stream(&self) -> Result<(), Error> {
        const ACTION: &str = "delete the stream";
        let _creating = self.creating.lock().await;
        let subject = self.stream_subject("DELETE");
        match self.call::<stream::DeleteStatus>(ACTION, subject, &json!({})).await? {
            Err(error) if !failure::is_missing(&error) => {
                Err(failure::from_response(&self.connection, ACTION, &error))
            }
            _ => Ok(()),
        }
    }

    /// Records that the stream stored a message.
    pub(super) fn stored(&self) {
        self.storing.succeeded();
    }

    /// Records that the stream failed to store a message, and replaces it if that continues.
    pub(super) async fn store_failed(&self) -> Result<(), Error> {
        if !self.storing.failed_for_long() {
            return Ok(());
        }
        warn!(
            stream = self.config.nats_stream,
            "store messages keeps failing, replacing the stream"
        );
        self.replace_stream().await
    }

    /// The ledger whose chunks are published and received, if it is known.
    pub(super) fn ledger(&self) -> Option<&OwnLedger> {
        self.ledger.as_deref()
    }

    /// Detects whether the ledger was created again.
    pub(super) async fn refresh_ledger(&self) {
        if let Some(ledger) = self.ledger() {
            ledger.refresh().await;
        }
    }

    /// The state of the stream and its consumer, or `None` if one of them is missing.
    pub(super) async fn state(&self) -> Result<Option<StreamState>, Error> {
        const ACTION: &str = "read the stream's state";
        let Some(stream) = self.stream_info().await? else {
            return Ok(None);
        };
        let subject = self.consumer_subject("INFO");
        let consumer: consumer::Info = match self.call(ACTION, subject, &json!({})).await? {
            Ok(info) => info,
            Err(error) if failure::is_missing(&error) => return Ok(None),
            Err(error) => return Err(failure::from_response(&self.connection, ACTION, &error)),
        };
        Ok(Some(StreamState {
            messages: stream.state.messages,
            in_flight: consumer.num_ack_pending,
            deliveries: consumer.delivered.consumer_sequence,
            is_paused: consumer.paused,
            created: CreatedAt {
                stream: stream.created.unix_timestamp_nanos(),
                consumer: consumer.created.unix_timestamp_nanos(),
            },
        }))
    }

    /// How many messages of an object the stream has; 0 if the stream is missing.
    pub(super) async fn messages_of(&self, object: ObjectId) -> Result<u64, Error> {
        let filter = message::subjects_of(&self.config.nats_stream, object);
        let page = self.subjects(&filter, 0).await?;
        Ok(page.subjects.values().sum())
    }

    /// How many messages of each object the stream has; objects without messages are omitted.
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

    /// A page of the subjects of the stream's messages, from an offset on.
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
            Err(error) => return Err(failure::from_response(&self.connection, ACTION, &error)),
        };
        // A server with a damaged store may still count lost messages by subject.
        let subjects = info.state.subjects.filter(|_| info.state.messages > 0);
        Ok(Subjects { subjects: subjects.unwrap_or_default(), total: info.total })
    }

    async fn ensure_stream(&self) -> Result<bool, Error> {
        const ACTION: &str = "create the stream";
        let name = &self.config.nats_stream;
        let mut existing = self.stream_info().await?.map(|info| info.config);
        if existing.is_none() && self.seen.load(Ordering::Acquire) {
            sleep(DELETE_DELAY).await;
            existing = self.stream_info().await?.map(|info| info.config);
        }
        self.seen.store(true, Ordering::Release);
        let mut retries = 0;
        loop {
            let wanted = self.stream_config(existing.clone().unwrap_or_default());
            let subject = match &existing {
                Some(existing) if *existing == wanted => return Ok(false),
                Some(_) => self.stream_subject("UPDATE"),
                None => self.stream_subject("CREATE"),
            };
            match self.call::<stream::Info>(ACTION, subject, &wanted).await? {
                Ok(_) => break,
                // Another process may be creating it.
                Err(error)
                    if existing.is_none()
                        && retries < CREATE_RETRIES
                        && failure::is_taken(&error) =>
                {
                    retries += 1;
                    sleep(CREATE_RETRY_DELAY).await;
                    existing = self.stream_info().await?.map(|info| info.config);
                }
                Err(error) => return Err(failure::from_response(&self.connection, ACTION, &error)),
            }
        }
        info!(stream = name, missing = existing.is_none(), "stream created or updated");
        Ok(existing.is_none())
    }

    /// The wanted configuration of the stream. Other options stay as they are.
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
        const ACTION: &str = "read the stream's state";
        let subject = self.stream_subject("INFO");
        match self.call(ACTION, subject, &json!({})).await? {
            Ok(info) => Ok(Some(info)),
            Err(error) if failure::is_missing(&error) => Ok(None),
            Err(error) => Err(failure::from_response(&self.connection, ACTION, &error)),
        }
    }

    async fn ensure_consumer(&self) -> Result<ApiResult<bool>, Error> {
        const ACTION: &str = "create the consumer";
        let info: Option<consumer::Info> = {
            let subject = self.consumer_subject("INFO");
            match self.call(ACTION, subject, &json!({})).await? {
                Ok(info) => Some(info),
                Err(error) if failure::is_missing(&error) => None,
                Err(error) => return Err(failure::from_response(&self.connection, ACTION, &error)),
            }
        };
        let matches = |info: &consumer::Info| consumer::matches(&info.config, &self.config);
        if info.as_ref().is_some_and(matches) {
            return Ok(Ok(false));
        }
        let Err(error) = self.create_consumer(ACTION).await? else {
            info!(missing = info.is_none(), "consumer created or updated");
            return Ok(Ok(info.is_none()));
        };
        // Some servers keep files of an unreadable consumer, which prevent a new one.
        if info.is_none() && !failure::is_consumer_store_failure(&error) {
            return Err(failure::from_response(&self.connection, ACTION, &error));
        }
        warn!(%error, "update consumer failed, replacing it");
        self.delete_consumer().await?;
        match self.create_consumer(ACTION).await? {
            Ok(_) => Ok(Ok(true)),
            Err(error) if failure::is_consumer_store_failure(&error) => Ok(Err(error)),
            Err(error) => Err(failure::from_response(&self.connection, ACTION, &error)),
        }
    }

    /// Creates the consumer, or updates it if the server allows that.
    async fn create_consumer(
        &self,
        action: &'static str,
    ) -> Result<ApiResult<consumer::Info>, Error> {
        let stream = &self.config.nats_stream;
        let subject = format!("CONSUMER.CREATE.{stream}.{}", consumer::NAME);
        let config = consumer::config(&self.config);
        let request = json!({ "stream_name": stream, "config": config });
        self.call(action, subject, &request).await
    }

    async fn delete_consumer(&self) -> Result<(), Error> {
        const ACTION: &str = "delete the consumer";
        let subject = self.consumer_subject("DELETE");
        match self.call::<stream::DeleteStatus>(ACTION, subject, &json!({})).await? {
            Ok(_) => Ok(()),
            Err(error) if failure::is_missing(&error) => Ok(()),
            Err(error) => Err(failure::from_response(&self.connection, ACTION, &error)),
        }
    }

    fn stream_subject(&self, verb: &str) -> String {
        format!("STREAM.{verb}.{}", self.config.nats_stream)
    }

    fn consumer_subject(&self, verb: &str) -> String {
        format!("CONSUMER.{verb}.{}.{}", self.config.nats_stream, consumer::NAME)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        action: &'static str,
        subject: String,
        request: &(impl Serialize + ?Sized),
    ) -> Result<ApiResult<T>, Error> {
        self.connection.check(action)?;
        match self.context.request(subject, request).await {
            Ok(Response::Ok(answer)) => Ok(Ok(answer)),
            Ok(Response::Err { error }) => Ok(Err(error)),
            Err(error)
                if error.kind() == RequestErrorKind::NoResponders
                    && !self.connection.client.server_info().jetstream =>
            {
                Err(failure::no_jetstream(&self.connection, action))
            }
            Err(error) => Err(self.connection.unavailable(action, error.into())),
        }
    }
}
