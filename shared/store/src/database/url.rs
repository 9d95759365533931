//! Checks the URL of a database before a driver parses it: the drivers repeat in errors and logs what they cannot
//! parse.

use std::{path::PathBuf, str::FromStr};

use jetline_runtime::settings::SecretUrl;
use sea_orm::{
    SqlxError,
    sqlx::{postgres::PgConnectOptions, sqlite::SqliteConnectOptions},
};

use crate::{dialect::postgres::tls, error::Error};

/// The parameters of the PostgreSQL driver, besides `options[NAME]`.
const KNOWN_PARAMETERS: [&str; 17] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
];

/// Checks a URL and returns it as the driver may see it; errors contain no secrets.
///
/// Unknown parameters are removed: the driver ignores them too, but logs their values.
pub fn checked(url: &str) -> Result<String, Error> {
    if is_sqlite(url) {
        let options = SqliteConnectOptions::from_str(url);
        options.map_err(|error| Error::Url(reason(error)))?;
        return Ok(url.to_owned());
    }
    let url = postgres(url).map_err(Error::Url)?;
    tls::check(&url)?;
    Ok(url)
}

/// The file of an SQLite database.
#[must_use]
pub fn file(url: &str) -> Option<PathBuf> {
    let options = is_sqlite(url).then(|| SqliteConnectOptions::from_str(url));
    Some(options?.ok()?.get_filename().to_owned())
}

pub(super) fn is_sqlite(url: &str) -> bool {
    url.starts_with("sqlite:")
}

fn postgres(text: &str) -> Result<String, String> {
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return Err("it must begin with postgres:// or sqlite://".to_owned());
    }
    let mut url = SecretUrl::from(text.to_owned()).url()?;
    let is_known = |name: &str| {
        KNOWN_PARAMETERS.contains(&name) || name == "options" || name.starts_with("options[")
    };
    let pairs = url.query_pairs().into_owned();
    let (known, unknown): (Vec<_>, Vec<_>) = pairs.partition(|(name, _)| is_known(name));
    if !unknown.is_empty() {
        // Not even their names are logged: after an unencoded & follows the rest of a password.
        tracing::warn!(
            parameters = unknown.len(),
            "unknown parameters of the database URL ignored"
        );
        url.set_query(None);
        if !known.is_empty() {
            url.query_pairs_mut().extend_pairs(known);
        }
    }
    PgConnectOptions::from_str(url.as_str()).map_err(reason)?;
    Ok(url.into())
}

fn reason(error: SqlxError) -> String {
    match error {
        SqlxError::Configuration(error) => error.to_string(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_url_is_not_repeated_in_the_error() {
        for url in [
            "postgres://ann:x#hunter2@127.0.0.1/x",
            "postgres://ann:12#hunter2@127.0.0.1/x",
            "postgres://ann:12/hunter2@127.0.0.1/x",
            "postgres://ann:hunter2@127.0.0.1:port/x",
            "postgres://ann:hunter2@127.0.0.1/x?sslmode=loud",
            "postgres://ann:hunter2@127.0.0.1/x?port=many",
            "mysql://ann:hunter2@127.0.0.1/x",
            "hunter2",
        ] {
            let error = checked(url).unwrap_err();
            let error = format!("{error} {error:?}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn parameters_that_the_driver_would_log_are_removed() {
        for (given, used) in [
            ("?pasword=hunter2", ""),
            ("?sslmode=require&channel_binding=require", "?sslmode=require"),
            ("?options[search_path]=a&dbname=b", "?options[search_path]=a&dbname=b"),
        ] {
            let checked = checked(&format!("postgres://ann:x@db/shop{given}")).unwrap();
            assert_eq!(checked, format!("postgres://ann:x@db/shop{used}"));
        }
    }

    #[test]
    fn database_at_a_unix_socket_is_accepted() {
        for url in [
            "postgres:///shop",
            "postgres:///shop?host=/run/postgresql",
            "postgres://?host=/run/postgresql&dbname=shop",
        ] {
            assert_eq!(checked(url).unwrap(), url);
        }
    }

    #[test]
    fn sqlite_database_has_a_file() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(file("sqlite://a.db?mode=rwc"), path("a.db"));
        assert_eq!(file("sqlite:/in/my%20files/a.db"), path("/in/my files/a.db"));
        assert_eq!(file("postgres://db/shop"), None);
        let error = checked("sqlite://a.db?mode=loud").unwrap_err().to_string();
        assert!(error.contains("loud"), "{error}");
    }
}
