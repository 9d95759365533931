//! Failed logins: who fails too often has to wait before the next password is verified.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
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

/// Maximum number of users and addresses that are known; beyond it, the oldest are forgotten.
const CAPACITY: usize = 10_000;

/// The last 64 bits of an IPv6 address, which a client chooses freely.
const INTERFACE: u128 = u64::MAX as u128;

/// A hash of the name of a user.
type Name = [u8; 32];

/// Somebody who logs in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) address: Option<IpAddr>,
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
#[derive(Default)]
pub(super) struct Failures(Mutex<HashMap<Key, Failed>>);

impl Client {
    /// With the number of failures that cost no time.
    fn keys(self) -> [(Key, u32); 2] {
        let network = self.address.map(|address| match address {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !INTERFACE).into(),
            IpAddr::V4(_) => address,
        });
        let of_user = Key::User(network, self.name);
        [(Key::Address(network), FREE_OF_ADDRESS), (of_user, FREE_OF_USER)]
    }
}

impl Failures {
    /// How long a client has to wait, if it has to.
    pub(super) fn wait(&self, client: Client) -> Option<Duration> {
        let failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = |(key, free): (Key, u32)| {
            let Failed { times, last } = failed.get(&key)?;
            let doublings = times.checked_sub(free)?;
            let wait = FIRST_WAIT.saturating_mul(1 << doublings.min(16)).min(MAX_WAIT);
            wait.checked_sub(last.elapsed()).filter(|wait| !wait.is_zero())
        };
        client.keys().into_iter().filter_map(wait).max()
    }

    pub(super) fn failed(&self, client: Client) {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() + 2 > CAPACITY {
            failed.retain(|_, known| known.last.elapsed() < FORGET_AFTER);
        }
        while failed.len() + 2 > CAPACITY {
            let Some(oldest) = failed.iter().min_by_key(|(_, known)| known.last) else { break };
            let oldest = *oldest.0;
            failed.remove(&oldest);
        }
        let now = Instant::now();
        for (key, _) in client.keys() {
            let known = failed.entry(key).or_insert(Failed { times: 0, last: now });
            if known.last.elapsed() >= FORGET_AFTER {
                known.times = 0;
            }
            *known = Failed { times: known.times.saturating_add(1), last: now };
        }
    }

    /// A user who knows the password begins again. Others at the address do not.
    pub(super) fn succeeded(&self, client: Client) {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [_, (of_user, _)] = client.keys();
        failed.remove(&of_user);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn client(address: &str, name: u8) -> Client {
        Client { address: Some(address.parse().unwrap()), name: [name; 32] }
    }

    #[tokio::test(start_paused = true)]
    async fn every_failure_after_the_fifth_doubles_the_wait() {
        let (failures, ann) = (Failures::default(), client("10.0.0.1", 1));
        for _ in 1..FREE_OF_USER {
            failures.failed(ann);
            assert_eq!(failures.wait(ann), None);
        }
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            failures.failed(ann);
            assert_eq!(failures.wait(ann), Some(Duration::from_secs(seconds)));
            advance(Duration::from_secs(seconds)).await;
            assert_eq!(failures.wait(ann), None);
        }
        failures.failed(ann);
        // Neither another user at the address nor the user at another address waits.
        assert_eq!(failures.wait(client("10.0.0.1", 2)), None);
        assert_eq!(failures.wait(client("10.0.0.2", 1)), None);
        failures.succeeded(ann);
        assert_eq!(failures.wait(ann), None);
    }

    #[tokio::test(start_paused = true)]
    async fn address_that_tries_many_names_waits_too() {
        let failures = Failures::default();
        for name in 0..FREE_OF_ADDRESS {
            failures.failed(client("2001:db8::1", u8::try_from(name).unwrap()));
        }
        let neighbour = client("2001:db8::2:3", 200);
        assert_eq!(failures.wait(neighbour), Some(FIRST_WAIT));
        assert_eq!(failures.wait(client("2001:db8:0:1::1", 200)), None);
        advance(FORGET_AFTER).await;
        failures.failed(neighbour);
        assert_eq!(failures.wait(neighbour), None);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_of_failures_is_bounded() {
        let failures = Failures::default();
        for number in 0..20_000_u32 {
            let address = Some(IpAddr::V4(number.into()));
            failures.failed(Client { address, name: [0; 32] });
            if number % 100 == 0 {
                advance(Duration::from_millis(1)).await;
            }
        }
        assert!(failures.0.lock().unwrap().len() <= CAPACITY);
    }
}
