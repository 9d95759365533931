//! JSON bodies that serde serializes, with exact numbers, documented like those of poem-openapi.

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

/// A `T` as JSON, serialized by serde. poem-openapi's own JSON converts numbers to binary floats.
pub(crate) struct SerdeJson<T> {
    body: Body,
    of: PhantomData<fn() -> T>,
}

/// Runs a serialization, and logs its error.
pub(crate) fn serialize<T>(write: impl FnOnce() -> serde_json::Result<T>) -> Result<T, Error> {
    write().map_err(|error| {
        tracing::error!(%error, "serialize response failed");
        Error::Failed
    })
}

/// A value as JSON, with a line break at its end for those who read it in a terminal.
pub(crate) fn text(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut json = serialize(|| serde_json::to_vec(value))?;
    json.push(b'\n');
    Ok(json)
}

impl<T> SerdeJson<T> {
    /// Serializes a value with the schema of a `T`, such as a reference to one.
    pub(crate) fn new(value: &impl Serialize) -> Result<Self, Error> {
        Ok(Self::serialized(text(value)?.into()))
    }

    /// A `T` that was serialized before.
    pub(crate) fn serialized(body: Bytes) -> Self {
        Self { body: body.into(), of: PhantomData }
    }

    /// A `T` that is serialized while it is sent. An error aborts the response.
    pub(crate) fn streamed(body: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self { body: Body::from_bytes_stream(body), of: PhantomData }
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
        Response::builder().content_type(Self::CONTENT_TYPE).body(self.body)
    }
}

impl<T: Type> ApiResponse for SerdeJson<T> {
    fn meta() -> MetaResponses {
        let content =
            MetaMediaType { content_type: Self::CONTENT_TYPE, schema: Self::schema_ref() };
        MetaResponses {
            responses: vec![MetaResponse {
                description: "The requested data.",
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

/// Documents a type as serde serializes it: `None` is null, whereas the framework would omit it.
fn register<T: Type>(registry: &mut Registry) {
    T::register(registry);
    for schema in registry.schemas.values_mut() {
        let required = &schema.required;
        let optional = schema.properties.iter_mut().filter(|(name, _)| !required.contains(name));
        for (_, property) in optional {
            if let MetaSchemaRef::Inline(property) = property {
                property.nullable = true;
            }
        }
    }
}
