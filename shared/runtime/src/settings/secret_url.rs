//! URLs that may contain a password.

use std::fmt;

use url::Url;

use super::Invalid;

/// A URL without user, password and query, which may be secret.
#[must_use]
pub fn redacted(url: &Url) -> String {
    if hides_credentials(url) {
        return NOT_SHOWN.to_owned();
    }
    let mut url = url.clone();
    // Setting these fails for URLs that cannot have them.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// Shown instead of a URL in which the end of the password is uncertain.
const NOT_SHOWN: &str = "(not a URL)";

/// Whether another part of the URL may contain part of a password: `u:12/x@host` has the host `u`, and so has `u:12#x`.
fn hides_credentials(url: &Url) -> bool {
    let has_at = |text: Option<&str>| text.is_some_and(|text| text.contains('@'));
    url.cannot_be_a_base()
        || !(url.has_host() || is_local_postgres(url))
        || url.fragment().is_some()
        || url.path().contains('@')
        || has_at(url.query())
}

/// Local PostgreSQL has no host: the socket is the default one, or that of `?host=/run/postgresql`.
fn is_local_postgres(url: &Url) -> bool {
    ["postgres://", "postgresql://"].iter().any(|prefix| url.as_str().starts_with(prefix))
}

/// A URL that may contain a password: neither `Debug` nor `Display` shows it.
///
/// The file of a SQLite database, `sqlite:…`, contains none and is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Parses the URL; an error names the variable and does not show the value.
    pub fn parse(&self, variable: &str) -> anyhow::Result<Url> {
        self.url()
            .map_err(|reason| Invalid::new(format!("{variable} is not a URL: {reason}")).into())
    }

    /// Parses the URL; an error does not show the value.
    pub fn url(&self) -> Result<Url, String> {
        let url = Url::parse(&self.0).map_err(|error| error.to_string())?;
        if self.is_file() || !hides_credentials(&url) {
            return Ok(url);
        }
        Err("it has no host, or one of @ : / ? # in the user or password is not percent-encoded \
             (%40 %3A %2F %3F %23)"
            .to_owned())
    }

    /// The URL as configured, with its secrets.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn is_file(&self) -> bool {
        self.0.starts_with("sqlite:")
    }
}

impl From<String> for SecretUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_file() {
            return f.write_str(self.0.split('?').next().unwrap_or_default());
        }
        match self.url() {
            Ok(url) => f.write_str(&redacted(&url)),
            Err(_) => f.write_str(NOT_SHOWN),
        }
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> SecretUrl {
        text.to_owned().into()
    }

    #[test]
    fn secrets_of_a_url_are_not_shown() {
        let url = secret("postgres://ann:hunter2@db:5432/shop?password=hunter2");
        assert_eq!(format!("{url} {url:?}"), "postgres://db:5432/shop postgres://db:5432/shop");
        assert!(url.expose().contains("hunter2"));
    }

    #[test]
    fn invalid_url_is_reported_by_its_variable_only() {
        for text in [
            "//ann:hunter2@db",
            "ann:hunter2@db",
            "postgres://ann:x#hunter2@db/shop",
            "postgres://ann:12#hunter2@db/shop",
            "postgres://ann:12?hunter2@db/shop",
            "redis://ann:12/hunter2@db",
            "redis:ann:hunter2@db",
            "redis:/ann:hunter2@db",
            "nats://ann:12/hunt@er2@db",
            "http://ann:12\\hunter2@db",
            "postgres:/ann:hunter2@db",
            "postgres:///ann:hunter2@db",
            "postgres://ann:hunter2@/shop",
            "postgres:///shop?user=ann@hunter2",
            "postgresql:///shop#hunter2",
            "redis:///hunter2",
        ] {
            let url = secret(text);
            let error = format!("{:#}", url.parse("DATABASE_URL").unwrap_err());
            assert!(error.contains("DATABASE_URL"), "{error}");
            assert!(!error.contains("hunt"), "{error}");
            assert!(!url.to_string().contains("hunt"), "{url}");
            if let Ok(url) = Url::parse(text) {
                assert!(!redacted(&url).contains("hunt"), "{url}");
            }
        }
    }

    #[test]
    fn database_on_a_socket_needs_no_host() {
        for text in ["postgres:///shop", "postgresql://"] {
            let url = secret(&format!("{text}?host=/run/postgresql&password=hunter2"));
            assert_eq!(url.parse("DATABASE_URL").unwrap().as_str(), url.expose());
            assert_eq!(url.to_string(), text);
        }
    }

    #[test]
    fn file_of_a_database_is_shown() {
        for text in ["sqlite:///home/ann@work/my files/a#b.db", "sqlite:t.db"] {
            assert_eq!(secret(text).to_string(), text);
        }
        assert_eq!(secret("sqlite://t.db?mode=rwc").to_string(), "sqlite://t.db");
    }
}
