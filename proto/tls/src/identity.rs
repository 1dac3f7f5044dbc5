//! Who a process is.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::{CertificateDer, DnsName, ServerName};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

const URI_PREFIX: &str = "spiffe://hearth/";
const DNS_SUFFIX: &str = "hearth.internal";
/// The longest DNS name, less `.worker.hearth.internal`.
const LONGEST_WORKER_NAME: usize = 253 - ".worker.".len() - DNS_SUFFIX.len();

/// What a process is allowed to be and to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Decides what runs where.
    Controller,
    /// Carries the requests of clients.
    Gateway,
    /// Serves models on one machine.
    Worker,
}

impl Role {
    /// The role as certificates spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Gateway => "gateway",
            Self::Worker => "worker",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name that a certificate gives to its holder.
///
/// Written as a URI (`spiffe://hearth/worker/box`) in the certificate's subject
/// alternative names, next to the DNS name by which TLS checks a server
/// (`box.worker.hearth.internal`). `Display` and `FromStr` use the URI.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The controller; replicas of it share the name.
    Controller,
    /// The gateway; replicas of it share the name.
    Gateway,
    /// The worker of this name. Make it with [`Identity::worker`], which checks
    /// the name.
    Worker(WorkerName),
}

/// A worker's name, known to be a valid DNS subdomain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkerName(String);

impl WorkerName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text or a certificate names no [`Identity`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The URI begins with something other than `spiffe://hearth/`.
    #[error("{0:?} does not begin with {URI_PREFIX:?}")]
    Foreign(String),
    /// The role is none of ours.
    #[error("{0:?} names no role; known are controller, gateway and worker/<name>")]
    UnknownRole(String),
    /// The worker's name could not be a Kubernetes object's name.
    #[error(
        "{0:?} is no worker name: 1 to {LONGEST_WORKER_NAME} of a-z, 0-9, '-' and '.', each part beginning and ending with a letter or digit"
    )]
    BadName(String),
    /// The bytes are not an X.509 certificate.
    #[error("the certificate cannot be read: {0}")]
    BadCertificate(String),
    /// The certificate has no URI of ours.
    #[error("the certificate has no {URI_PREFIX} URI among its subject alternative names")]
    Absent,
    /// The certificate has several of our URIs, so that it names nobody.
    #[error("the certificate names more than one identity")]
    Several,
}

impl Identity {
    /// The worker of this name.
    ///
    /// # Errors
    /// [`IdentityError::BadName`] if it is not a lower-case DNS subdomain.
    pub fn worker(name: &str) -> Result<Self, IdentityError> {
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        };
        if name.len() > LONGEST_WORKER_NAME || !name.split('.').all(label) {
            return Err(IdentityError::BadName(name.to_owned()));
        }
        Ok(Self::Worker(WorkerName(name.to_owned())))
    }

    /// The role that comes with the name.
    pub const fn role(&self) -> Role {
        match self {
            Self::Controller => Role::Controller,
            Self::Gateway => Role::Gateway,
            Self::Worker(_) => Role::Worker,
        }
    }

    /// The URI for a certificate's subject alternative names.
    pub fn uri(&self) -> String {
        self.to_string()
    }

    /// The DNS name for a certificate's subject alternative names.
    pub fn dns_name(&self) -> String {
        match self {
            Self::Controller | Self::Gateway => format!("{}.{DNS_SUFFIX}", self.role()),
            Self::Worker(WorkerName(name)) => format!("{name}.worker.{DNS_SUFFIX}"),
        }
    }

    /// The DNS name as TLS wants it.
    pub(crate) fn server_name(&self) -> ServerName<'static> {
        // Names are checked when an identity is made, so this cannot fail.
        ServerName::DnsName(DnsName::try_from(self.dns_name()).expect("an identity has a valid DNS name"))
    }

    /// Reads the one identity out of a certificate.
    ///
    /// # Errors
    /// When the certificate cannot be read, or names no identity or several.
    pub fn of_certificate(der: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|e| IdentityError::BadCertificate(e.to_string()))?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|e| IdentityError::BadCertificate(e.to_string()))?
            .ok_or(IdentityError::Absent)?;
        let mut ours = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) if uri.starts_with(URI_PREFIX) => Some(*uri),
            _ => None,
        });
        let uri = ours.next().ok_or(IdentityError::Absent)?;
        if ours.next().is_some() {
            return Err(IdentityError::Several);
        }
        uri.parse()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{URI_PREFIX}{}", self.role())?;
        match self {
            Self::Controller | Self::Gateway => Ok(()),
            Self::Worker(WorkerName(name)) => write!(f, "/{name}"),
        }
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(uri: &str) -> Result<Self, IdentityError> {
        let path = uri.strip_prefix(URI_PREFIX).ok_or_else(|| IdentityError::Foreign(uri.to_owned()))?;
        match path.split_once('/') {
            None if path == Role::Controller.as_str() => Ok(Self::Controller),
            None if path == Role::Gateway.as_str() => Ok(Self::Gateway),
            Some((role, name)) if role == Role::Worker.as_str() => Self::worker(name),
            _ => Err(IdentityError::UnknownRole(path.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uri_round_trip() {
        for identity in [
            Identity::Controller,
            Identity::Gateway,
            Identity::worker("box").unwrap(),
            Identity::worker("node-1.example.com").unwrap(),
        ] {
            assert_eq!(identity.uri().parse::<Identity>(), Ok(identity.clone()));
            identity.server_name();
        }
    }

    #[test]
    fn names() {
        assert_eq!(Identity::Controller.dns_name(), "controller.hearth.internal");
        let worker = Identity::worker("box").unwrap();
        assert_eq!(worker.uri(), "spiffe://hearth/worker/box");
        assert_eq!(worker.dns_name(), "box.worker.hearth.internal");
    }

    #[test]
    fn longest_name_still_makes_a_dns_name() {
        let label = "a".repeat(63);
        let name = format!("{label}.{label}.{label}.{}", "a".repeat(LONGEST_WORKER_NAME - 192));
        assert_eq!(name.len(), LONGEST_WORKER_NAME);
        Identity::worker(&name).unwrap().server_name();
        assert!(Identity::worker(&format!("{name}a")).is_err());
    }

    #[test]
    fn refused() {
        use IdentityError::{BadName, Foreign, UnknownRole};
        let parse = |s: &str| s.parse::<Identity>().unwrap_err();
        assert!(matches!(parse("spiffe://other/controller"), Foreign(_)));
        assert!(matches!(parse(""), Foreign(_)));
        assert!(matches!(parse("spiffe://hearth/"), UnknownRole(_)));
        assert!(matches!(parse("spiffe://hearth/worker"), UnknownRole(_)));
        assert!(matches!(parse("spiffe://hearth/controller/x"), UnknownRole(_)));
        for name in ["", "UPPER", "a..b", "-a", "a-", "a/b", "ä", "a b", &"x".repeat(64)] {
            assert!(matches!(parse(&format!("spiffe://hearth/worker/{name}")), BadName(_)), "{name:?}");
        }
    }
}
