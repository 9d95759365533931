//! The stream and its consumer on the server: made, kept as configured, and asked about.

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::{
    self,
    context::{Context, ContextBuilder, RequestErrorKind},
    response::Response,
    stream,
};
use jetline_records::ObjectId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::{JetStreamConfig, consumer, failure, link::Link, message};
use crate::Error;

/// How long the server may take to answer.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// The stream forgets the ids of messages after this time: long enough for a publication that is tried again.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(2);

/// What the server answered: what was asked for, or its own error.
type Answer<T> = Result<T, jetstream::Error>;

/// One stream with its consumer on one server.
pub(super) struct Broker {
    pub(super) link: Link,
    pub(super) context: Context,
    pub(super) config: JetStreamConfig,
    /// Held while the stream or the consumer is made, so that many who miss it make it once.
    making: Mutex<()>,
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
}

impl Broker {
    pub(super) fn new(link: Link, config: JetStreamConfig) -> Self {
        let context = ContextBuilder::new()
            .timeout(ANSWER)
            .build(link.client.clone());
        Self {
            link,
            context,
            config,
            making: Mutex::new(()),
        }
    }

    /// Makes what is missing and updates what differs; says whether anything was missing.
    pub(super) async fn ensure(&self) -> Result<bool, Error> {
        let _making = self.making.lock().await;
        let stream = self.ensure_stream().await?;
        let consumer = self.ensure_consumer().await?;
        Ok(stream || consumer)
    }

    /// Deletes the consumer and makes it again; what was in flight is delivered again.
    pub(super) async fn replace_consumer(&self) -> Result<(), Error> {
        let _making = self.making.lock().await;
        self.delete_consumer().await?;
        self.ensure_consumer().await?;
        Ok(())
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
        }))
    }

    /// How many messages of an object the stream holds; a stream that is missing holds none.
    pub(super) async fn messages_of(&self, object: ObjectId) -> Result<u64, Error> {
        #[derive(Deserialize)]
        struct Info {
            state: State,
        }
        #[derive(Deserialize)]
        struct State {
            #[serde(default)]
            subjects: Option<HashMap<String, u64>>,
        }
        const ACTION: &str = "count the messages of an object";

        let filter = message::subjects_of(&self.config.nats_stream, object);
        let request = json!({ "subjects_filter": filter });
        let subject = self.stream_subject("INFO");
        match self.call::<Info>(ACTION, subject, &request).await? {
            Ok(info) => Ok(info.state.subjects.unwrap_or_default().values().sum()),
            Err(error) if failure::is_missing(&error) => Ok(0),
            Err(error) => Err(failure::of_answer(&self.link, ACTION, &error)),
        }
    }

    async fn ensure_stream(&self) -> Result<bool, Error> {
        const ACTION: &str = "make the stream";
        let name = &self.config.nats_stream;
        let existing = self.stream_info().await?.map(|info| info.config);
        let wanted = self.stream_config(existing.clone().unwrap_or_default());
        let subject = match &existing {
            Some(existing) if *existing == wanted => return Ok(false),
            Some(_) => self.stream_subject("UPDATE"),
            None => self.stream_subject("CREATE"),
        };
        self.call::<stream::Info>(ACTION, subject, &wanted)
            .await?
            .map_err(|error| failure::of_answer(&self.link, ACTION, &error))?;
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

    async fn ensure_consumer(&self) -> Result<bool, Error> {
        const ACTION: &str = "make the consumer";
        let info: Option<consumer::Info> = {
            let subject = self.consumer_subject("INFO");
            match self.call(ACTION, subject, &json!({})).await? {
                Ok(info) => Some(info),
                Err(error) if failure::is_missing(&error) => None,
                Err(error) => return Err(failure::of_answer(&self.link, ACTION, &error)),
            }
        };
        if info
            .as_ref()
            .is_some_and(|info| consumer::agrees(&info.config, &self.config))
        {
            return Ok(false);
        }
        let Err(error) = self.create_consumer(ACTION).await? else {
            info!(missing = info.is_none(), "consumer made as configured");
            return Ok(info.is_none());
        };
        if info.is_none() {
            return Err(failure::of_answer(&self.link, ACTION, &error));
        }
        warn!(%error, "consumer cannot be updated and is replaced");
        self.delete_consumer().await?;
        match self.create_consumer(ACTION).await? {
            Ok(_) => Ok(true),
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
