//! The servers of `NATS_URL`.

use std::fmt;

use jetline_runtime::settings::{SecretUrl, redacted};
use url::Url;

/// One or more URLs, separated by commas, which may contain passwords: neither `Debug` nor `Display` shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsUrls(String);

impl NatsUrls {
    /// Parses the URLs; an error has the number of the invalid one, and does not quote it.
    pub fn parse(&self) -> Result<Vec<Url>, String> {
        let urls = self.0.split(',').map(str::trim).enumerate();
        urls.map(|(number, url)| {
            let url = SecretUrl::from(url.to_owned()).url();
            url.map_err(|reason| format!("NATS_URL: server {} is not a URL: {reason}", number + 1))
        })
        .collect()
    }
}

impl From<String> for NatsUrls {
    fn from(urls: String) -> Self {
        Self(urls)
    }
}

impl fmt::Display for NatsUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parse() {
            Ok(urls) => {
                let shown: Vec<String> = urls.iter().map(redacted).collect();
                f.write_str(&shown.join(","))
            }
            Err(_) => f.write_str("(not a URL)"),
        }
    }
}

impl fmt::Debug for NatsUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(text: &str) -> NatsUrls {
        NatsUrls::from(text.to_owned())
    }

    #[test]
    fn servers_are_separated_by_commas() {
        let parsed = urls("nats://a:4222, tls://b").parse().unwrap();
        let hosts: Vec<_> = parsed.iter().filter_map(Url::host_str).collect();
        assert_eq!(hosts, ["a", "b"]);
    }

    #[test]
    fn secrets_are_not_shown_with_valid_or_invalid_urls() {
        let shown = urls("nats://ann:hun@a:1,nats://token@b").to_string();
        assert_eq!(shown, "nats://a:1,nats://b");
        for wrong in ["nats://ann:hunter2@a:1,x", "nats://ann:hun#ter2@a", "nats://a,", ""] {
            let urls = urls(wrong);
            let shown = format!("{urls:?} {urls} {:?}", urls.parse().err());
            assert!(!shown.contains("ter2"), "{shown}");
        }
        let second = urls("nats://a,b:c").parse().unwrap_err();
        assert!(second.contains("server 2"), "{second}");
    }
}
