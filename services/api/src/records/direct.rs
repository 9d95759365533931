//! Answers a GET of one record without the router and the middleware, which take longer than looking it up.
//!
//! Only the usual request is answered here: whoever sends it is known, nothing in it asks for anything special, and its dataset is
//! one that was read before. All others go through the router, and would be answered the same there.

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
        let mut response = answer.unwrap_or_else(|panic| PanicResponse.get_response(panic));
        response.set_data(PathPattern(ROUTE.into()));
        Ok(response)
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
        let (dataset, id) = request.uri().path().strip_prefix('/')?.split_once('/')?;
        let is_plain = !id.is_empty() && !id.contains(['/', '%']);
        let has = |name| request.headers().contains_key(name);
        if request.method() != Method::GET
            || !is_plain
            || request.uri().query().is_some()
            || SPECIAL.iter().any(has)
        {
            return None;
        }
        let loader = self.served.known(dataset)?;
        let caller = match &self.authenticator {
            None => Caller::anonymous(),
            Some(authenticator) => authenticator.recognize(request)?,
        };
        caller.may_read(dataset).then_some(Asked { caller, loader, id })
    }

    async fn answer(&self, request: &Request, asked: &Asked<'_>) -> Response {
        if let Some(name) = &asked.caller.name {
            context::set_user(name);
        }
        let limit = self.rate_limit.as_ref();
        if let Some(refused) = limit.and_then(|limit| limit.refuse(request, &asked.caller)) {
            return refused;
        }
        let found = async {
            match find(&self.served, &asked.loader, asked.id, None, None).await {
                Ok(found) => found.into_response(),
                Err(failure) => failure.into_response(),
            }
        };
        let response = within(self.limits, found).await.unwrap_or_else(identity);
        compress(response, Encoding::accepted(request.headers()), &self.budget)
    }
}
