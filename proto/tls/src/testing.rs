//! A throw-away CA, for tests.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::credentials::Credentials;
use crate::identity::Identity;
use crate::live::Live;
use crate::{CA_FILE, CERTIFICATE_FILE, KEY_FILE};

/// A CA that lives for one test. Panics where a real one would return errors.
pub struct TestCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// The three files of a TLS Secret.
#[derive(Clone, Debug)]
pub struct Pem {
    /// `tls.crt`
    pub certificate: String,
    /// `tls.key`
    pub key: String,
    /// `ca.crt`
    pub ca: String,
}

impl Pem {
    /// Writes the three files.
    pub fn write(&self, dir: &std::path::Path) {
        for (file, text) in
            [(CERTIFICATE_FILE, &self.certificate), (KEY_FILE, &self.key), (CA_FILE, &self.ca)]
        {
            std::fs::write(dir.join(file), text).expect("a writable directory");
        }
    }

    /// Parses the three files.
    pub fn credentials(&self) -> Credentials {
        Credentials::from_pem(self.certificate.as_bytes(), self.key.as_bytes(), self.ca.as_bytes())
            .expect("usable credentials")
    }
}

impl Default for TestCa {
    fn default() -> Self {
        Self::new()
    }
}

impl TestCa {
    /// A CA with a key of its own.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "a CA for tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("a CA certificate") }
    }

    /// The CA's certificate.
    pub fn ca(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate that names `identity`, in force for years.
    pub fn issue(&self, identity: &Identity) -> Pem {
        self.issue_with(identity, |_| {})
    }

    /// As [`TestCa::issue`], with a last word on what the certificate says.
    pub fn issue_with(&self, identity: &Identity, change: impl FnOnce(&mut CertificateParams)) -> Pem {
        let mut params = CertificateParams::new(vec![identity.dns_name()]).expect("a valid DNS name");
        params.distinguished_name.push(DnType::CommonName, identity.role().as_str());
        params.subject_alt_names.push(SanType::URI(identity.uri().try_into().expect("an ASCII URI")));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pem { certificate: certificate.pem(), key: key.serialize_pem(), ca: self.ca() }
    }

    /// Parsed credentials for `identity`.
    pub fn credentials(&self, identity: &Identity) -> Credentials {
        self.issue(identity).credentials()
    }

    /// Live credentials for `identity`.
    pub fn live(&self, identity: &Identity) -> Live {
        Live::new(self.credentials(identity))
    }
}
