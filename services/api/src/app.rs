//! All endpoints, with their middleware.

use std::sync::Arc;

use bytes::Bytes;
use jetline_runtime::{PrometheusHandle, Shutdown, observe};
use jetline_store::Database;
use poem::{
    Endpoint, EndpointExt, IntoResponse, Request, Response, Route,
    endpoint::{BoxEndpoint, make, make_sync},
    get,
    http::{Method, StatusCode, header},
    middleware::{CatchPanic, Cors},
};
use rand::RngCore;

use crate::{
    ApiSettings, IntakeParts,
    auth::{Authenticator, Caller, Keys, Users, authenticated},
    database::{self, ReadPool, statement_timeout},
    deliveries::DeliveryApi,
    http::{
        compression::with_compression,
        head::with_head,
        limits::{Limits, PanicResponse, with_limits},
        problem::{self, Failure, Problem},
        rate_limit::{RateLimit, with_rate_limit},
        request_log::{Requests, with_log},
        response_budget::ResponseBudget,
    },
    ingestion::{ObjectApi, RejectApi},
    intake::{Intake, IntakeApi, IntakeMode},
    openapi::{self, Document, Schemes},
    page::{Actions, Page, is_of_page, with_overview},
    queries::QueryApi,
    readiness::Readiness,
    records::{DatasetApi, Direct, HistoryApi, OriginApi, RecordApi, Served},
    settings::ANY_ORIGIN,
};

/// The parts of the API.
pub struct App {
    /// The database to read from.
    pub database: Database,
    /// What it can change.
    pub changes: Changes,
    /// The metrics for `/metrics`.
    pub metrics: PrometheusHandle,
    /// The users; without any, and unless the settings say that keys are accepted, nobody has to authenticate.
    pub users: Option<Users>,
    /// Ends the tasks that read for the endpoints.
    pub shutdown: Shutdown,
}

/// What an API can change; nothing by default.
#[derive(Default)]
pub struct Changes {
    /// Where posted records go; none where nobody may post.
    pub intake: Option<IntakeParts>,
    /// What users with the role `admin` change; none where there are no users.
    pub actions: Option<Actions>,
}

impl App {
    /// The endpoint for all requests. To be called in a tokio runtime.
    pub fn endpoint(
        self,
        settings: &ApiSettings,
        randomness: &mut impl RngCore,
    ) -> BoxEndpoint<'static, Response> {
        let limits = Limits { time: settings.request_timeout, body_bytes: settings.max_body_bytes };
        let requests =
            Arc::new(Requests::new(randomness.next_u64(), settings.trusted_proxies.clone()));
        let rate_limit = settings.rate_limit.map(RateLimit::new);
        // Where everybody may post, no page of another origin may.
        let may_post = settings.intake.intake == IntakeMode::Users;
        let cors = cors(&settings.cors_origins, may_post);
        let limit = statement_timeout(settings.request_timeout);
        let pool = ReadPool::new(self.database.clone(), limit);
        let budget = ResponseBudget::new(settings.answer_bytes, limit);
        let encoders = budget.clone();
        let cache = (settings.cache_time, settings.cache_bytes);
        let served = Served::new(pool.clone(), budget.clone(), cache, self.shutdown.clone());
        let keys = settings.api_keys.then(|| Keys::new(pool.clone()));
        let authenticator = Authenticator::new(self.users.clone(), keys, randomness);
        let direct = (served.clone(), budget.clone(), authenticator.clone(), rate_limit.clone());
        let endpoint = self
            .routes(settings, served, pool, budget)
            .around(with_overview)
            .with(CatchPanic::new().with_handler(PanicResponse))
            .around(move |endpoint, request| with_rate_limit(endpoint, request, rate_limit.clone()))
            .around(move |endpoint, request| {
                authenticated(endpoint, request, authenticator.clone())
            })
            .around(move |endpoint, request| with_limits(endpoint, request, limits))
            .catch_all_error(async |error| problem::of_error(error, openapi::values))
            .boxed();
        let page = Arc::new(endpoint);
        let others = page.clone().with_if(cors.is_some(), cors.unwrap_or_default()).boxed();
        let router = ByPath { page, others }
            .catch_all_error(async |error| problem::of_error(error, openapi::values))
            // Outside of what sets `Vary` for origins.
            .around(move |endpoint, request| with_compression(endpoint, request, encoders.clone()))
            .around(with_head);
        let (served, budget, authenticator, rate_limit) = direct;
        Direct { served, authenticator, rate_limit, limits, budget, router }
            .around(move |endpoint, request| with_log(endpoint, request, requests.clone()))
            .boxed()
    }

    fn routes(
        self,
        settings: &ApiSettings,
        served: Served,
        pool: ReadPool,
        budget: ResponseBudget,
    ) -> Route {
        let limit = statement_timeout(settings.request_timeout);
        let Changes { intake, actions } = self.changes;
        let intake = intake.map(|parts| {
            Intake::start(&settings.intake, parts, settings.request_timeout, &self.shutdown)
        });
        let takes_records = intake.is_some();
        let intake = IntakeApi { served: served.clone(), intake };
        let records = RecordApi {
            intake: intake.clone(),
            served: served.clone(),
            pool: pool.clone(),
            budget: budget.clone(),
        };
        let origins = OriginApi { served: served.clone(), pool: pool.clone() };
        let history =
            HistoryApi { served: served.clone(), pool: pool.clone(), budget: budget.clone() };
        let queries = QueryApi::new(served.clone(), pool.clone(), budget.clone(), limit);
        let deliveries =
            DeliveryApi { served: served.clone(), pool: pool.clone(), budget: budget.clone() };
        let datasets =
            DatasetApi { served: served.clone(), pool: pool.clone(), budget: budget.clone() };
        let objects =
            ObjectApi { served: served.clone(), pool: pool.clone(), budget: budget.clone() };
        let rejects = RejectApi { pool: pool.clone(), budget: budget.clone() };
        let service = openapi::service((
            records, origins, history, queries, intake, deliveries, datasets, objects, rejects,
        ));
        let connections = settings.api_connections.into();
        let shared = (served.clone(), pool.clone(), budget.clone());
        let page = Page::start(shared, actions, connections, &self.shutdown);
        let schemes = Schemes { basic: self.users.is_some(), bearer: settings.api_keys };
        let document = Arc::new(Document::new(&service, served, schemes, takes_records));
        let readiness = Arc::new(Readiness::new(pool));
        let ready = make(move |_| {
            let readiness = readiness.clone();
            async move {
                match observe::checked(readiness.check()).await {
                    Ok(()) => "ready\n".into_response(),
                    Err(reason) => {
                        Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
                    }
                }
            }
        });
        let metrics = self.metrics;
        let exposition = move || budget.count(metrics.render().into());
        let pages = page.routes(Route::new());
        pages
            .at("/healthz", get(observe::healthz()))
            .at("/readyz", get(ready))
            .at("/metrics", get(text(EXPOSITION, exposition)))
            .at("/openapi.json", get(openapi::document(document.clone())))
            .at("/docs", get(openapi::page(document)))
            .nest("/", service)
    }
}

/// The page is for its own origin: what lets others in would refuse its forms.
struct ByPath {
    page: Arc<BoxEndpoint<'static, Response>>,
    others: BoxEndpoint<'static, Response>,
}

impl Endpoint for ByPath {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        if is_of_page(request.uri().path()) {
            self.page.call(request).await
        } else {
            self.others.call(request).await
        }
    }
}

/// Lets web pages of other origins read, and perhaps post; none unless it is set.
fn cors(origins: &[String], may_post: bool) -> Option<Cors> {
    let methods = [Some(Method::GET), Some(Method::HEAD), may_post.then_some(Method::POST)];
    let methods = methods.into_iter().flatten();
    let exposed =
        [header::ETAG, header::LAST_MODIFIED, header::LINK, header::LOCATION, header::RETRY_AFTER];
    let cors = Cors::new()
        .allow_methods(methods)
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MODIFIED_SINCE,
            header::IF_NONE_MATCH,
        ])
        .allow_headers(["idempotency-key", "prefer"])
        .expose_headers(exposed)
        .expose_header("x-request-id")
        .max_age(CORS_MAX_AGE_SECONDS);
    match origins {
        [] => None,
        all if all.iter().any(|origin| origin == ANY_ORIGIN) => {
            Some(cors.allow_origins_fn(|_| true))
        }
        // As a function: the answer says that it depends on the origin.
        some => {
            let some = some.to_vec();
            Some(cors.allow_origins_fn(move |origin| some.iter().any(|known| known == origin)))
        }
    }
}

/// How long a browser may remember what is allowed.
const CORS_MAX_AGE_SECONDS: i32 = 600;

const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

fn text(
    content_type: &'static str,
    body: impl Fn() -> Result<Bytes, database::Error> + Send + Sync + 'static,
) -> impl Endpoint + 'static {
    make_sync(move |request| {
        let caller = request.extensions().get::<Caller>();
        if caller.is_some_and(|caller| caller.datasets().is_some()) {
            return Failure::forbidden(
                "metrics are of all datasets, and this user is limited to some",
            )
            .into_response();
        }
        match body() {
            Ok(body) => body.with_content_type(content_type).into_response(),
            Err(error) => Failure::from(error).into_response(),
        }
    })
}
