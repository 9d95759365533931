//! The OpenAPI document.

use std::sync::Arc;

use poem::{Endpoint, IntoResponse, Request, Response, endpoint::make};
use poem_openapi::OpenApiService;
use serde_json::{Value, json};

use crate::{
    auth::Caller,
    database::Error,
    deliveries::DeliveryApi,
    http::{json::serialize, problem::Failure},
    ingestion::{ObjectApi, RejectApi},
    intake::IntakeApi,
    queries::QueryApi,
    records::{DatasetApi, HistoryApi, OriginApi, RecordApi, Served, document},
};

/// All endpoints.
pub(crate) type Endpoints = (
    RecordApi,
    OriginApi,
    HistoryApi,
    QueryApi,
    IntakeApi,
    DeliveryApi,
    DatasetApi,
    ObjectApi,
    RejectApi,
);

/// The endpoints with their description.
pub(crate) fn service(endpoints: Endpoints) -> OpenApiService<Endpoints, ()> {
    OpenApiService::new(endpoints, "Jetline", env!("CARGO_PKG_VERSION"))
        .description("Records by id and in pages, where they come from, and the state of every object, rejected line and delivery.")
}

/// How clients authenticate.
#[derive(Clone, Copy)]
pub(crate) struct Schemes {
    /// Users with passwords.
    pub(crate) basic: bool,
    /// API keys.
    pub(crate) bearer: bool,
}

/// The document, which describes the datasets that are declared when it is requested and that the caller may read.
pub(crate) struct Document {
    spec: String,
    /// The page of Swagger UI, which embeds the document in a script.
    page: String,
    served: Served,
    schemes: Schemes,
    /// Whether records can be posted.
    takes_records: bool,
}

impl Document {
    pub(crate) fn new(
        service: &OpenApiService<Endpoints, ()>,
        served: Served,
        schemes: Schemes,
        takes_records: bool,
    ) -> Self {
        Self {
            spec: service.spec(),
            page: service.swagger_ui_html(),
            served,
            schemes,
            takes_records,
        }
    }

    async fn json(&self, caller: &Caller) -> Result<String, Error> {
        let datasets = self.served.datasets(caller).await?;
        serialize(|| {
            let mut document: Value = serde_json::from_str(&self.spec)?;
            document::describe(&mut document, &datasets, self.takes_records);
            self.schemes.describe(&mut document);
            serde_json::to_string_pretty(&document)
        })
    }
}

impl Schemes {
    fn describe(self, document: &mut Value) {
        let all = [("basic", self.basic), ("bearer", self.bearer)];
        for (name, _) in all.into_iter().filter(|(_, is_accepted)| *is_accepted) {
            let scheme = json!({ "type": "http", "scheme": name });
            document["components"]["securitySchemes"][name] = scheme;
            let needed = json!({ name: [] });
            match document["security"].as_array_mut() {
                Some(others) => others.push(needed),
                None => document["security"] = json!([needed]),
            }
        }
    }
}

/// The document as JSON.
pub(crate) fn document(document: Arc<Document>) -> impl Endpoint + 'static {
    endpoint("application/json", move |caller| {
        let document = document.clone();
        async move { document.json(&caller).await }
    })
}

/// The document as a page. No text of it may end the script in which it is.
pub(crate) fn page(document: Arc<Document>) -> impl Endpoint + 'static {
    endpoint("text/html; charset=utf-8", move |caller| {
        let document = document.clone();
        async move {
            let json = document.json(&caller).await?.replace('<', "\\u003c");
            Ok(document.page.replace(&document.spec, &json))
        }
    })
}

fn endpoint<F: Future<Output = Result<String, Error>> + Send + 'static>(
    content_type: &'static str,
    text: impl Fn(Caller) -> F + Send + Sync + 'static,
) -> impl Endpoint + 'static {
    make(move |request: Request| {
        let caller = request.extensions().get().cloned();
        let text = text(caller.unwrap_or_else(Caller::anonymous));
        async move {
            Ok::<Response, poem::Error>(match text.await {
                Ok(text) => text.with_content_type(content_type).into_response(),
                Err(error) => Failure::from(error).into_response(),
            })
        }
    })
}
