//! The OpenAPI document.

use std::sync::{Arc, LazyLock};

use poem::{Endpoint, IntoResponse, Request, Response, endpoint::make};
use poem_openapi::{ContactObject, LicenseObject, OpenApi, OpenApiService, registry::Registry};
use serde_json::{Value, json};

use crate::{
    auth::Caller,
    database::Error,
    deliveries::DeliveryApi,
    http::{entity_tag, json::serialize, problem::Failure},
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
    let license =
        LicenseObject::new("Apache License 2.0").url("https://www.apache.org/licenses/LICENSE-2.0");
    OpenApiService::new(endpoints, "Jetline", env!("CARGO_PKG_VERSION"))
        .license(license)
        .contact(ContactObject::new().name("The authors of Jetline"))
        .description("Records by id and in pages, where they come from, and the state of every object, rejected line and delivery.")
}

/// The values of an enumeration of the document; none of another type.
pub(crate) fn values(type_name: &str) -> Vec<String> {
    static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
        let mut registry = Registry::new();
        Endpoints::register(&mut registry);
        registry
    });
    let registry = &*REGISTRY;
    let schema = registry.schemas.get(type_name);
    let values = schema.into_iter().flat_map(|schema| &schema.enum_items);
    values.filter_map(|value| value.as_str().map(str::to_owned)).collect()
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

    async fn json(&self, caller: &Caller) -> Result<Value, Error> {
        let datasets = self.served.datasets(caller).await?;
        serialize(|| {
            let mut document: Value = serde_json::from_str(&self.spec)?;
            document::describe(&mut document, &datasets, self.takes_records);
            self.schemes.describe(&mut document);
            Ok(document)
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
        async move { pretty(&document.json(&caller).await?) }
    })
}

/// The document as a page. No text of it may end the script in which it is.
pub(crate) fn page(document: Arc<Document>) -> impl Endpoint + 'static {
    endpoint("text/html; charset=utf-8", move |caller| {
        let document = document.clone();
        async move {
            let mut json = document.json(&caller).await?;
            // Relative to the address of the page, so that requests are right below any prefix.
            json["servers"] = json!([{ "url": "." }]);
            Ok(document.page.replace(&document.spec, &pretty(&json)?.replace('<', "\\u003c")))
        }
    })
}

fn pretty(document: &Value) -> Result<String, Error> {
    let mut text = serialize(|| serde_json::to_string_pretty(document))?;
    text.push('\n');
    Ok(text)
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
                Ok(text) => entity_tag::text(&request, content_type, text),
                Err(error) => Failure::from(error).into_response(),
            })
        }
    })
}
