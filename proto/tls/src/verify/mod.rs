//! What is asked of a peer's certificate beyond a chain to our CA.

mod client;
mod server;

use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, Error, OtherError};

pub(crate) use client::KnownClient;
pub(crate) use server::ExpectServer;

use crate::identity::Identity;

/// The server holds a certificate of our CA, but another process's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, but {found} answered")]
pub struct WrongIdentity {
    /// Who was dialled.
    pub expected: Identity,
    /// Who answered.
    pub found: Identity,
}

impl WrongIdentity {
    /// Finds it in what a TLS stream failed with.
    pub(crate) fn within(error: &io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref::<Error>()? {
            Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                inner.downcast_ref::<Self>().cloned()
            }
            _ => None,
        }
    }
}

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

fn identity(certificate: &CertificateDer<'_>) -> Result<Identity, Error> {
    Identity::of_certificate(certificate).map_err(refused)
}
