//! Failed logins: who fails too often has to wait before the next password is verified.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Failures of one user at one address that cost no time.
const FREE_OF_USER: u32 = 5;

/// Failures of all users at one address that cost no time: many users may be behind one proxy.
const FREE_OF_ADDRESS: u32 = 50;

/// The first wait. It doubles with each failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// Failures are forgotten after this time without another one.
const FORGET_AFTER: Duration = Duration::from_mins(15);

/// A hash of the name of a user.
type Name = [u8; 32];

/// Somebody who logs in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    /// Its address, or network.
    pub(super) network: Option<IpAddr>,
    pub(super) name: Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Address(Option<IpAddr>),
    User(Option<IpAddr>, Name),
}

struct Failed {
    times: u32,
    last: Instant,
}

/// The failures by user and address.
pub(super) struct Failures {
    failed: Mutex<HashMap<Key, Failed>>,
    capacity: usize,
}

impl Client {
    fn user(self) -> Key {
        Key::User(self.network, self.name)
    }

    fn address(self) -> Key {
        Key::Address(self.network)
    }
}

impl Failed {
    /// How long is to be waited after more than `free` failures.
    fn wait(&self, free: u32) -> Option<Duration> {
        let doublings = self.times.checked_sub(free)?;
        let wait = FIRST_WAIT.saturating_mul(1 << doublings.min(16)).min(MAX_WAIT);
        wait.checked_sub(self.last.elapsed()).filter(|wait| !wait.is_zero())
    }
}

impl Failures {
    /// With memory for so many users and addresses.
    pub(super) fn new(capacity: usize) -> Self {
        Self { failed: Mutex::default(), capacity }
    }

    /// How long this user has to wait at this address, if at all.
    pub(super) fn wait_of_user(&self, client: Client) -> Option<Duration> {
        self.failed().get(&client.user())?.wait(FREE_OF_USER)
    }

    /// How long everybody at this address has to wait whose password is not known, if at all.
    pub(super) fn wait_of_address(&self, client: Client) -> Option<Duration> {
        self.failed().get(&client.address())?.wait(FREE_OF_ADDRESS)
    }

    /// Counts a failure. Those of one user count only a few times for the address: a program with an old password must
    /// not keep others out.
    pub(super) fn count(&self, client: Client) {
        let mut failed = self.failed();
        self.make_room(&mut failed);
        let of_user = add(&mut failed, client.user());
        if of_user <= FREE_OF_USER {
            add(&mut failed, client.address());
        }
    }

    /// A user who knows the password begins again. Others at the address do not.
    pub(super) fn forget(&self, client: Client) {
        self.failed().remove(&client.user());
    }

    fn make_room(&self, failed: &mut HashMap<Key, Failed>) {
        if failed.len() + 2 > self.capacity {
            failed.retain(|_, known| known.last.elapsed() < FORGET_AFTER);
        }
        while failed.len() + 2 > self.capacity {
            let oldest = failed.iter().min_by_key(|(_, known)| known.last);
            let Some(oldest) = oldest.map(|(key, _)| *key) else { break };
            failed.remove(&oldest);
        }
    }

    fn failed(&self) -> MutexGuard<'_, HashMap<Key, Failed>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a failure; returns how many there are.
fn add(failed: &mut HashMap<Key, Failed>, key: Key) -> u32 {
    let now = Instant::now();
    let known = failed.entry(key).or_insert(Failed { times: 0, last: now });
    let is_over = known.last.elapsed() >= FORGET_AFTER;
    let times = if is_over { 1 } else { known.times.saturating_add(1) };
    *known = Failed { times, last: now };
    times
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn client(address: &str, name: u8) -> Client {
        Client { network: Some(address.parse().unwrap()), name: [name; 32] }
    }

    #[tokio::test(start_paused = true)]
    async fn every_failure_after_the_fifth_doubles_the_wait() {
        let (failures, ann) = (Failures::new(100), client("10.0.0.1", 1));
        for _ in 1..FREE_OF_USER {
            failures.count(ann);
            assert_eq!(failures.wait_of_user(ann), None);
        }
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            failures.count(ann);
            assert_eq!(failures.wait_of_user(ann), Some(Duration::from_secs(seconds)));
            advance(Duration::from_secs(seconds)).await;
            assert_eq!(failures.wait_of_user(ann), None);
        }
        failures.count(ann);
        // Neither another user at the address nor the user at another address waits.
        assert_eq!(failures.wait_of_user(client("10.0.0.1", 2)), None);
        assert_eq!(failures.wait_of_user(client("10.0.0.2", 1)), None);
        failures.forget(ann);
        assert_eq!(failures.wait_of_user(ann), None);
    }

    #[tokio::test(start_paused = true)]
    async fn address_that_tries_many_names_waits_and_one_that_tries_one_name_does_not() {
        let failures = Failures::new(1_000);
        let ann = client("10.0.0.1", 0);
        for _ in 0..1_000 {
            failures.count(ann);
        }
        assert_eq!(failures.wait_of_address(ann), None);
        for name in 1..u8::try_from(FREE_OF_ADDRESS).unwrap() {
            failures.count(client("10.0.0.1", name));
        }
        assert!(failures.wait_of_address(client("10.0.0.1", 200)).is_some());
        assert_eq!(failures.wait_of_address(client("10.0.0.2", 200)), None);
        advance(FORGET_AFTER).await;
        failures.count(ann);
        assert_eq!(failures.wait_of_address(ann), None);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_of_failures_is_bounded() {
        let failures = Failures::new(20);
        for number in 0..100_u32 {
            let network = Some(IpAddr::V4(number.into()));
            failures.count(Client { network, name: [0; 32] });
            advance(Duration::from_millis(1)).await;
        }
        let failed = failures.failed();
        assert_eq!(failed.len(), 20);
        assert!(failed.contains_key(&Key::Address(Some(IpAddr::V4(99.into())))));
    }
}
