//! A certificate authority for tests, and certificates for servers and clients on 127.0.0.1.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio_rustls::rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// An authority and its files, removed when it is dropped.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// The TLS configuration of a server.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// Its certificate, in PEM.
    pub certificate: String,
    /// The certificate's key, in PEM.
    pub key: String,
    /// The authority whose certificates its clients have, in PEM.
    pub authority: String,
    /// Whether clients must have one.
    pub ask_clients: bool,
}

/// The TLS files of a server.
pub(crate) struct ServerFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) authority: PathBuf,
}

impl Authority {
    /// A new authority.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("ca.pem"), issuer.pem())?;
        Ok(Self { issuer, folder })
    }

    /// The file of its certificate, for clients.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for a server on 127.0.0.1.
    pub fn server(&self) -> anyhow::Result<ServerTls> {
        self.server_named(&["127.0.0.1", "localhost"])
    }

    /// A certificate for a server with other names.
    pub fn server_named(&self, names: &[&str]) -> anyhow::Result<ServerTls> {
        let (certificate, key) = self.certify(names)?;
        Ok(ServerTls { certificate, key, authority: self.issuer.pem(), ask_clients: false })
    }

    /// The files of a certificate and its key for a client.
    pub fn client(&self) -> anyhow::Result<(PathBuf, PathBuf)> {
        let (certificate, key) = self.certify(&["client"])?;
        let files = ["client.pem", "client.key"].map(|name| self.folder.path().join(name));
        fs::write(&files[0], certificate)?;
        fs::write(&files[1], key)?;
        let [certificate, key] = files;
        Ok((certificate, key))
    }

    fn certify(&self, names: &[&str]) -> anyhow::Result<(String, String)> {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "jetline");
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

impl ServerTls {
    /// Requires client certificates of the authority.
    #[must_use]
    pub fn for_certified_clients(mut self) -> Self {
        self.ask_clients = true;
        self
    }

    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<ServerFiles> {
        let files = ServerFiles {
            certificate: folder.join("server.pem"),
            key: folder.join("server.key"),
            authority: folder.join("ca.pem"),
        };
        fs::write(&files.certificate, &self.certificate)?;
        fs::write(&files.key, &self.key)?;
        fs::write(&files.authority, &self.authority)?;
        Ok(files)
    }

    pub(crate) fn config(&self) -> anyhow::Result<ServerConfig> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())?;
        let config =
            ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key)?;
        Ok(config)
    }
}
