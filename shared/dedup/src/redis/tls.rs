//! TLS certificates for Redis.

use jetline_runtime::tls;
use redis::{ClientTlsConfig, TlsCertificates};
use url::Url;

use super::RedisConfig;

/// The settings that TLS depends on.
pub(super) const ADVICE: &str = "check REDIS_URL, REDIS_CA_FILE and REDIS_CERT_FILE";

/// The configured certificates, if any; an error if they would have no effect.
pub(super) fn certificates(
    url: &Url,
    config: &RedisConfig,
) -> Result<Option<TlsCertificates>, String> {
    let ca = config.redis_ca_file.as_deref();
    let identity = config.redis_cert_file.as_deref();
    if ca.is_none() && identity.is_none() {
        return Ok(None);
    }
    if url.scheme() != "rediss" {
        return Err(
            "REDIS_CA_FILE and REDIS_CERT_FILE require TLS: REDIS_URL must begin with rediss://"
                .to_owned(),
        );
    }
    let root_cert = ca.map(|file| tls::certificates(file, "REDIS_CA_FILE"));
    let client_tls = match (identity, config.redis_key_file.as_deref()) {
        (Some(file), Some(key)) => Some(ClientTlsConfig {
            client_cert: tls::certificates(file, "REDIS_CERT_FILE")?,
            client_key: tls::read(key, "REDIS_KEY_FILE")?,
        }),
        _ => None,
    };
    Ok(Some(TlsCertificates { client_tls, root_cert: root_cert.transpose()? }))
}
