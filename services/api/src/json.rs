//! Bodies that serde writes: documented as any other type, but numbers come out digit by digit.

use std::{io, marker::PhantomData};

use bytes::Bytes;
use futures::Stream;
use poem::{Body, IntoResponse, Response};
use poem_openapi::{
    ApiResponse,
    payload::Payload,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry},
    types::Type,
};
use serde::Serialize;

use crate::database::Error;

/// A `T` as serde writes it. poem-openapi's own JSON takes numbers through binary floats.
pub(crate) struct SerdeJson<T> {
    body: Body,
    length: Length,
    of: PhantomData<fn() -> T>,
}

/// Whether it is known how long a body will be, as a response's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// All of it is there.
    Known,
    /// It is made while it is sent.
    Unknown,
}

/// What `write` makes, or the failure of it, which the log tells.
pub(crate) fn written<T>(write: impl FnOnce() -> serde_json::Result<T>) -> Result<T, Error> {
    write().map_err(|error| {
        tracing::error!(%error, "cannot write a body");
        Error::Failed
    })
}

impl<T> SerdeJson<T> {
    /// Writes a value that looks like a `T`, such as a reference to one.
    pub(crate) fn new(value: &impl Serialize) -> Result<Self, Error> {
        Ok(Self::written(written(|| serde_json::to_vec(value))?.into()))
    }

    /// What serde has written of a `T` before.
    pub(crate) fn written(body: Bytes) -> Self {
        Self {
            body: body.into(),
            length: Length::Known,
            of: PhantomData,
        }
    }

    /// What serde will have written of a `T` in the end. An error breaks the answer off.
    pub(crate) fn streamed(body: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self {
            body: Body::from_bytes_stream(body),
            length: Length::Unknown,
            of: PhantomData,
        }
    }
}

impl<T: Type> Payload for SerdeJson<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        register::<T>(registry);
    }
}

impl<T: Type> IntoResponse for SerdeJson<T> {
    fn into_response(self) -> Response {
        let mut response = Response::builder()
            .content_type(Self::CONTENT_TYPE)
            .body(self.body);
        response.set_data(self.length);
        response
    }
}

impl<T: Type> ApiResponse for SerdeJson<T> {
    fn meta() -> MetaResponses {
        let content = MetaMediaType {
            content_type: Self::CONTENT_TYPE,
            schema: Self::schema_ref(),
        };
        MetaResponses {
            responses: vec![MetaResponse {
                description: "What was asked for.",
                status: Some(200),
                status_range: None,
                content: vec![content],
                headers: Vec::new(),
            }],
        }
    }

    fn register(registry: &mut Registry) {
        register::<T>(registry);
    }
}

/// Documents a type as serde writes it: what is nothing is null, where the framework would leave it out.
fn register<T: Type>(registry: &mut Registry) {
    T::register(registry);
    for schema in registry.schemas.values_mut() {
        let required = &schema.required;
        let optional = schema
            .properties
            .iter_mut()
            .filter(|(name, _)| !required.contains(name));
        for (_, property) in optional {
            if let MetaSchemaRef::Inline(property) = property {
                property.nullable = true;
            }
        }
    }
}
