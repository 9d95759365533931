//! The OpenAPI document.

use jetline_datasets::Datasets;
use poem_openapi::{ApiResponse, OpenApi, OpenApiService};

use crate::{
    ingestion::{ObjectApi, RejectApi},
    records::{RecordApi, document},
};

/// All endpoints.
pub(crate) type Endpoints = (RecordApi, ObjectApi, RejectApi, StartPage);

/// The endpoints with their description.
pub(crate) fn service(endpoints: Endpoints) -> OpenApiService<Endpoints, ()> {
    OpenApiService::new(endpoints, "Jetline", env!("CARGO_PKG_VERSION"))
        .description("Records by id, and the state of every object and rejected line.")
}

/// The document, with the datasets.
pub(crate) fn document(service: &OpenApiService<Endpoints, ()>, datasets: &Datasets) -> String {
    let spec = service.spec();
    let Ok(mut document) = serde_json::from_str(&spec) else {
        return spec;
    };
    document::describe(&mut document, datasets);
    format!("{document:#}")
}

/// The page of Swagger UI, which embeds the document in a script: no text of it may end the script.
pub(crate) fn page(service: &OpenApiService<Endpoints, ()>, document: &str) -> String {
    let embedded = document.replace('<', "\\u003c");
    service.swagger_ui_html().replace(&service.spec(), &embedded)
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
