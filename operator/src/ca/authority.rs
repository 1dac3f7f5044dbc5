//! Making the authority and signing leaves with it.

use std::time::{Duration, SystemTime};

use hearth_tls::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};

use super::{AUTHORITY_VALIDITY, BACKDATE};

/// A certificate authority that can sign.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    /// Certificates that peers must trust as well while one authority follows
    /// another.
    also_trusted_pem: String,
}

/// A leaf certificate with its key.
pub struct Issued {
    /// PEM, the leaf alone: peers have the authority.
    pub certificate_pem: String,
    /// PEM, PKCS #8.
    pub key_pem: String,
}

/// The authority could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A key could not be generated.
    #[error("generating a key")]
    Key(#[source] rcgen::Error),
    /// The authority's own certificate could not be made.
    #[error("making the authority's certificate")]
    Authority(#[source] rcgen::Error),
    /// The stored authority cannot be read.
    #[error("reading the stored authority")]
    Stored(#[source] rcgen::Error),
    /// A leaf could not be signed.
    #[error("signing a certificate for {identity}")]
    Leaf {
        /// Whose certificate.
        identity: String,
        /// What the signer says.
        #[source]
        source: rcgen::Error,
    },
}

impl Authority {
    /// A new authority, valid for ten years from `now`, and its key as PEM.
    ///
    /// # Errors
    /// When the system has no randomness to make a key from.
    pub fn generate(now: SystemTime) -> Result<(Self, String), AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Key)?;
        let key_pem = key.serialize_pem();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Hearth authority");
        params.not_before = (now - BACKDATE).into();
        params.not_after = (now + AUTHORITY_VALIDITY).into();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(AuthorityError::Authority)?;
        let certificate_pem = certificate.pem();
        let issuer = Issuer::new(params, key);
        Ok((Self { issuer, certificate_pem, also_trusted_pem: String::new() }, key_pem))
    }

    /// The authority that was stored as PEM. `certificates` may hold several:
    /// the first signs, the others are trusted too.
    ///
    /// # Errors
    /// When the PEM is not a certificate or not a key.
    pub fn from_pem(certificates: &str, key: &str) -> Result<Self, AuthorityError> {
        let (first, rest) = split_first_pem(certificates);
        let key = KeyPair::from_pem(key).map_err(AuthorityError::Stored)?;
        let issuer = Issuer::from_ca_cert_pem(first, key).map_err(AuthorityError::Stored)?;
        Ok(Self { issuer, certificate_pem: first.to_owned(), also_trusted_pem: rest.to_owned() })
    }

    /// What peers must trust, as PEM.
    pub fn trust_pem(&self) -> String {
        format!("{}{}", self.certificate_pem, self.also_trusted_pem)
    }

    /// A new key and a certificate for `identity`, valid for `validity` from `now`.
    ///
    /// # Errors
    /// When no key can be made or the identity's names are no valid names.
    pub fn issue(
        &self,
        identity: &Identity,
        now: SystemTime,
        validity: Duration,
    ) -> Result<Issued, AuthorityError> {
        let leaf = |source| AuthorityError::Leaf { identity: identity.to_string(), source };
        let key = KeyPair::generate().map_err(AuthorityError::Key)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Hearth");
        params.not_before = (now - BACKDATE).into();
        params.not_after = (now + validity).into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names = vec![
            SanType::URI(identity.uri().try_into().map_err(leaf)?),
            SanType::DnsName(identity.dns_name().try_into().map_err(leaf)?),
        ];
        let certificate = params.signed_by(&key, &self.issuer).map_err(leaf)?;
        Ok(Issued { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

/// The first PEM block, and what follows it.
fn split_first_pem(text: &str) -> (&str, &str) {
    const END: &str = "-----END CERTIFICATE-----";
    match text.find(END) {
        Some(at) => {
            let end = at + END.len();
            let end = end + text[end..].find('-').unwrap_or(text.len() - end);
            text.split_at(end)
        }
        None => (text, ""),
    }
}
