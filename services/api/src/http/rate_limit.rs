//! A limit of requests per second for each user, or each address without users.

use std::{num::NonZeroU32, sync::Arc};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use poem::{Endpoint, IntoResponse, Request, Response, Result};

use crate::{
    auth::{Caller, PUBLIC_PATHS, network},
    http::problem::too_many,
};

/// When more clients are known, those are forgotten that sent nothing for a while.
const MANY_CLIENTS: usize = 10_000;

/// Limits the requests of clients.
pub(crate) struct RateLimit {
    limiter: DefaultKeyedRateLimiter<String>,
}

impl RateLimit {
    pub(crate) fn new(per_second: NonZeroU32) -> Arc<Self> {
        Arc::new(Self { limiter: RateLimiter::keyed(Quota::per_second(per_second)) })
    }

    /// Counts a request; the response where its client has sent too many.
    pub(crate) fn refuse(&self, request: &Request, user: Option<&str>) -> Option<Response> {
        let client = match user {
            Some(name) => format!("user {name}"),
            None => network(request).map_or_else(String::new, |network| network.to_string()),
        };
        let seconds = self.check(&client).err()?;
        Some(too_many("too many requests", seconds).into_response())
    }

    /// Counts a request, or returns after how many seconds it would be accepted.
    fn check(&self, client: &String) -> std::result::Result<(), u64> {
        if self.limiter.len() > MANY_CLIENTS {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.check_key(client).map_err(|until| {
            let wait = until.wait_time_from(self.limiter.clock().now());
            wait.as_millis().div_ceil(1_000).max(1).try_into().unwrap_or(u64::MAX)
        })
    }
}

/// Handles a request if its client has not sent too many.
pub(crate) async fn with_rate_limit<E: Endpoint<Output = Response>>(
    endpoint: Arc<E>,
    request: Request,
    limit: Option<Arc<RateLimit>>,
) -> Result<Response> {
    let Some(limit) = limit.filter(|_| !PUBLIC_PATHS.contains(&request.uri().path())) else {
        return endpoint.call(request).await;
    };
    let user = request.extensions().get::<Caller>().and_then(|caller| caller.name.as_deref());
    match limit.refuse(&request, user) {
        Some(refused) => Ok(refused),
        None => endpoint.call(request).await,
    }
}
