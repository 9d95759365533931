//! The headers of a post that say how it is to be handled.

use std::time::Duration;

use poem::Request;

use crate::http::problem::Failure;

/// Maximum time for which a client may wait.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// Maximum number of bytes of a key.
const MAX_KEY_BYTES: usize = 255;

/// What the headers say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Preferences {
    /// How long the client waits for the outcome of its records.
    pub(super) wait: Option<Duration>,
    /// Whether an invalid record refuses all.
    pub(super) is_strict: bool,
}

impl Preferences {
    /// Reads `Prefer`, as of RFC 7240: preferences that are not known are ignored.
    pub(super) fn of(request: &Request) -> Self {
        let mut preferences = Self::default();
        let values = request.headers().get_all("prefer");
        let texts = values.iter().filter_map(|value| value.to_str().ok());
        for preference in texts.flat_map(|text| text.split([',', ';'])) {
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let value = value.trim().trim_matches('"');
            match &*name.trim().to_ascii_lowercase() {
                "wait" => {
                    let seconds = value.parse().map(Duration::from_secs).ok();
                    preferences.wait = seconds.map(|wait| wait.min(MAX_WAIT));
                }
                "handling" => preferences.is_strict = value.eq_ignore_ascii_case("strict"),
                _ => {}
            }
        }
        preferences
    }
}

/// The `Idempotency-Key`, with or without quotes.
pub(super) fn idempotency_key(request: &Request) -> Result<Option<String>, Failure> {
    let Some(value) = request.headers().get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default().trim().trim_matches('"');
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        let reason = format!("must have 1 to {MAX_KEY_BYTES} visible characters of ASCII");
        return Err(Failure::header("Idempotency-Key", &reason));
    }
    Ok(Some(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &str, values: &[&str]) -> Request {
        let builder =
            values.iter().fold(Request::builder(), |builder, value| builder.header(name, *value));
        builder.finish()
    }

    #[test]
    fn preferences_are_read_from_all_headers_and_others_ignored() {
        let of = |values: &[&str]| Preferences::of(&request("prefer", values));
        let wait = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(of(&[]), Preferences::default());
        assert_eq!(
            of(&["wait=10, handling=strict"]),
            Preferences { wait: wait(10), is_strict: true }
        );
        assert_eq!(
            of(&["respond-async", "Wait=\"600\""]),
            Preferences { wait: wait(60), is_strict: false }
        );
        assert_eq!(of(&["wait=soon; handling=lenient"]), Preferences::default());
    }

    #[test]
    fn key_is_the_same_with_and_without_quotes() {
        let key = |text: &str| idempotency_key(&request("idempotency-key", &[text]));
        assert_eq!(key("\"8e03978e\"").ok().flatten().as_deref(), Some("8e03978e"));
        assert_eq!(key("8e03978e").ok().flatten().as_deref(), Some("8e03978e"));
        assert!(key("").is_err() && key(&"k".repeat(256)).is_err());
    }
}
