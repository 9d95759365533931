//! TLS to every server, with certificates of a new authority.

use std::path::Path;

use jetline_oracle::{catalogue::lines_with_bad_ones, fold};
use jetline_testkit::{
    http,
    nats::{NatsOptions, NatsServer},
    postgres::{PostgresServer, TemporaryDatabase},
    redis::{RedisOptions, RedisServer},
    s3::S3Server,
    tls::{Authority, ServerTls},
};

use crate::deployment::{Deployment, finish, succeeded};

/// A secret that no error may show.
const SECRET: &str = "hunter2";

/// All four servers with TLS required, and a deployment that uses it.
struct Secured {
    deployment: Deployment,
    authority: Authority,
    _nats: NatsServer,
    _redis: RedisServer,
    _postgres: PostgresServer,
}

impl Secured {
    /// `tls` creates the servers' certificate; the programs trust no authority yet.
    async fn start(name: &str, tls: impl Fn(&Authority) -> ServerTls) -> Self {
        let authority = Authority::new("ours").unwrap();
        let tls = tls(&authority);
        // The testkit checks its readiness, and verifies the name.
        let of_redis = ServerTls { ask_clients: tls.ask_clients, ..certified(&authority) };
        let nats = NatsServer::start_with(NatsOptions {
            user: Some(("ann".to_owned(), SECRET.to_owned())),
            tls: Some(tls.clone()),
            ..NatsOptions::default()
        })
        .unwrap();
        let redis = RedisServer::start_with(RedisOptions {
            password: Some(SECRET.to_owned()),
            tls: Some(of_redis),
            ..RedisOptions::default()
        })
        .unwrap();
        let postgres = PostgresServer::start_with_tls(&tls).unwrap();
        let database = if tls.ask_clients {
            TemporaryDatabase::create_on_as(&postgres, &identity(&authority)).await
        } else {
            TemporaryDatabase::create_on(&postgres).await
        };
        let s3 = S3Server::start_with_tls(&tls).unwrap();
        let url = database.url();
        let mut deployment = Deployment::with(name, &nats.url(), &redis.url(), database, s3).await;
        let sign = if url.contains('?') { '&' } else { '?' };
        deployment.set("DATABASE_URL", &format!("{url}{sign}sslmode=verify-full"));
        deployment.set("STARTUP_TIMEOUT", "10s");
        Self { deployment, authority, _nats: nats, _redis: redis, _postgres: postgres }
    }

    /// Makes the programs trust an authority, with the setting of each server.
    fn trust(&mut self, authority: &Path) {
        let file = authority.display().to_string();
        for setting in ["NATS_CA_FILE", "REDIS_CA_FILE", "AWS_CA_BUNDLE"] {
            self.deployment.set(setting, &file);
        }
        let url = self.deployment.unset("DATABASE_URL");
        let url = format!("{url}&sslrootcert={file}");
        self.deployment.set("DATABASE_URL", &url);
    }

    /// Loads, serves, and compares with the expected result.
    async fn load(&self) {
        let content = lines_with_bad_ones(1, 400, 200, 10);
        let expected = fold(&[&content]);
        self.deployment.put("a.jsonl", 0, &content);
        succeeded(finish(self.deployment.start("jetline-migrate")));
        let _writers = self.deployment.writers(2);
        succeeded(self.deployment.fetch());
        self.deployment.ledger.assert_holds(&expected).await;
        let (_api, address) = self.deployment.serve("jetline-api").await;
        let (_, id) = expected.rows.keys().next().unwrap();
        assert_eq!(http::get(address, &format!("/products/{id}"), &[]).await.unwrap().status, 200);
    }
}

fn identity(authority: &Authority) -> String {
    let (certificate, key) = authority.client().unwrap();
    format!("sslcert={}&sslkey={}", certificate.display(), key.display())
}

fn certified(authority: &Authority) -> ServerTls {
    authority.server().unwrap()
}

/// Asserts that a program fails with these texts in its output.
fn refused(deployment: &Deployment, program: &str, words: &[&str]) {
    let (content, output) = finish(deployment.start(program));
    assert!(!content, "{program}: {output}");
    for word in words {
        assert!(output.contains(word), "{program}, {word}: {output}");
    }
    assert!(!output.contains(SECRET), "{program}: {output}");
    assert!(!output.contains("panicked"), "{program}: {output}");
}

#[tokio::test]
async fn everything_is_loaded_over_tls_with_a_private_authority() {
    let mut secured = Secured::start("tls", certified).await;
    let file = secured.authority.file();
    secured.trust(&file);
    secured.load().await;
}

#[tokio::test]
async fn everything_is_loaded_over_tls_with_the_system_trust_store() {
    let mut secured = Secured::start("machine", certified).await;
    let file = secured.authority.file().display().to_string();
    // The system's trust store is read from this file.
    secured.deployment.set("SSL_CERT_FILE", &file);
    secured.load().await;
}

#[tokio::test]
async fn client_certificates_are_sent() {
    let tls = |authority: &Authority| certified(authority).for_certified_clients();
    let mut secured = Secured::start("clients", tls).await;
    let authority = secured.authority.file();
    secured.trust(&authority);
    refused(&secured.deployment, "jetline-writer", &["NATS_CERT_FILE"]);
    let (certificate, key) = secured.authority.client().unwrap();
    for (setting, file) in [
        ("NATS_CERT_FILE", &certificate),
        ("NATS_KEY_FILE", &key),
        ("REDIS_CERT_FILE", &certificate),
        ("REDIS_KEY_FILE", &key),
    ] {
        secured.deployment.set(setting, &file.display().to_string());
    }
    secured.load().await;
}

#[tokio::test]
async fn certificate_of_an_unknown_authority_is_refused_and_the_setting_named() {
    let mut secured = Secured::start("unknown", certified).await;
    // Every setting is an authority that has certified nothing, one of them with the right name.
    let stranger = Authority::new("stranger").unwrap();
    let double = Authority::new("ours").unwrap();
    let url = secured.deployment.unset("DATABASE_URL");
    let known = secured.authority.file().display().to_string();
    let unknown = "of a CA that is not trusted";
    for authority in [&stranger, &double] {
        let file = authority.file().display().to_string();
        for setting in ["NATS_CA_FILE", "REDIS_CA_FILE", "AWS_CA_BUNDLE"] {
            secured.deployment.set(setting, &file);
        }
        let wrong = format!("{url}&sslrootcert={file}");
        secured.deployment.set("DATABASE_URL", &wrong);
        let words = [unknown, "sslrootcert"];
        refused(&secured.deployment, "jetline-migrate", &words);
        // The api starts without its database, and reports why it is not ready.
        let (api, address) = secured.deployment.serve("jetline-api").await;
        assert_eq!(http::get(address, "/readyz", &[]).await.unwrap().status, 503);
        let output = api.output();
        assert!(output.contains(unknown), "{output}");
        assert!(output.contains("sslrootcert") && !output.contains(SECRET), "{output}");
        let right = format!("{url}&sslrootcert={known}");
        secured.deployment.set("DATABASE_URL", &right);
        let words = [unknown, "NATS_CA_FILE"];
        refused(&secured.deployment, "jetline-fetcher", &words);
        secured.deployment.set("NATS_CA_FILE", &known);
        let words = [unknown, "REDIS_CA_FILE"];
        refused(&secured.deployment, "jetline-writer", &words);
        let words = [unknown, "AWS_CA_BUNDLE"];
        refused(&secured.deployment, "jetline-fetcher", &words);
    }
}

#[tokio::test]
async fn certificate_for_another_host_is_refused() {
    let tls = |authority: &Authority| authority.server_named(&["elsewhere.example"]).unwrap();
    let mut secured = Secured::start("elsewhere", tls).await;
    let file = secured.authority.file().display().to_string();
    secured.deployment.set("SSL_CERT_FILE", &file);
    let another = "for another host";
    refused(&secured.deployment, "jetline-writer", &[another]);
    let url = secured.deployment.unset("DATABASE_URL");
    // Without verification of the name, the program may proceed to the next server.
    secured.deployment.set("DATABASE_URL", &url.replace("verify-full", "verify-ca"));
    refused(&secured.deployment, "jetline-writer", &[another, "NATS_URL"]);
}

#[tokio::test]
async fn server_without_tls_is_refused_if_tls_is_requested() {
    let mut deployment = Deployment::shared("plain").await;
    deployment.set("STARTUP_TIMEOUT", "10s");
    for (program, setting, from, to) in [
        ("jetline-writer", "NATS_URL", "nats://", "tls://"),
        ("jetline-writer", "REDIS_URL", "redis://", "rediss://"),
        ("jetline-fetcher", "AWS_ENDPOINT_URL", "http://", "https://"),
    ] {
        let right = deployment.unset(setting);
        deployment.set(setting, &right.replacen(from, to, 1));
        refused(&deployment, program, &[setting]);
        deployment.set(setting, &right);
    }
    let right = deployment.unset("DATABASE_URL");
    for mode in ["require", "verify-ca", "verify-full"] {
        deployment.set("DATABASE_URL", &format!("{right}?sslmode={mode}"));
        let words = ["does not support TLS", "sslmode"];
        for program in ["jetline-migrate", "jetline-fetcher", "jetline-writer"] {
            refused(&deployment, program, &words);
        }
    }
}

#[tokio::test]
async fn certificates_that_would_have_no_effect_are_refused() {
    let authority = Authority::new("ours").unwrap();
    let file = authority.file().display().to_string();
    let mut deployment = Deployment::shared("no_effect").await;
    deployment.set("STARTUP_TIMEOUT", "10s");
    deployment.set("REDIS_CA_FILE", &file);
    refused(&deployment, "jetline-writer", &["REDIS_CA_FILE", "rediss://"]);
    deployment.unset("REDIS_CA_FILE");
    // The URL does not request TLS, and the setting does.
    deployment.set("NATS_CA_FILE", &file);
    refused(&deployment, "jetline-writer", &["NATS_CA_FILE"]);
    deployment.unset("NATS_CA_FILE");
    for (program, setting) in
        [("jetline-writer", "NATS_CA_FILE"), ("jetline-fetcher", "AWS_CA_BUNDLE")]
    {
        deployment.set(setting, "/no/such/ca.pem");
        let message = format!("{setting}: cannot read /no/such/ca.pem");
        refused(&deployment, program, &[&message]);
        deployment.unset(setting);
    }
    let right = deployment.unset("DATABASE_URL");
    deployment.set("DATABASE_URL", &format!("{right}?sslrootcert={file}"));
    for program in ["jetline-writer", "jetline-api"] {
        refused(&deployment, program, &["sslrootcert", "verify-full"]);
    }
}
