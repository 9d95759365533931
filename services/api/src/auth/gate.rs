//! Lets users in, and nobody else.
//!
//! A password that was right a moment ago is recognised by a keyed hash, because Argon2 takes tens of milliseconds.

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

/// How long a right password is remembered.
const MEMORY: Duration = Duration::from_mins(1);
/// How many of them.
const REMEMBERED: usize = 1024;
/// Passwords that are verified at once: each takes 19 MiB and a core.
const VERIFICATIONS: usize = 2;
/// What anybody may ask: whether the service is alive and ready.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

type Digest = [u8; 32];

/// Decides who may pass.
pub(crate) struct Gate {
    users: Users,
    key: Digest,
    remembered: Mutex<HashMap<Digest, Instant>>,
    verifications: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn new(users: Users, randomness: &mut impl RngCore) -> Arc<Self> {
        let mut key = [0; 32];
        randomness.fill_bytes(&mut key);
        Arc::new(Self {
            users,
            key,
            remembered: Mutex::default(),
            verifications: Arc::new(Semaphore::new(VERIFICATIONS)),
        })
    }

    async fn admits(self: &Arc<Self>, request: &Request) -> bool {
        let Some(credentials) = credentials(request) else {
            return false;
        };
        let Some(digest) = self.digest(&credentials) else {
            return false;
        };
        if self.remembers(&digest) {
            return true;
        }
        let right = self.verify(credentials).await;
        if right {
            self.remember(digest);
        }
        right
    }

    fn digest(&self, credentials: &[u8]) -> Option<Digest> {
        let mut mac = Blake2bMac::<U32>::new_from_slice(&self.key).ok()?;
        mac.update(credentials);
        Some(mac.finalize_fixed().into())
    }

    fn remembers(&self, digest: &Digest) -> bool {
        let remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        remembered
            .get(digest)
            .is_some_and(|since| since.elapsed() < MEMORY)
    }

    fn remember(&self, digest: Digest) {
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.retain(|_, since| since.elapsed() < MEMORY);
        }
        if remembered.len() < REMEMBERED {
            remembered.insert(digest, Instant::now());
        }
    }

    async fn verify(self: &Arc<Self>, credentials: Vec<u8>) -> bool {
        let Ok(turn) = self.verifications.clone().acquire_owned().await else {
            return false;
        };
        let gate = self.clone();
        let verified = tokio::task::spawn_blocking(move || {
            // Held until it is done, also when the caller has gone.
            let _turn = turn;
            let colon = credentials.iter().position(|byte| *byte == b':')?;
            let name = std::str::from_utf8(&credentials[..colon]).ok()?;
            Some(gate.users.verify(name, &credentials[colon + 1..]))
        });
        matches!(verified.await, Ok(Some(true)))
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
    if OPEN.contains(&request.uri().path()) || gate.admits(&request).await {
        return endpoint.call(request).await;
    }
    let detail = "this needs a user and a password";
    let mut response = Problem::new(StatusCode::UNAUTHORIZED, detail).into_response();
    let challenge = HeaderValue::from_static("Basic realm=\"jetline\", charset=\"UTF-8\"");
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    Ok(response)
}

#[cfg(test)]
mod tests {
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
    async fn right_password_is_remembered_for_a_while_and_a_wrong_one_never() {
        let gate = gate();
        assert!(!gate.admits(&request("ann:two")).await);
        assert!(gate.remembered.lock().unwrap().is_empty());

        assert!(gate.admits(&request("ann:one")).await);
        let digest = gate.digest(b"ann:one").unwrap();
        assert!(gate.remembers(&digest));
        assert!(!gate.remembers(&gate.digest(b"ann:two").unwrap()));

        tokio::time::advance(MEMORY).await;
        assert!(!gate.remembers(&digest));
    }

    #[tokio::test]
    async fn what_is_not_basic_authentication_is_not_admitted() {
        let gate = gate();
        for header in ["", "Basic", "Basic %%%", "Bearer ann:one", "Basic YW5u"] {
            let request = Request::builder().header("authorization", header).finish();
            assert!(!gate.admits(&request).await, "{header}");
        }
        assert!(!gate.admits(&Request::default()).await);
    }
}
