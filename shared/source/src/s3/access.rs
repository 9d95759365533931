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

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a server may think before it answers. A body that stalls is ended by the SDK's own watch.
const ANSWER: Duration = Duration::from_secs(30);
/// What is used when nothing sets a region: S3-compatible servers take any.
const REGION: &str = "us-east-1";
/// The variable that names a file of CAs to trust instead of the machine's.
pub(super) const CA_BUNDLE: &str = "AWS_CA_BUNDLE";
/// The variables that name another server than AWS's.
const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// An S3-compatible server and its keys, instead of what the environment says.
#[derive(Clone)]
pub struct S3Access {
    /// Such as `http://127.0.0.1:9000`.
    pub endpoint_url: String,
    /// The public half of the keys.
    pub access_key_id: String,
    /// The secret half. `Debug` does not show it.
    pub secret_access_key: String,
}

impl fmt::Debug for S3Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Access")
            .field("endpoint_url", &self.endpoint_url)
            .finish_non_exhaustive()
    }
}

/// A client for a bucket, whose credentials are known to exist.
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
        // Servers under one name have no subdomain per bucket.
        .force_path_style(own_endpoint)
        .interceptor(BodyLimit::Errors)
        // A range has no checksum of its own, and asking for one costs a header and AWS's signature of it.
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT)
                .read_timeout(ANSWER)
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
        .region(Region::from_static(REGION))
        .endpoint_url(&access.endpoint_url)
        .credentials_provider(aws_sdk_s3::config::SharedCredentialsProvider::new(keys))
        .build()
}

async fn from_environment(own_endpoint: bool, http: SharedHttpClient) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    if own_endpoint {
        // Without asking for the region of the machine: it may be none of AWS's, which takes seconds to find out.
        let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new());
        loader = loader.region(region.or_else(REGION));
    }
    let sdk = loader.load().await;
    if sdk.region().is_some() {
        return sdk;
    }
    sdk.into_builder()
        .region(Region::from_static(REGION))
        .build()
}

/// The CAs of `AWS_CA_BUNDLE`, as every AWS tool takes them, or those that the machine trusts.
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
        // It has no way to fail; and without a context, the machine's trust is what counts.
        Err(_) => builder.build_https(),
    }
}

/// The SDK would take a malformed URL for none, and send the request to AWS.
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
        // The SDK would write it to its errors and its log.
        return Err(format!(
            "{name} holds a user or password: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are for them"
        ));
    }
    Ok(())
}

async fn credentials(sdk: &SdkConfig) -> Result<(), String> {
    let missing = "no credentials are set: look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE";
    let provider = sdk.credentials_provider().ok_or(missing)?;
    match provider.provide_credentials().await {
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::debug!(error = %error, "no credentials");
            Err(missing.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_endpoint_is_refused_and_not_taken_for_none() {
        let set = |value: &'static str| {
            endpoint_is_set(move |name| (name == "AWS_ENDPOINT_URL").then(|| value.to_owned()))
        };
        assert_eq!(set("http://127.0.0.1:9000"), Ok(true));
        assert_eq!(endpoint_is_set(|_| None), Ok(false));
        for (set_to, word) in [
            ("http://me:geheim@host", "AWS_SECRET_ACCESS_KEY"),
            ("http://me:12#geheim@host", "AWS_SECRET_ACCESS_KEY"),
        ] {
            let error = set(set_to).unwrap_err();
            assert!(error.contains(word) && !error.contains("geheim"), "{error}");
        }
        for wrong in ["", "localhost:9000", "127.0.0.1", "me:geheim@host"] {
            let error = set(wrong).unwrap_err();
            assert!(error.contains("AWS_ENDPOINT_URL is not a URL"), "{error}");
            assert!(!error.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn keys_are_not_shown() {
        let access = S3Access {
            endpoint_url: "http://127.0.0.1:9000".into(),
            access_key_id: "me".into(),
            secret_access_key: "geheim".into(),
        };
        assert!(!format!("{access:?}").contains("geheim"));
    }
}
