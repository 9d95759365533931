//! Lets users in, and nobody else.
//!
//! Argon2 takes tens of milliseconds and megabytes, so a password that was right a moment ago is recognised by a keyed
//! hash, few passwords are verified at once, and few wait for that. Whoever is not let in gets one and the same answer.

use std::{
    collections::HashMap,
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

use super::Users;
use crate::problem::Problem;

/// How long a right password is remembered after its last use. The users do not change while the process runs.
const MEMORY: Duration = Duration::from_mins(1);
/// How many of them.
const REMEMBERED: usize = 1024;
/// Passwords that are verified at once: each takes 19 MiB and a core.
const VERIFICATIONS: usize = 2;
/// Passwords that wait to be verified; with more of them, nobody would be answered in time.
const WAITING: usize = 256;
/// After how many seconds to ask again when so many wait.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
/// What anybody may ask: whether the service is alive and ready.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

type Digest = [u8; 32];

/// Decides who may pass.
pub(crate) struct Gate {
    users: Users,
    key: [u8; 64],
    remembered: Mutex<HashMap<Digest, Instant>>,
    verifications: Arc<Semaphore>,
    /// Places of those that wait or are verified.
    waiting: Semaphore,
}

/// What becomes of a request at the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Admitted,
    Refused,
    /// Too many wait already. That does not depend on who asks.
    Crowded,
}

impl Gate {
    pub(crate) fn new(users: Users, randomness: &mut impl RngCore) -> Arc<Self> {
        let mut key = [0; 64];
        randomness.fill_bytes(&mut key);
        Arc::new(Self {
            users,
            key,
            remembered: Mutex::default(),
            verifications: Arc::new(Semaphore::new(VERIFICATIONS)),
            waiting: Semaphore::new(WAITING),
        })
    }

    async fn verdict(self: &Arc<Self>, request: &Request) -> Verdict {
        let Some(credentials) = credentials(request) else {
            return Verdict::Refused;
        };
        let digest = self.digest(b"credentials", &credentials);
        if self.remembers(&digest) {
            return Verdict::Admitted;
        }
        let Ok(_place) = self.waiting.try_acquire() else {
            return Verdict::Crowded;
        };
        if self.verify(credentials, digest).await {
            Verdict::Admitted
        } else {
            Verdict::Refused
        }
    }

    fn digest(&self, purpose: &[u8], of: &[u8]) -> Digest {
        Blake2bMac::<U32>::new(&self.key.into())
            .chain(purpose)
            .chain([0])
            .chain(of)
            .finalize_fixed()
            .into()
    }

    fn remembers(&self, digest: &Digest) -> bool {
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(used) = remembered.get_mut(digest) else {
            return false;
        };
        if used.elapsed() >= MEMORY {
            return false;
        }
        *used = Instant::now();
        true
    }

    fn remember(&self, digest: Digest) {
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.retain(|_, used| used.elapsed() < MEMORY);
        }
        if remembered.len() < REMEMBERED {
            remembered.insert(digest, Instant::now());
        }
    }

    async fn verify(self: &Arc<Self>, credentials: Vec<u8>, digest: Digest) -> bool {
        let Ok(turn) = self.verifications.clone().acquire_owned().await else {
            return false;
        };
        // Whoever opens many connections at once has waited for the first of them.
        if self.remembers(&digest) {
            return true;
        }
        let gate = self.clone();
        let verified = tokio::task::spawn_blocking(move || {
            // Held until it is done, also when the caller has gone.
            let _turn = turn;
            let right = gate.is_right(&credentials);
            if right {
                gate.remember(digest);
            }
            right
        });
        verified.await.unwrap_or(false)
    }

    fn is_right(&self, credentials: &[u8]) -> bool {
        let Some(colon) = credentials.iter().position(|byte| *byte == b':') else {
            return false;
        };
        let Ok(name) = std::str::from_utf8(&credentials[..colon]) else {
            return false;
        };
        let digest = self.digest(b"name", name.as_bytes());
        let lot = digest.first_chunk().copied().map_or(0, u64::from_le_bytes);
        self.users.verify(name, &credentials[colon + 1..], lot)
    }
}

/// `user:password`, as the request brings it.
fn credentials(request: &Request) -> Option<Vec<u8>> {
    let (scheme, token) = request.header(header::AUTHORIZATION)?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    BASE64_STANDARD.decode(token.trim()).ok()
}

/// Answers a request whose sender may pass.
pub(crate) async fn guarded<E: Endpoint<Output = Response>>(
    endpoint: Arc<E>,
    request: Request,
    gate: Option<Arc<Gate>>,
) -> Result<Response> {
    let Some(gate) = gate else {
        return endpoint.call(request).await;
    };
    if OPEN.contains(&request.uri().path()) {
        return endpoint.call(request).await;
    }
    match gate.verdict(&request).await {
        Verdict::Admitted => endpoint.call(request).await,
        Verdict::Refused => Ok(refusal()),
        Verdict::Crowded => Ok(crowded()),
    }
}

/// The same whatever was wrong, so that nobody learns who is a user.
fn refusal() -> Response {
    let detail = "this needs a user and a password";
    let mut response = Problem::new(StatusCode::UNAUTHORIZED, detail).into_response();
    let challenge = HeaderValue::from_static("Basic realm=\"jetline\", charset=\"UTF-8\"");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn crowded() -> Response {
    let detail = "too many passwords are being verified";
    let mut response = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response();
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, RETRY_AFTER);
    response
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::auth::hash_password;

    fn gate() -> Arc<Gate> {
        let line = hash_password("ann", "one", &mut rand::rng()).unwrap();
        Gate::new(Users::parse(&line).unwrap(), &mut rand::rng())
    }

    fn request(credentials: &str) -> Request {
        let token = BASE64_STANDARD.encode(credentials);
        Request::builder()
            .header("authorization", format!("Basic {token}"))
            .finish()
    }

    #[tokio::test(start_paused = true)]
    async fn right_password_is_remembered_while_it_is_used_and_a_wrong_one_never() {
        let gate = gate();
        let wrong = gate.verdict(&request("ann:two")).await;
        assert_eq!(wrong, Verdict::Refused);
        assert!(gate.remembered.lock().unwrap().is_empty());

        let right = gate.verdict(&request("ann:one")).await;
        assert_eq!(right, Verdict::Admitted);
        let digest = gate.digest(b"credentials", b"ann:one");
        assert!(!gate.remembers(&gate.digest(b"credentials", b"ann:two")));
        for _ in 0..3 {
            tokio::time::advance(MEMORY / 2).await;
            assert!(gate.remembers(&digest));
        }
        tokio::time::advance(MEMORY).await;
        assert!(!gate.remembers(&digest));
    }

    #[tokio::test]
    async fn what_is_not_basic_authentication_is_not_admitted() {
        let gate = gate();
        for header in ["", "Basic", "Basic %%%", "Bearer ann:one", "Basic YW5u"] {
            let request = Request::builder().header("authorization", header).finish();
            let verdict = gate.verdict(&request).await;
            assert_eq!(verdict, Verdict::Refused, "{header}");
        }
        assert_eq!(gate.verdict(&Request::default()).await, Verdict::Refused);
    }

    #[tokio::test]
    async fn few_passwords_wait_and_whoever_is_known_need_not() {
        let gate = gate();
        assert_eq!(gate.verdict(&request("ann:one")).await, Verdict::Admitted);
        let verifications = gate.verifications.acquire_many(2).await.unwrap();
        let mut waiting: Vec<_> = (0..WAITING)
            .map(|number| {
                let (gate, request) = (gate.clone(), request(&format!("eve:{number}")));
                Box::pin(async move { gate.verdict(&request).await })
            })
            .collect();
        for verdict in &mut waiting {
            assert!(futures::poll!(verdict).is_pending());
        }
        for credentials in ["eve:more", "ann:two"] {
            let request = request(credentials);
            let verdict = gate.verdict(&request).now_or_never();
            assert_eq!(verdict, Some(Verdict::Crowded));
        }
        let known = request("ann:one");
        let verdict = gate.verdict(&known).now_or_never();
        assert_eq!(verdict, Some(Verdict::Admitted));
        // Whoever does not wait any more leaves the place to others.
        waiting.clear();
        drop(verifications);
        assert_eq!(gate.verdict(&request("eve:more")).await, Verdict::Refused);
    }

    #[tokio::test]
    async fn connections_that_waited_for_the_same_password_do_not_verify_it_again() {
        let gate = gate();
        let verifications = gate.verifications.clone().acquire_many_owned(2).await;
        let request = request("ann:two");
        let mut waiting = Box::pin(gate.verdict(&request));
        assert!(futures::poll!(&mut waiting).is_pending());
        // As if it had been right in another connection: verified, it would be wrong.
        gate.remember(gate.digest(b"credentials", b"ann:two"));
        drop(verifications);
        assert_eq!(waiting.await, Verdict::Admitted);
    }
}
