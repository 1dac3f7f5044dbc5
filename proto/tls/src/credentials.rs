//! A process's certificate, key and trust, parsed and checked once.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::{Identity, IdentityError};
use crate::verify::{ExpectServer, KnownClient};
use crate::{ALPN, CA_FILE, CERTIFICATE_FILE, KEY_FILE};

/// A certificate chain with its private key, and the CA certificates that are
/// trusted. `Debug` never shows the key.
pub struct Credentials {
    identity: Identity,
    not_after: SystemTime,
    serial: String,
    key: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    server: Arc<ServerConfig>,
}

/// Which part of the credentials is unusable, by the name its file has in a
/// mounted Secret.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Text that should be PEM is not.
    #[error("{file} is not valid PEM")]
    Pem {
        /// `tls.crt`, `tls.key` or `ca.crt`.
        file: &'static str,
        /// What the parser met.
        source: pem::Error,
    },
    /// There is no `CERTIFICATE` section.
    #[error("{0} holds no certificate")]
    NoCertificate(&'static str),
    /// A certificate cannot be decoded.
    #[error("certificate {index} of {file} cannot be used: {message}")]
    BadCertificate {
        /// `tls.crt` or `ca.crt`.
        file: &'static str,
        /// Counted from 1, in the order of the file.
        index: usize,
        /// What the parser met.
        message: String,
    },
    /// The key is of a kind that cannot sign.
    #[error("the private key in {KEY_FILE} cannot be used")]
    BadKey(#[source] rustls::Error),
    /// The key is another certificate's.
    #[error("the private key in {KEY_FILE} does not belong to the first certificate of {CERTIFICATE_FILE}")]
    KeyMismatch(#[source] rustls::Error),
    /// The certificate is not one of Hearth's.
    #[error("the first certificate of {CERTIFICATE_FILE} names no identity")]
    Identity(#[source] IdentityError),
    /// TLS refuses the parts together.
    #[error("{CERTIFICATE_FILE}, {KEY_FILE} and {CA_FILE} cannot be used together: {0}")]
    Unusable(String),
}

impl Credentials {
    /// Parses the three PEM files of a Hearth TLS Secret: `tls.crt` (own
    /// certificate first, then intermediates), `tls.key`, and `ca.crt` (all of
    /// it is trusted: during a change of CA it holds the old and the new one).
    ///
    /// Does not judge whether the certificate is in force: that is the peer's
    /// business, by the peer's clock.
    ///
    /// # Errors
    /// Names the file, and what is wrong in it.
    pub fn from_pem(certificate: &[u8], key: &[u8], ca: &[u8]) -> Result<Self, CredentialsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates(CERTIFICATE_FILE, certificate)?;
        let Described { identity, not_after, serial } = describe(&chain[0])?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|source| CredentialsError::Pem { file: KEY_FILE, source })?;
        let key = provider.key_provider.load_private_key(key).map_err(CredentialsError::BadKey)?;
        let key = CertifiedKey::new(chain, key);
        key.keys_match().map_err(CredentialsError::KeyMismatch)?;
        let key = Arc::new(key);

        let mut roots = RootCertStore::empty();
        for (n, root) in certificates(CA_FILE, ca)?.into_iter().enumerate() {
            roots.add(root).map_err(|e| CredentialsError::BadCertificate {
                file: CA_FILE,
                index: n + 1,
                message: e.to_string(),
            })?;
        }
        let roots = Arc::new(roots);
        let server = Arc::new(server_config(provider, &key, &roots)?);
        Ok(Self { identity, not_after, serial, key, roots, server })
    }

    /// Whom our own certificate names.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// When our own certificate ends, as it says itself.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The serial number of our own certificate: lower-case hexadecimal digits.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The server's side: a client must show a certificate of our CA that names
    /// an identity.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }

    /// The client's side: the server must show a certificate of our CA for
    /// exactly this identity.
    ///
    /// # Errors
    /// When TLS refuses the parts together.
    pub fn client_config(&self, expected: &Identity) -> Result<ClientConfig, CredentialsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = Arc::new(
            ExpectServer::new(expected.clone(), self.roots.clone(), provider.clone())
                .map_err(|e| CredentialsError::Unusable(e.to_string()))?,
        );
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| CredentialsError::Unusable(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(self.key.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("identity", &self.identity)
            .field("not_after", &self.not_after)
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

fn server_config(
    provider: Arc<CryptoProvider>,
    key: &Arc<CertifiedKey>,
    roots: &Arc<RootCertStore>,
) -> Result<ServerConfig, CredentialsError> {
    let verifier = KnownClient::new(roots.clone(), provider.clone())
        .map_err(|e| CredentialsError::Unusable(e.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| CredentialsError::Unusable(e.to_string()))?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key.clone())));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn certificates(file: &'static str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let found = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| CredentialsError::Pem { file, source })?;
    if found.is_empty() { Err(CredentialsError::NoCertificate(file)) } else { Ok(found) }
}

struct Described {
    identity: Identity,
    not_after: SystemTime,
    serial: String,
}

fn describe(der: &CertificateDer<'_>) -> Result<Described, CredentialsError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|e| CredentialsError::BadCertificate {
        file: CERTIFICATE_FILE,
        index: 1,
        message: e.to_string(),
    })?;
    let identity = Identity::of_certificate(der).map_err(CredentialsError::Identity)?;
    let seconds = certificate.validity().not_after.timestamp();
    let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let serial = certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Described { identity, not_after, serial })
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::testing::TestCa;

    #[test]
    fn errors_name_the_file() {
        let ca = TestCa::new();
        let good = ca.issue(&Identity::Gateway);
        let other = ca.issue(&Identity::Gateway);
        let parse = |c: &str, k: &str, a: &str| {
            let error = Credentials::from_pem(c.as_bytes(), k.as_bytes(), a.as_bytes()).unwrap_err();
            error.to_string()
        };
        let (c, k, a) = (&good.certificate, &good.key, &good.ca);
        assert_eq!(parse("", k, a), "tls.crt holds no certificate");
        assert_eq!(parse(c, k, ""), "ca.crt holds no certificate");
        assert!(parse(c, "", a).starts_with("tls.key is not valid PEM"));
        assert!(parse("-----BEGIN CERTIFICATE-----\n!!\n", k, a).starts_with("tls.crt is not valid PEM"));
        assert!(parse(c, &other.key, a).contains("does not belong"));
        // The CA's own certificate names nobody.
        assert!(parse(a, k, a).contains("names no identity"));
    }

    #[test]
    fn tells_identity_and_end() {
        let credentials = TestCa::new().credentials(&Identity::Controller);
        assert_eq!(credentials.identity(), &Identity::Controller);
        assert!(credentials.not_after() > SystemTime::now());
        assert!(!format!("{credentials:?}").contains("key"));
        let other = TestCa::new().credentials(&Identity::Controller);
        assert!(credentials.serial().len() >= 8 && credentials.serial() != other.serial());
    }
}
