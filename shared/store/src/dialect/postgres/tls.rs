//! TLS to PostgreSQL, as set in its URL: `?sslmode=verify-full&sslrootcert=ca.pem`.
//!
//! Only `verify-ca` and `verify-full` verify the server's certificate. `require` encrypts without verification;
//! `prefer`, the default, encrypts where the server supports it; `allow` and `disable` do not encrypt.

use std::{path::Path, str::FromStr};

use jetline_runtime::tls;
use sea_orm::{
    DbErr, RuntimeErr, SqlxError,
    sqlx::postgres::{PgConnectOptions, PgSslMode},
};
use url::Url;

use crate::error::Error;

/// The parameters that name a file, in all spellings of the driver.
const ROOTS: [&str; 3] = ["sslrootcert", "ssl-root-cert", "ssl-ca"];
const CERTIFICATES: [&str; 2] = ["sslcert", "ssl-cert"];
const KEYS: [&str; 2] = ["sslkey", "ssl-key"];

/// Fails on a URL with a CA that would not be used, or a file that cannot be read.
pub(crate) fn check(url: &str) -> Result<(), Error> {
    let Ok(parsed) = Url::parse(url) else {
        // The driver returns an error for it.
        return Ok(());
    };
    if !matches!(parsed.scheme(), "postgres" | "postgresql") {
        return Ok(());
    }
    // The driver takes even an empty value for a file name.
    for (name, value) in parsed.query_pairs() {
        let (name, file) = (name.as_ref(), Path::new(value.as_ref()));
        let checked = if ROOTS.contains(&name) {
            must_verify(url, name).and_then(|()| tls::certificates(file, name).map(drop))
        } else if CERTIFICATES.contains(&name) {
            tls::certificates(file, name).map(drop)
        } else if KEYS.contains(&name) {
            tls::read(file, name).map(drop)
        } else {
            Ok(())
        };
        checked.map_err(|reason| Error::Tls { reason })?;
    }
    Ok(())
}

/// The mode may also come from `PGSSLMODE`, which the driver reads.
fn must_verify(url: &str, name: &str) -> Result<(), String> {
    let Ok(options) = PgConnectOptions::from_str(url) else {
        return Ok(());
    };
    match options.get_ssl_mode() {
        PgSslMode::VerifyCa | PgSslMode::VerifyFull => Ok(()),
        _ => Err(format!(
            "{name} is set, but sslmode is neither verify-full nor verify-ca, which alone verify the server"
        )),
    }
}

/// The permanent error of a TLS handshake, if it is one.
pub(super) fn refusal(error: &DbErr) -> Option<Error> {
    let (DbErr::Conn(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))
    | DbErr::Exec(RuntimeErr::SqlxError(error))) = error
    else {
        return None;
    };
    let reason = match error.as_ref() {
        SqlxError::Tls(error) => error.to_string(),
        error => tls::refusal(error)?,
    };
    Some(Error::Tls { reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ca_that_would_not_be_used_is_refused() {
        let refused = |query: &str| {
            let url = format!("postgres://ann:hunter2@db/shop?{query}");
            check(&url).err().map(|error| error.to_string())
        };
        assert_eq!(refused(""), None);
        assert_eq!(refused("sslmode=require"), None);
        for query in ["sslrootcert=ca.pem", "sslmode=require&ssl-ca=ca.pem"] {
            let error = refused(query).unwrap();
            assert!(error.contains("verify-full"), "{error}");
        }
        for query in [
            "sslmode=verify-full&sslrootcert=/no/ca.pem",
            "sslmode=verify-ca&sslcert=/no/ca.pem",
            "sslkey=/no/ca.pem",
        ] {
            let error = refused(query).unwrap();
            assert!(error.contains("cannot read /no/ca.pem"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
