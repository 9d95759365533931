//! Authenticates requests by HTTP Basic or an API key.
//!
//! Argon2 takes tens of milliseconds and megabytes. Therefore a password that was verified recently is recognised by a
//! keyed hash, few passwords are verified concurrently, and a limited number waits for that. All rejected requests get
//! the same response.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use blake2::{
    Blake2bMac,
    digest::{FixedOutput, KeyInit, Update, consts::U32},
};
use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    http::{HeaderValue, StatusCode, header},
};
use rand::RngCore;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    Caller, Keys, Users,
    failures::{Client, Failures},
};
use crate::{
    database::Error,
    http::{
        context,
        problem::{Failure, Problem, too_many},
    },
};

/// How long a verified password is cached after its last use. The users do not change while the process runs.
const CACHE_TIME: Duration = Duration::from_mins(1);
/// Maximum number of cached passwords.
const CACHE_CAPACITY: usize = 1024;
/// Maximum number of concurrent verifications: each takes 19 MiB and a core.
const MAX_VERIFICATIONS: usize = 2;
/// Maximum number of passwords that wait for their verification or are verified; more would not be verified in time.
const MAX_PENDING: usize = 256;
/// Maximum number of users and addresses with failed logins that are remembered; beyond it, the oldest are forgotten.
const MAX_FAILURES: usize = 10_000;
/// `Retry-After` in seconds when the maximum is reached.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
/// Paths of probes, which need no authentication and have no limit.
pub(crate) const PUBLIC_PATHS: [&str; 2] = ["/healthz", "/readyz"];

type Digest = [u8; 32];

/// Verifies credentials, and caches verified passwords.
pub(crate) struct Authenticator {
    users: Option<Users>,
    keys: Option<Keys>,
    key: [u8; 64],
    /// Digests of verified credentials, with the time of their last use.
    verified: Mutex<HashMap<Digest, Instant>>,
    failures: Failures,
    verifications: Arc<Semaphore>,
    /// Permits to wait for a verification.
    pending: Semaphore,
}

/// The result of the authentication of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Authentication {
    Accepted(Caller),
    Rejected,
    /// The client failed too often, and has to wait so long.
    Delayed(Duration),
    /// Too many verifications are pending, for all clients together.
    Overloaded,
    /// The keys cannot be read.
    Failed(Error),
}

/// What a request sends to authenticate.
enum Credentials {
    /// `user:password`.
    Password(Vec<u8>),
    Key(String),
}

impl Authenticator {
    /// None where nobody has to authenticate.
    pub(crate) fn new(
        users: Option<Users>,
        keys: Option<Keys>,
        randomness: &mut impl RngCore,
    ) -> Option<Arc<Self>> {
        let mut key = [0; 64];
        randomness.fill_bytes(&mut key);
        let is_needed = users.is_some() || keys.is_some();
        is_needed.then(|| {
            Arc::new(Self {
                users,
                keys,
                key,
                verified: Mutex::default(),
                failures: Failures::new(MAX_FAILURES),
                verifications: Arc::new(Semaphore::new(MAX_VERIFICATIONS)),
                pending: Semaphore::new(MAX_PENDING),
            })
        })
    }

    async fn authenticate(self: &Arc<Self>, request: &Request) -> Authentication {
        match (Credentials::of(request), &self.users, &self.keys) {
            (Some(Credentials::Password(credentials)), Some(_), _) => {
                self.with_password(credentials, network(request)).await
            }
            (Some(Credentials::Key(key)), _, Some(keys)) => {
                self.with_key(keys, &key, network(request)).await
            }
            _ => Authentication::Rejected,
        }
    }

    /// Who sends the request, where that is known without a wait. It verifies no password, reads no keys and counts no failure.
    pub(crate) fn recognize(&self, request: &Request) -> Option<Caller> {
        match Credentials::of(request)? {
            Credentials::Password(credentials) => {
                let client = self.client(&credentials, network(request));
                let is_delayed = self.failures.wait_of_user(client).is_some();
                let digest = self.digest(b"credentials", &credentials);
                (!is_delayed && self.is_cached(&digest)).then(|| self.caller(&credentials))?
            }
            Credentials::Key(key) => self.keys.as_ref()?.recognize(&key),
        }
    }

    async fn with_key(&self, keys: &Keys, key: &str, network: Option<IpAddr>) -> Authentication {
        match keys.find(key).await {
            Ok(Some(caller)) => return Authentication::Accepted(caller),
            Ok(None) => {}
            Err(error) => return Authentication::Failed(error),
        }
        let client = Client { network, name: self.digest(b"key", key.as_bytes()) };
        let wait =
            self.failures.wait_of_user(client).or_else(|| self.failures.wait_of_address(client));
        if let Some(wait) = wait {
            return Authentication::Delayed(wait);
        }
        self.failures.count(client);
        Authentication::Rejected
    }

    async fn with_password(
        self: &Arc<Self>,
        credentials: Vec<u8>,
        network: Option<IpAddr>,
    ) -> Authentication {
        let client = self.client(&credentials, network);
        // Before the cache, which would tell at once whether a password is right.
        if let Some(wait) = self.failures.wait_of_user(client) {
            return Authentication::Delayed(wait);
        }
        let digest = self.digest(b"credentials", &credentials);
        if self.is_cached(&digest) {
            return self.user(&credentials);
        }
        if let Some(wait) = self.failures.wait_of_address(client) {
            return Authentication::Delayed(wait);
        }
        let Ok(_permit) = self.pending.try_acquire() else {
            return Authentication::Overloaded;
        };
        self.verify(credentials, digest, client).await
    }

    fn digest(&self, purpose: &[u8], of: &[u8]) -> Digest {
        Blake2bMac::<U32>::new(&self.key.into())
            .chain(purpose)
            .chain([0])
            .chain(of)
            .finalize_fixed()
            .into()
    }

    fn is_cached(&self, digest: &Digest) -> bool {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(used) = verified.get_mut(digest) else {
            return false;
        };
        if used.elapsed() >= CACHE_TIME {
            return false;
        }
        *used = Instant::now();
        true
    }

    fn cache(&self, digest: Digest) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= CACHE_CAPACITY {
            verified.retain(|_, used| used.elapsed() < CACHE_TIME);
        }
        if verified.len() < CACHE_CAPACITY {
            verified.insert(digest, Instant::now());
        }
    }

    async fn verify(
        self: &Arc<Self>,
        credentials: Vec<u8>,
        digest: Digest,
        client: Client,
    ) -> Authentication {
        let Ok(permit) = self.verifications.clone().acquire_owned().await else {
            return Authentication::Rejected;
        };
        // A client may open many connections at once; the first of them may have been verified meanwhile.
        if let Some(wait) = self.failures.wait_of_user(client) {
            return Authentication::Delayed(wait);
        }
        if self.is_cached(&digest) {
            return self.user(&credentials);
        }
        let authenticator = self.clone();
        let verified = tokio::task::spawn_blocking(move || {
            // Held until the verification ends, even if the caller was cancelled.
            let _permit = permit;
            let right = authenticator.is_right(&credentials);
            if right {
                authenticator.cache(digest);
                authenticator.failures.forget(client);
            } else {
                authenticator.failures.count(client);
            }
            right.then(|| authenticator.user(&credentials))
        });
        verified.await.ok().flatten().unwrap_or(Authentication::Rejected)
    }

    /// Accepts the user whose credentials are known to be right.
    fn user(&self, credentials: &[u8]) -> Authentication {
        self.caller(credentials).map_or(Authentication::Rejected, Authentication::Accepted)
    }

    fn caller(&self, credentials: &[u8]) -> Option<Caller> {
        let name = std::str::from_utf8(user_name(credentials)).ok()?;
        let rights = self.users.as_ref()?.rights(name)?.clone();
        Some(Caller { name: Some(name.to_owned()), rights })
    }

    fn client(&self, credentials: &[u8], network: Option<IpAddr>) -> Client {
        Client { network, name: self.digest(b"name", user_name(credentials)) }
    }

    fn is_right(&self, credentials: &[u8]) -> bool {
        let Some(colon) = credentials.iter().position(|byte| *byte == b':') else {
            return false;
        };
        let Ok(name) = std::str::from_utf8(&credentials[..colon]) else {
            return false;
        };
        let digest = self.digest(b"name", name.as_bytes());
        let decoy = digest.first_chunk().copied().map_or(0, u64::from_le_bytes);
        let password = &credentials[colon + 1..];
        self.users.as_ref().is_some_and(|users| users.verify(name, password, decoy))
    }
}

impl Credentials {
    fn of(request: &Request) -> Option<Self> {
        let (scheme, token) = request.header(header::AUTHORIZATION)?.split_once(' ')?;
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => BASE64_STANDARD.decode(token.trim()).ok().map(Self::Password),
            "bearer" => Some(Self::Key(token.trim().to_owned())),
            _ => None,
        }
    }
}

/// The user of `user:password`.
fn user_name(credentials: &[u8]) -> &[u8] {
    credentials.split(|byte| *byte == b':').next().unwrap_or_default()
}

/// The address of the client. Of an IPv6 address, the part that a client cannot choose.
pub(crate) fn network(request: &Request) -> Option<IpAddr> {
    Some(match context::client(request)? {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    })
}

/// Handles a request if it is authenticated.
pub(crate) async fn authenticated<E: Endpoint<Output = Response>>(
    endpoint: Arc<E>,
    mut request: Request,
    authenticator: Option<Arc<Authenticator>>,
) -> Result<Response> {
    let is_public = PUBLIC_PATHS.contains(&request.uri().path());
    let Some(authenticator) = authenticator.filter(|_| !is_public) else {
        request.extensions_mut().insert(Caller::anonymous());
        return endpoint.call(request).await;
    };
    match authenticator.authenticate(&request).await {
        Authentication::Accepted(caller) => {
            if let Some(name) = &caller.name {
                context::set_user(name);
            }
            request.extensions_mut().insert(caller);
            endpoint.call(request).await
        }
        Authentication::Rejected => Ok(authenticator.unauthorized()),
        Authentication::Failed(error) => Ok(Failure::from(error).into_response()),
        Authentication::Delayed(wait) => {
            let seconds = wait.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX);
            Ok(too_many("too many logins failed", seconds).into_response())
        }
        Authentication::Overloaded => Ok(overloaded()),
    }
}

impl Authenticator {
    /// The same response for all causes, so that it does not reveal the names of users.
    fn unauthorized(&self) -> Response {
        let basic = ("a user and a password", "Basic realm=\"jetline\", charset=\"UTF-8\"");
        let bearer = ("an API key", "Bearer realm=\"jetline\"");
        let ways = [(self.users.is_some(), basic), (self.keys.is_some(), bearer)];
        let ways = ways.into_iter().filter(|(is_accepted, _)| *is_accepted).map(|(_, way)| way);
        let (needs, challenges): (Vec<&str>, Vec<&str>) = ways.unzip();
        let detail = format!("this needs {}", needs.join(", or "));
        let mut response = Problem::new(StatusCode::UNAUTHORIZED, detail).into_response();
        for challenge in challenges {
            let challenge = HeaderValue::from_static(challenge);
            response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

fn overloaded() -> Response {
    let detail = "too many passwords are being verified";
    let mut response = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    response
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::auth::{Rights, hash_password};

    fn authenticator() -> Arc<Authenticator> {
        let line = hash_password("ann", "one", &Rights::default(), &mut rand::rng()).unwrap();
        let users = Users::parse(&line).unwrap();
        Authenticator::new(Some(users), None, &mut rand::rng()).unwrap()
    }

    fn accepted() -> Authentication {
        Authentication::Accepted(Caller { name: Some("ann".to_owned()), rights: Rights::default() })
    }

    fn request(credentials: &str) -> Request {
        let token = BASE64_STANDARD.encode(credentials);
        Request::builder().header("authorization", format!("Basic {token}")).finish()
    }

    #[tokio::test(start_paused = true)]
    async fn right_password_is_cached_while_it_is_used_and_a_wrong_one_never() {
        let authenticator = authenticator();
        let wrong = authenticator.authenticate(&request("ann:two")).await;
        assert_eq!(wrong, Authentication::Rejected);
        assert!(authenticator.verified.lock().unwrap().is_empty());

        let right = authenticator.authenticate(&request("ann:one")).await;
        assert_eq!(right, accepted());
        let digest = authenticator.digest(b"credentials", b"ann:one");
        assert!(!authenticator.is_cached(&authenticator.digest(b"credentials", b"ann:two")));
        for _ in 0..3 {
            tokio::time::advance(CACHE_TIME / 2).await;
            assert!(authenticator.is_cached(&digest));
        }
        tokio::time::advance(CACHE_TIME).await;
        assert!(!authenticator.is_cached(&digest));
    }

    #[tokio::test]
    async fn requests_without_basic_authentication_are_rejected() {
        let authenticator = authenticator();
        for header in ["", "Basic", "Basic %%%", "Bearer ann:one", "Basic YW5u"] {
            let request = Request::builder().header("authorization", header).finish();
            let result = authenticator.authenticate(&request).await;
            assert_eq!(result, Authentication::Rejected, "{header}");
        }
        assert_eq!(authenticator.authenticate(&Request::default()).await, Authentication::Rejected);
    }

    #[tokio::test]
    async fn pending_verifications_are_limited_and_cached_passwords_need_none() {
        let authenticator = authenticator();
        assert_eq!(authenticator.authenticate(&request("ann:one")).await, accepted());
        let verifications = authenticator.verifications.acquire_many(2).await.unwrap();
        let mut waiting: Vec<_> = (0..MAX_PENDING)
            .map(|number| {
                let (authenticator, request) =
                    (authenticator.clone(), request(&format!("eve:{number}")));
                Box::pin(async move { authenticator.authenticate(&request).await })
            })
            .collect();
        for result in &mut waiting {
            assert!(futures::poll!(result).is_pending());
        }
        for credentials in ["eve:more", "ann:two"] {
            let request = request(credentials);
            let result = authenticator.authenticate(&request).now_or_never();
            assert_eq!(result, Some(Authentication::Overloaded));
        }
        let known = request("ann:one");
        let result = authenticator.authenticate(&known).now_or_never();
        assert_eq!(result, Some(accepted()));
        // Cancelled requests release their permits.
        waiting.clear();
        drop(verifications);
        assert_eq!(
            authenticator.authenticate(&request("eve:more")).await,
            Authentication::Rejected
        );
    }

    #[tokio::test]
    async fn password_that_was_verified_while_waiting_is_not_verified_again() {
        let authenticator = authenticator();
        let verifications = authenticator.verifications.clone().acquire_many_owned(2).await;
        let request = request("ann:two");
        let mut waiting = Box::pin(authenticator.authenticate(&request));
        assert!(futures::poll!(&mut waiting).is_pending());
        // As if another connection had verified it; a verification would fail.
        authenticator.cache(authenticator.digest(b"credentials", b"ann:two"));
        drop(verifications);
        assert_eq!(waiting.await, accepted());
    }
}
