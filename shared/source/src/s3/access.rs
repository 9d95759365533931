//! Credentials, region, endpoint and TLS.

use std::{env, fmt, path::PathBuf, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, environment::EnvironmentVariableRegionProvider,
    meta::region::RegionProviderChain, profile::ProfileFileRegionProvider,
};
use aws_sdk_s3::{
    Client,
    config::{
        Builder, Credentials, ProvideCredentials, ResponseChecksumValidation, SharedHttpClient,
        timeout::TimeoutConfig,
    },
};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use jetline_runtime::tls;
use url::Url;

use super::body_limit::BodyLimit;
use crate::Error;

/// The timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout of a response's first byte. The SDK's stalled-stream protection covers the body.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The region if none is configured: S3-compatible servers accept any.
const DEFAULT_REGION: &str = "us-east-1";
/// The variable of a CA file to trust instead of the system's CAs.
pub(super) const CA_BUNDLE: &str = "AWS_CA_BUNDLE";
/// The variables of an endpoint other than AWS.
const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// An S3-compatible server and its credentials, instead of those of the environment.
#[derive(Clone)]
pub struct S3Access {
    /// Such as `http://127.0.0.1:9000`.
    pub endpoint_url: String,
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key. `Debug` does not show it.
    pub secret_access_key: String,
}

impl fmt::Debug for S3Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Access")
            .field("endpoint_url", &self.endpoint_url)
            .finish_non_exhaustive()
    }
}

/// A client for a bucket, with credentials that were found.
pub(super) async fn client(bucket: &str, access: Option<&S3Access>) -> Result<Client, Error> {
    let refused = |reason| Error::Refused {
        action: "list",
        uri: format!("s3://{bucket}"),
        reason,
    };
    let (sdk, own_endpoint) = if let Some(access) = access {
        (given(access), true)
    } else {
        let own_endpoint = endpoint_is_set(|name| env::var(name).ok()).map_err(refused)?;
        let http = https(trust().map_err(refused)?);
        let sdk = from_environment(own_endpoint, http).await;
        let endpoint = sdk.endpoint_url();
        let checked = endpoint.map(|url| check_endpoint("endpoint_url of the profile", url));
        checked.transpose().map_err(refused)?;
        credentials(&sdk).await.map_err(refused)?;
        let own_endpoint = own_endpoint || endpoint.is_some();
        (sdk, own_endpoint)
    };
    let config = Builder::from(&sdk)
        // S3-compatible servers often have no DNS name per bucket.
        .force_path_style(own_endpoint)
        .interceptor(BodyLimit::Errors)
        // S3 has no checksum for a range, and requesting one adds a signed header.
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(READ_TIMEOUT)
                .build(),
        )
        .build();
    Ok(Client::from_conf(config))
}

fn given(access: &S3Access) -> SdkConfig {
    let keys = Credentials::new(
        &access.access_key_id,
        &access.secret_access_key,
        None,
        None,
        "S3Access",
    );
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(https(TrustStore::default()))
        .region(Region::from_static(DEFAULT_REGION))
        .endpoint_url(&access.endpoint_url)
        .credentials_provider(aws_sdk_s3::config::SharedCredentialsProvider::new(keys))
        .build()
}

async fn from_environment(own_endpoint: bool, http: SharedHttpClient) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    if own_endpoint {
        // Without the instance metadata service: outside AWS, its timeout takes seconds.
        let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new());
        loader = loader.region(region.or_else(DEFAULT_REGION));
    }
    let sdk = loader.load().await;
    if sdk.region().is_some() {
        return sdk;
    }
    sdk.into_builder()
        .region(Region::from_static(DEFAULT_REGION))
        .build()
}

/// The CAs of `AWS_CA_BUNDLE`, as AWS tools use it, or the system's.
fn trust() -> Result<TrustStore, String> {
    let Some(file) = env::var_os(CA_BUNDLE).filter(|file| !file.is_empty()) else {
        return Ok(TrustStore::default());
    };
    let bundle = tls::certificates(&PathBuf::from(file), CA_BUNDLE)?;
    Ok(TrustStore::empty().with_pem_certificate(bundle))
}

fn https(trust: TrustStore) -> SharedHttpClient {
    let provider = Provider::Rustls(CryptoMode::Ring);
    let builder = aws_smithy_http_client::Builder::new().tls_provider(provider);
    match TlsContext::builder().with_trust_store(trust).build() {
        Ok(context) => builder.tls_context(context).build_https(),
        // This cannot fail today; without a context, the system's CAs are used.
        Err(_) => builder.build_https(),
    }
}

/// Checked here because the SDK ignores a malformed URL and sends the request to AWS.
fn endpoint_is_set(variable: impl Fn(&str) -> Option<String>) -> Result<bool, String> {
    for name in ENDPOINTS {
        let Some(value) = variable(name) else {
            continue;
        };
        return check_endpoint(name, &value).map(|()| true);
    }
    Ok(false)
}

fn check_endpoint(name: &str, value: &str) -> Result<(), String> {
    let is_http = |url: Url| matches!(url.scheme(), "http" | "https");
    if !Url::parse(value).is_ok_and(is_http) {
        return Err(format!("{name} is not a URL such as http://127.0.0.1:9000"));
    }
    if value.contains('@') {
        // The SDK would show it in errors and logs.
        return Err(format!(
            "{name} contains a user or password: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
        ));
    }
    Ok(())
}

async fn credentials(sdk: &SdkConfig) -> Result<(), String> {
    let missing =
        "no credentials are set: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE";
    let provider = sdk.credentials_provider().ok_or(missing)?;
    match provider.provide_credentials().await {
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::debug!(error = %error, "load credentials failed");
            Err(missing.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_endpoint_is_refused_and_not_ignored() {
        let set = |value: &'static str| {
            endpoint_is_set(move |name| (name == "AWS_ENDPOINT_URL").then(|| value.to_owned()))
        };
        assert_eq!(set("http://127.0.0.1:9000"), Ok(true));
        assert_eq!(endpoint_is_set(|_| None), Ok(false));
        for (set_to, word) in [
            ("http://me:hunter2@host", "AWS_SECRET_ACCESS_KEY"),
            ("http://me:12#hunter2@host", "AWS_SECRET_ACCESS_KEY"),
        ] {
            let error = set(set_to).unwrap_err();
            assert!(
                error.contains(word) && !error.contains("hunter2"),
                "{error}"
            );
        }
        for wrong in ["", "localhost:9000", "127.0.0.1", "me:hunter2@host"] {
            let error = set(wrong).unwrap_err();
            assert!(error.contains("AWS_ENDPOINT_URL is not a URL"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn keys_are_not_shown() {
        let access = S3Access {
            endpoint_url: "http://127.0.0.1:9000".into(),
            access_key_id: "me".into(),
            secret_access_key: "hunter2".into(),
        };
        assert!(!format!("{access:?}").contains("hunter2"));
    }
}
