//! Bodies that serde writes: documented as any other type, but numbers come out digit by digit.

use std::marker::PhantomData;

use bytes::Bytes;
use poem::{IntoResponse, Response};
use poem_openapi::{
    ApiResponse,
    payload::Payload,
    registry::{MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry},
    types::Type,
};
use serde::Serialize;

use crate::problem::Failure;

/// A `T` as serde writes it. poem-openapi's own JSON takes numbers through binary floats.
pub(crate) struct SerdeJson<T> {
    body: Bytes,
    of: PhantomData<fn() -> T>,
}

impl<T> SerdeJson<T> {
    /// Writes a value that looks like a `T`, such as a reference to one.
    pub(crate) fn new(value: &impl Serialize) -> Result<Self, Failure> {
        let body = serde_json::to_vec(value).map_err(|error| {
            tracing::error!(%error, "cannot write a body");
            Failure::internal()
        })?;
        Ok(Self::written(body.into()))
    }

    /// What serde has written of a `T` before.
    pub(crate) fn written(body: Bytes) -> Self {
        Self {
            body,
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
        Response::builder()
            .content_type(Self::CONTENT_TYPE)
            .body(self.body)
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
