//! TLS for all clients: certificates from files, and classification of handshake errors.

use std::{error::Error, fs, io, path::Path, sync::Arc};

use rustls::{
    AlertDescription, CertificateError, Error as TlsError,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Reads a file of certificates in PEM; `setting` is the setting with its path, for errors.
pub fn certificates(file: &Path, setting: &str) -> Result<Vec<u8>, String> {
    let pem = read(file, setting)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(pem),
        _ => Err(format!("{setting}: {} contains no certificates in PEM", file.display())),
    }
}

/// Reads a file of a setting, such as a private key.
pub fn read(file: &Path, setting: &str) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{setting}: cannot read {}: {error}", file.display()))
}

/// Why a TLS handshake failed, if the error is permanent.
#[must_use]
pub fn refusal(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<TlsError>() {
            return reason(error);
        }
        next = inner(error).or(error.source());
    }
    None
}

/// The wrapped error of these two types, which `source` does not return.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return Some(error.get_ref()? as &(dyn Error + 'static));
    }
    let shared = error.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    Some(shared.as_ref() as &(dyn Error + 'static))
}

fn reason(error: &TlsError) -> Option<String> {
    let reason = match error {
        // The signature does not verify if a CA of the same name has another key.
        TlsError::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => "the server's certificate is of a CA that is not trusted".to_owned(),
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the server's certificate is for another host".to_owned(),
        TlsError::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "the server's certificate has expired".to_owned(),
        TlsError::InvalidCertificate(error) => {
            format!("the server's certificate is not valid: {error}")
        }
        TlsError::InvalidMessage(_) => "the server does not use TLS on this port".to_owned(),
        TlsError::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::HandshakeFailure
            | AlertDescription::UnknownCA,
        ) => "the server requires another client certificate".to_owned(),
        _ => return None,
    };
    Some(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_is_found_within_io_errors() {
        let tls = TlsError::InvalidCertificate(CertificateError::UnknownIssuer);
        let error = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
        let reason = refusal(&error).unwrap();
        assert!(reason.contains("not trusted"), "{reason}");
        let passing = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(refusal(&passing), None);
    }

    #[test]
    fn file_without_certificates_is_reported_with_its_setting() {
        let folder = std::env::temp_dir();
        let missing = folder.join("jetline-no-such-file.pem");
        let error = certificates(&missing, "NATS_CA_FILE").unwrap_err();
        assert!(error.starts_with("NATS_CA_FILE: cannot read"), "{error}");
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let error = certificates(&manifest, "NATS_CA_FILE").unwrap_err();
        assert!(error.contains("contains no certificates"), "{error}");
    }
}
