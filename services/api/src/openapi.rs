//! The OpenAPI document.

use poem_openapi::{ApiResponse, OpenApi, OpenApiService};

use crate::{
    ingestion::{ObjectApi, RejectApi},
    records::Datasets,
};

/// All endpoints.
pub(crate) type Endpoints = (Datasets, ObjectApi, RejectApi, StartPage);

/// The endpoints with their description.
pub(crate) fn service(endpoints: Endpoints) -> OpenApiService<Endpoints, ()> {
    OpenApiService::new(endpoints, "Jetline", env!("CARGO_PKG_VERSION"))
        .description("Records by id, and the state of every object and rejected line.")
}

/// Redirects from `/` to the documentation.
pub(crate) struct StartPage;

#[derive(ApiResponse)]
enum SeeOther {
    /// The documentation.
    #[oai(status = 303)]
    At(
        /// Where it is.
        #[oai(header = "Location")]
        String,
    ),
}

#[OpenApi]
impl StartPage {
    #[expect(clippy::unused_async, reason = "endpoints are async")]
    #[oai(path = "/", method = "get", hidden = true)]
    async fn start(&self) -> SeeOther {
        SeeOther::At("/docs".to_owned())
    }
}
