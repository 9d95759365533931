//! URLs with a password in any encoding.

use arbitrary::{Result, Unstructured};
use jetline_runtime::settings::{SecretUrl, redacted};
use jetline_source::Location;
use jetline_store::database;
use url::Url;

const SCHEMES: [&str; 8] =
    ["postgres", "postgresql", "nats", "tls", "redis", "rediss", "http", "s3"];

const PLACES: [&str; 4] =
    ["127.0.0.1:5432/shop", "host:port/0", "host/0?sslmode=require&pool=5", ""];

/// The part of every password that must never be shown.
const SECRET: &str = "hunter2";

/// No display of a URL and no error about it contains its password.
///
/// The first bytes of the input select scheme, host and user, the rest is the password around the secret: a line before it,
/// and what follows.
pub fn holds(input: &[u8]) {
    let Ok(text) = address(Unstructured::new(input)) else {
        return;
    };
    let url = SecretUrl::from(text.clone());
    is_secret(&text, &format!("{url} {url:?}"));
    if let Err(error) = url.parse("DATABASE_URL") {
        is_secret(&text, &format!("{error:#} {error:?}"));
    }
    if let Ok(parsed) = Url::parse(&text) {
        is_secret(&text, &redacted(&parsed));
    }
    if let Err(error) = database::checked(&text) {
        is_secret(&text, &format!("{error} {error:?}"));
    }
    if let Err(error) = text.parse::<Location>() {
        is_secret(&text, &format!("{error} {error:?}"));
    }
}

fn address(mut input: Unstructured<'_>) -> Result<String> {
    let scheme = input.choose(&SCHEMES)?;
    let place = input.choose(&PLACES)?;
    let user = if input.arbitrary()? { "ann:" } else { "" };
    let rest = String::from_utf8_lossy(input.take_rest()).into_owned();
    let (before, after) = rest.split_once('\n').unwrap_or((&rest, ""));
    Ok(format!("{scheme}://{user}{before}{SECRET}{after}@{place}"))
}

fn is_secret(address: &str, shown: &str) {
    let shown = shown.to_lowercase();
    assert!(!shown.contains(SECRET), "{address} is shown as {shown}");
}
