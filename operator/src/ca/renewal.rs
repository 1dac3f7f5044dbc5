//! When a certificate is due.

use std::time::{Duration, SystemTime};

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// The first moment.
    pub not_before: SystemTime,
    /// The last moment.
    pub not_after: SystemTime,
}

impl Life {
    /// Whether two thirds of its life are over, or it is not valid yet.
    pub fn is_due(&self, now: SystemTime) -> bool {
        now >= self.due_at() || now < self.not_before
    }

    /// When two thirds of its life are over.
    pub fn due_at(&self) -> SystemTime {
        let whole = self.not_after.duration_since(self.not_before).unwrap_or_default();
        self.not_before + whole * 2 / 3
    }
}

/// The life of the first certificate in a PEM text; `None` if there is none.
pub fn life_of(certificate_pem: &[u8]) -> Option<Life> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate_pem).ok()?;
    let certificate = pem.parse_x509().ok()?;
    let at = |time: x509_parser::time::ASN1Time| {
        u64::try_from(time.timestamp())
            .ok()
            .map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    };
    Some(Life {
        not_before: at(certificate.validity().not_before)?,
        not_after: at(certificate.validity().not_after)?,
    })
}
