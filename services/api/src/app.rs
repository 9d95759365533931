//! All endpoints with everything around them.

use std::sync::Arc;

use bytes::Bytes;
use jetline_runtime::{PrometheusHandle, Shutdown, observe};
use poem::{
    Endpoint, EndpointExt, IntoResponse, Response, Route,
    endpoint::{BoxEndpoint, make_sync},
    get,
    middleware::CatchPanic,
};
use rand::RngCore;
use sea_orm::DatabaseConnection;

use crate::{
    ApiSettings,
    access::{Requests, observed},
    answers::Answers,
    auth::{Gate, Users, guarded},
    database::{self, Reads, statement_limit},
    datasets::Datasets,
    head::headed,
    limits::{Crashed, Limits, limited},
    objects::ObjectApi,
    openapi::{self, StartPage},
    problem::{self, Failure},
    readiness::Readiness,
    rejects::RejectApi,
};

/// What the API is made of.
pub struct App {
    /// The database that it reads.
    pub db: DatabaseConnection,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
    /// Who may read; everybody when nobody is named.
    pub users: Option<Users>,
    /// Ends the tasks that read for the endpoints.
    pub shutdown: Shutdown,
}

impl App {
    /// One endpoint that answers every request. To be called in a tokio runtime.
    pub fn endpoint(
        self,
        settings: &ApiSettings,
        randomness: &mut impl RngCore,
    ) -> BoxEndpoint<'static, Response> {
        let limits = Limits {
            time: settings.request_timeout,
            body_bytes: settings.max_body_bytes,
        };
        let requests = Arc::new(Requests::new(randomness.next_u64()));
        let gate = self.users.clone().map(|users| Gate::new(users, randomness));
        self.routes(settings)
            .around(headed)
            .with(CatchPanic::new().with_handler(Crashed))
            .around(move |endpoint, request| guarded(endpoint, request, gate.clone()))
            .around(move |endpoint, request| limited(endpoint, request, limits))
            .catch_all_error(async |error| problem::of_error(error))
            .around(move |endpoint, request| observed(endpoint, request, requests.clone()))
            .boxed()
    }

    fn routes(self, settings: &ApiSettings) -> Route {
        let limit = statement_limit(settings.request_timeout);
        let reads = Reads::new(self.db, limit);
        let answers = Answers::new(settings.answer_bytes, limit);
        let datasets = Datasets {
            reads: reads.clone(),
            answers: answers.clone(),
            cache: (settings.cache_time, settings.cache_bytes),
            shutdown: self.shutdown,
        };
        let objects = ObjectApi {
            reads: reads.clone(),
            answers: answers.clone(),
        };
        let rejects = RejectApi {
            reads: reads.clone(),
            answers: answers.clone(),
        };
        let service = openapi::service((datasets, objects, rejects, StartPage));
        let readiness = Arc::new(Readiness::new(reads));
        let check = move || {
            let readiness = readiness.clone();
            async move { readiness.check().await }
        };
        let metrics = self.metrics;
        let exposition = move || answers.count(metrics.render().into());
        Route::new()
            .at("/healthz", get(observe::healthz()))
            .at("/readyz", get(observe::readyz(check)))
            .at("/metrics", get(text(EXPOSITION, exposition)))
            .at(
                "/openapi.json",
                get(page("application/json", service.spec())),
            )
            .at("/docs", get(page(HTML, service.swagger_ui_html())))
            .nest("/", service)
    }
}

const HTML: &str = "text/html; charset=utf-8";
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page that is always the same: one copy of it for all who read it.
fn page(content_type: &'static str, text: String) -> impl Endpoint + 'static {
    let text = Bytes::from(text);
    self::text(content_type, move || Ok(text.clone()))
}

fn text(
    content_type: &'static str,
    body: impl Fn() -> Result<Bytes, database::Error> + Send + Sync + 'static,
) -> impl Endpoint + 'static {
    make_sync(move |_| match body() {
        Ok(body) => body.with_content_type(content_type).into_response(),
        Err(error) => Failure::from(error).into_response(),
    })
}
