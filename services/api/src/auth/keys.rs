//! API keys: random texts that programs send as bearer tokens. The database has their hashes.

use std::{collections::HashMap, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use blake2::{Blake2b, Digest, digest::consts::U32};
use chrono::{DateTime, Utc};
use jetline_store::ApiKey;
use rand::RngCore;

use super::caller::{Caller, Rights};
use crate::{
    database::{Error, ReadPool},
    refreshed::Refreshed,
};

/// What every key begins with, so that one that was published by mistake is found.
const PREFIX: &str = "jetline_";

/// Random bytes of a key. As many cannot be guessed, so that a fast hash is enough.
const RANDOM_BYTES: usize = 32;

/// Keys are read again by the first request after this time; while it reads them, others may use keys of twice this age. So one that is
/// revoked is accepted for less than 5 seconds.
const MAX_AGE: Duration = Duration::from_secs(2);

/// They are read for an unknown key if they are older than this.
const MAX_AGE_FOR_UNKNOWN: Duration = Duration::from_secs(1);

type Hash = [u8; 32];

/// The keys of the database.
pub(crate) struct Keys {
    pool: ReadPool,
    known: Refreshed<HashMap<Hash, Caller>>,
}

impl Keys {
    pub(crate) fn new(pool: ReadPool) -> Self {
        Self { pool, known: Refreshed::default() }
    }

    /// Whose key this is, if anybody's.
    pub(crate) async fn find(&self, key: &str) -> Result<Option<Caller>, Error> {
        let hash = hash(key);
        for age in [MAX_AGE, MAX_AGE_FOR_UNKNOWN] {
            let known = self.known.newer_than(age, |_| self.read()).await?;
            if let Some(caller) = known.get(&hash) {
                return Ok(Some(caller.clone()));
            }
        }
        Ok(None)
    }

    /// Whose key this is, where the keys were read lately.
    pub(crate) fn recognize(&self, key: &str) -> Option<Caller> {
        self.known.recent(MAX_AGE)?.get(&hash(key)).cloned()
    }

    async fn read(&self) -> Result<HashMap<Hash, Caller>, Error> {
        let keys = self.pool.run(self.pool.database().api_keys()).await?;
        Ok(keys.into_iter().filter_map(usable).collect())
    }
}

/// A key whose row was changed so that nobody knows what it allows is not accepted.
fn usable(key: ApiKey) -> Option<(Hash, Caller)> {
    let datasets = key.datasets.map(|names| names.join(","));
    let rights = Rights::parse(Some(&key.role), datasets.as_deref());
    let rights = rights
        .inspect_err(|error| tracing::warn!(key = key.name, %error, "api key cannot be used"))
        .ok()?;
    Some((key.hash.try_into().ok()?, Caller { name: Some(key.name), rights }))
}

/// Creates a key; returns its text, which is stored nowhere.
pub(crate) fn create(
    name: &str,
    rights: &Rights,
    now: DateTime<Utc>,
    randomness: &mut impl RngCore,
) -> (String, ApiKey) {
    let mut secret = [0; RANDOM_BYTES];
    randomness.fill_bytes(&mut secret);
    let text = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
    let key = ApiKey {
        name: name.to_owned(),
        hash: hash(&text).to_vec(),
        role: rights.role.name().to_owned(),
        datasets: rights.datasets.as_ref().map(|names| names.iter().cloned().collect()),
        created_at: now,
    };
    (text, key)
}

fn hash(key: &str) -> Hash {
    Blake2b::<U32>::digest(key).into()
}
