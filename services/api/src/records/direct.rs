//! Answers a GET of one record without the router and the middleware, which take longer than looking it up.
//!
//! A request is answered here if it has a plain path and none of the [headers](SPECIAL) that change the answer, its caller is
//! known without a wait, and the declaration of its dataset was read lately. Every other one goes through the router, which would
//! answer the same.

use std::{convert::identity, panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use poem::{
    Endpoint, IntoResponse, PathPattern, Request, Response, Result,
    http::{HeaderName, Method, header},
    middleware::PanicHandler,
};

use super::{endpoints::find, loader::RecordLoader, served::Served};
use crate::{
    auth::{Authenticator, Caller},
    http::{
        compression::{Encoding, compress},
        context,
        limits::{Limits, PanicResponse, within},
        rate_limit::RateLimit,
        response_budget::ResponseBudget,
    },
};

/// As the router numbers the parameters.
const ROUTE: &str = "/:param0/:param1";

/// With one of these, a request goes through the router.
const SPECIAL: [HeaderName; 5] = [
    header::CONTENT_LENGTH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::ORIGIN,
    header::TRANSFER_ENCODING,
];

/// In front of the router.
pub(crate) struct Direct<E> {
    pub(crate) served: Served,
    pub(crate) authenticator: Option<Arc<Authenticator>>,
    pub(crate) rate_limit: Option<Arc<RateLimit>>,
    pub(crate) limits: Limits,
    pub(crate) budget: ResponseBudget,
    pub(crate) router: E,
}

impl<E: Endpoint<Output = Response>> Endpoint for Direct<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let Some(record) = self.asked(&request) else {
            return self.router.call(request).await;
        };
        let answer = AssertUnwindSafe(self.answer(&request, &record)).catch_unwind().await;
        Ok(answer.unwrap_or_else(|panic| PanicResponse.get_response(panic)))
    }
}

/// A record that is asked for, by somebody who may read its dataset.
struct Asked<'a> {
    caller: Caller,
    loader: Arc<RecordLoader>,
    id: &'a str,
}

impl<E> Direct<E> {
    fn asked<'a>(&self, request: &'a Request) -> Option<Asked<'a>> {
        let (dataset, id) = plain(request)?;
        // Before the dataset, so that the time of a refusal does not tell which ones exist.
        let caller = match &self.authenticator {
            None => Caller::anonymous(),
            Some(authenticator) => authenticator.recognize(request)?,
        };
        if !caller.may_read(dataset) {
            return None;
        }
        Some(Asked { loader: self.served.known(dataset)?, caller, id })
    }

    async fn answer(&self, request: &Request, asked: &Asked<'_>) -> Response {
        if let Some(name) = &asked.caller.name {
            context::set_user(name);
        }
        let limit = self.rate_limit.as_ref();
        if let Some(refused) =
            limit.and_then(|limit| limit.refuse(request, asked.caller.name.as_deref()))
        {
            return refused;
        }
        let found = async {
            let mut response = match find(&self.served, &asked.loader, asked.id, None, None).await {
                Ok(found) => found.into_response(),
                Err(failure) => failure.into_response(),
            };
            response.set_data(PathPattern(ROUTE.into()));
            response
        };
        let response = within(self.limits, found).await.unwrap_or_else(identity);
        compress(response, Encoding::accepted(request.headers()), &self.budget)
    }
}

/// The dataset and the id of a GET whose path is plain, without anything else that changes the answer.
fn plain(request: &Request) -> Option<(&str, &str)> {
    let (dataset, id) = request.uri().path().strip_prefix('/')?.split_once('/')?;
    let is_path_plain = !dataset.is_empty() && !id.is_empty() && !id.contains(['/', '%']);
    let is_special = SPECIAL.iter().any(|name| request.headers().contains_key(name));
    let is_plain = request.method() == Method::GET
        && is_path_plain
        && request.uri().query().is_none()
        && !is_special;
    is_plain.then_some((dataset, id))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jetline_datasets::PRODUCTS;
    use jetline_runtime::Shutdown;
    use jetline_store::{Database, DeclarationFile};
    use poem::{endpoint::make_sync, http::StatusCode};
    use sea_orm_migration::MigratorTrait;

    use super::*;
    use crate::database::ReadPool;

    /// What the router of the test answers.
    const ROUTED: StatusCode = StatusCode::IM_A_TEAPOT;

    #[tokio::test]
    async fn record_is_answered_without_the_router_once_its_declaration_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", directory.path().join("test.db").display());
        let db = sea_orm::Database::connect(url).await.unwrap();
        jetline_migrations::Migrator::up(&db, None).await.unwrap();
        let database = Database::from(db);
        let products = DeclarationFile::new("products", "products.toml", PRODUCTS).unwrap();
        database.declare(&[products]).await.unwrap();
        let minute = Duration::from_mins(1);
        let budget = ResponseBudget::new(1_000_000, minute);
        let pool = ReadPool::new(database, minute);
        let served = Served::new(pool, budget.clone(), (minute, 1_000), Shutdown::new());
        let direct = Direct {
            served: served.clone(),
            authenticator: None,
            rate_limit: None,
            limits: Limits { time: minute, body_bytes: 0 },
            budget,
            router: make_sync(|_| ROUTED.into_response()),
        };
        let get = async |id: &str| {
            let request = Request::builder().uri_str(format!("/products/{id}")).finish();
            direct.call(request).await.unwrap().status()
        };
        assert_eq!(get("1").await, ROUTED);
        served.loader("products", &Caller::anonymous()).await.unwrap().unwrap();
        assert_eq!(get("%31").await, ROUTED);
        assert_eq!(get("1").await, StatusCode::NOT_FOUND);
    }

    #[test]
    fn only_plain_requests_are_answered_without_the_router() {
        let get = |uri: &'static str| Request::builder().uri_str(uri);
        assert_eq!(plain(&get("/orders/a.b-1").finish()), Some(("orders", "a.b-1")));
        let known = get("/orders/a").header("accept-encoding", "gzip").header("authorization", "x");
        assert_eq!(plain(&known.finish()), Some(("orders", "a")));
        for uri in ["/", "/orders", "/orders/", "//a", "/orders/%61", "/orders/a?b", "/orders/a/b"]
        {
            assert_eq!(plain(&get(uri).finish()), None, "{uri}");
        }
        assert_eq!(plain(&get("/orders/a").method(Method::HEAD).finish()), None);
        for name in SPECIAL {
            assert_eq!(plain(&get("/orders/a").header(&name, "1").finish()), None, "{name}");
        }
    }
}
