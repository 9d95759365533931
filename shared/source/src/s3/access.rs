//! Credentials, region, endpoint and TLS.

use std::{env, path::PathBuf, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig,
    environment::EnvironmentVariableRegionProvider,
    meta::region::RegionProviderChain,
    profile::{self, ProfileFileRegionProvider, ProfileSet},
};
use aws_runtime::env_config::{EnvConfigValue, file::EnvConfigFiles};
use aws_sdk_s3::{
    Client,
    config::{
        Builder, ProvideCredentials, RequestChecksumCalculation, ResponseChecksumValidation,
        SharedHttpClient, timeout::TimeoutConfig,
    },
};
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_types::os_shim_internal::{Env, Fs};
use jetline_runtime::tls;
use url::Url;

use super::body_limit::BodyLimit;
use crate::Error;

/// The timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout of a response's first byte, since the request began. The SDK's stalled-stream protection covers the body.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The region if none is configured: S3-compatible servers accept any.
const DEFAULT_REGION: &str = "us-east-1";
/// The variable of a CA file to trust instead of the system's CAs.
pub(super) const CA_BUNDLE: &str = "AWS_CA_BUNDLE";
/// The variables of an endpoint other than AWS.
const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// A client for a bucket, with credentials that were found.
pub(super) async fn client(bucket: &str, given: Option<SdkConfig>) -> Result<Client, Error> {
    let refused = |reason| Error::Refused { action: "list", uri: format!("s3://{bucket}"), reason };
    let http = https(trust().map_err(refused)?);
    let sdk = if let Some(sdk) = given {
        sdk
    } else {
        let endpoint = configured_endpoint().await.map_err(refused)?;
        let sdk = from_environment(endpoint, http.clone()).await;
        credentials(&sdk).await.map_err(refused)?;
        sdk
    };
    let config = Builder::from(&sdk)
        .http_client(http)
        // S3-compatible servers often have no DNS name per bucket.
        .force_path_style(sdk.endpoint_url().is_some())
        .interceptor(BodyLimit::Errors)
        // S3 has no checksum for a range, and requesting one adds a signed header.
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        // Older servers refuse them; the signature covers the content.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(READ_TIMEOUT)
                .build(),
        )
        .build();
    Ok(Client::from_conf(config))
}

async fn from_environment(endpoint: Option<String>, http: SharedHttpClient) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    if let Some(endpoint) = endpoint {
        loader = loader.endpoint_url(endpoint);
        // Without the instance metadata service: outside AWS, its timeout takes seconds.
        let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new());
        loader = loader.region(region.or_else(DEFAULT_REGION));
    }
    let sdk = loader.load().await;
    if sdk.region().is_some() {
        return sdk;
    }
    sdk.into_builder().region(Region::from_static(DEFAULT_REGION)).build()
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

/// The endpoint that the environment or the profile sets, as the SDK finds it.
///
/// Checked here because the SDK logs a malformed URL with its password, ignores it, and sends the requests to AWS.
async fn configured_endpoint() -> Result<Option<String>, String> {
    let env = Env::real();
    let files = EnvConfigFiles::default();
    // The SDK reports what is wrong with the files.
    let profiles = profile::load(&Fs::real(), &env, &files, None).await.ok();
    endpoint(&env, profiles.as_ref())
}

fn endpoint(env: &Env, profiles: Option<&ProfileSet>) -> Result<Option<String>, String> {
    let ignored = EnvConfigValue::new()
        .env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
        .profile("ignore_configured_endpoint_urls");
    let ignored = ignored.load(env, profiles);
    if ignored.is_some_and(|(value, _)| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let configured =
        EnvConfigValue::new().env("AWS_ENDPOINT_URL").profile("endpoint_url").service_id("S3");
    let Some((endpoint, _)) = configured.load(env, profiles) else {
        return Ok(None);
    };
    let variable = ENDPOINTS.into_iter().find(|name| env.get(name).is_ok());
    check_endpoint(variable.unwrap_or("endpoint_url of the profile"), &endpoint)?;
    Ok(Some(endpoint.into_owned()))
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
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn malformed_endpoint_is_refused_and_not_ignored() {
        let set = |value| endpoint(&Env::from_slice(&[("AWS_ENDPOINT_URL", value)]), None);
        let right = "http://127.0.0.1:9000";
        assert_eq!(set(right), Ok(Some(right.to_owned())));
        assert_eq!(endpoint(&Env::from_slice(&[]), None), Ok(None));
        for (set_to, word) in [
            ("http://me:hunter2@host", "AWS_SECRET_ACCESS_KEY"),
            ("http://me:12#hunter2@host", "AWS_SECRET_ACCESS_KEY"),
        ] {
            let error = set(set_to).unwrap_err();
            assert!(error.contains(word) && !error.contains("hunter2"), "{error}");
        }
        for wrong in ["", "localhost:9000", "127.0.0.1", "me:hunter2@host"] {
            let error = set(wrong).unwrap_err();
            assert!(error.contains("AWS_ENDPOINT_URL is not a URL"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[tokio::test]
    async fn endpoint_is_that_of_the_service_in_the_profile() {
        let env = [("AWS_CONFIG_FILE", "config"), ("AWS_PROFILE", "files")];
        let config = "[profile files]\nservices = own\nendpoint_url = me:hunter2@host
            \n[services own]\ns3 =\n  endpoint_url = http://127.0.0.1:9000\n";
        let files = HashMap::from([("config".to_owned(), config.to_owned().into_bytes())]);
        let fs = Fs::from_map(files);
        let env_of =
            |more: &[(&'static str, &'static str)]| Env::from_slice(&[&env, more].concat());
        let files = EnvConfigFiles::default();
        let profiles = profile::load(&fs, &env_of(&[]), &files, None).await.unwrap();
        let found = |more| endpoint(&env_of(more), Some(&profiles));
        assert_eq!(found(&[]), Ok(Some("http://127.0.0.1:9000".to_owned())));
        let ignored = ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
        assert_eq!(found(&[ignored]), Ok(None));
    }
}
