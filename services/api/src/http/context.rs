//! What is known of the request that a task answers.

use std::{
    net::{IpAddr, SocketAddr},
    sync::OnceLock,
};

use ipnet::IpNet;
use poem::{
    Request,
    http::{HeaderMap, HeaderValue},
};

tokio::task_local! {
    /// Set while a request is answered.
    pub(crate) static CONTEXT: Context;
}

/// The request that is answered.
pub(crate) struct Context {
    /// Its id.
    pub(crate) id: HeaderValue,
    /// The address from which it comes.
    pub(crate) client: Option<IpAddr>,
    /// The user or the API key, once that is known.
    pub(crate) user: OnceLock<String>,
}

/// The id of the request that is answered.
pub(crate) fn request_id() -> Option<String> {
    CONTEXT.try_with(|context| context.id.to_str().ok().map(str::to_owned)).ok().flatten()
}

/// Notes who sends the request that is answered.
pub(crate) fn set_user(name: &str) {
    // Outside of a request, nobody asks.
    let _ = CONTEXT.try_with(|context| context.user.set(name.to_owned()));
}

/// The address of the client of a request.
pub(crate) fn client(request: &Request) -> Option<IpAddr> {
    CONTEXT.try_with(|context| context.client).unwrap_or_else(|_| peer(request))
}

/// The address of the client; of a trusted proxy, the one that it forwards for. Addresses in front of the first one that is
/// not trusted are what that one claims.
pub(crate) fn client_behind(request: &Request, trusted: &[IpNet]) -> Option<IpAddr> {
    Some(forwarded(peer(request)?, request.headers(), trusted))
}

fn forwarded(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer;
    let lines = headers.get_all("x-forwarded-for").iter();
    // What cannot be read ends the trust in what is before it.
    let lines: Vec<&str> = lines.map(|line| line.to_str().unwrap_or_default()).collect();
    let mut forwarded = lines.iter().rev().flat_map(|line| line.rsplit(','));
    while trusted.iter().any(|network| network.contains(&client)) {
        match forwarded.next().and_then(address) {
            Some(address) => client = address.to_canonical(),
            None => break,
        }
    }
    client
}

/// An address, which may have a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse().map(|address: SocketAddr| address.ip());
    text.parse().or_else(|_| with_port()).ok()
}

fn peer(request: &Request) -> Option<IpAddr> {
    Some(request.remote_addr().as_socket_addr()?.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_of(peer: &str, lines: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "192.0.2.1/32".parse().unwrap()];
        forwarded(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn address_is_that_of_the_first_client_that_is_not_trusted() {
        assert_eq!(client_of("203.0.113.5", &["198.51.100.1"]), "203.0.113.5");
        assert_eq!(client_of("10.1.1.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client_of("10.1.1.1", &["6.6.6.6, 198.51.100.1, 192.0.2.1"]), "198.51.100.1");
        assert_eq!(client_of("10.1.1.1", &["6.6.6.6, 198.51.100.1", "192.0.2.1"]), "198.51.100.1");
        assert_eq!(client_of("10.1.1.1", &["10.2.2.2"]), "10.2.2.2");
        assert_eq!(client_of("10.1.1.1", &[]), "10.1.1.1");
        assert_eq!(client_of("10.1.1.1", &["198.51.100.1, unknown"]), "10.1.1.1");
        assert_eq!(client_of("10.1.1.1", &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(client_of("10.1.1.1", &["198.51.100.1:5678"]), "198.51.100.1");
        assert_eq!(client_of("10.1.1.1", &["6.6.6.6", "\u{ff}"]), "10.1.1.1");
    }
}
