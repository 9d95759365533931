//! All endpoints with everything around them.

use std::sync::Arc;

use jetline_runtime::{PrometheusHandle, Shutdown, observe};
use poem::{EndpointExt, Response, Route, endpoint::BoxEndpoint, get, middleware::CatchPanic};
use rand::RngCore;
use sea_orm::DatabaseConnection;

use crate::{
    ApiSettings,
    access::{Requests, observed},
    auth::{Gate, Users, guarded},
    database::{Reads, statement_limit},
    datasets::Datasets,
    head::headed,
    limits::{Crashed, Limits, limited},
    objects::ObjectApi,
    openapi::{self, StartPage},
    problem,
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
        let reads = Reads::new(self.db, statement_limit(settings.request_timeout));
        let datasets = Datasets {
            reads: reads.clone(),
            cache: (settings.cache_time, settings.cache_bytes),
            shutdown: self.shutdown,
        };
        let objects = ObjectApi {
            reads: reads.clone(),
        };
        let rejects = RejectApi {
            reads: reads.clone(),
        };
        let service = openapi::service((datasets, objects, rejects, StartPage));
        let check = move || {
            let reads = reads.clone();
            async move { reads.ready().await }
        };
        Route::new()
            .at("/healthz", get(observe::healthz()))
            .at("/readyz", get(observe::readyz(check)))
            .at("/metrics", get(observe::exposition(self.metrics)))
            .at("/openapi.json", get(service.spec_endpoint()))
            .nest("/docs", service.swagger_ui())
            .nest("/", service)
    }
}
