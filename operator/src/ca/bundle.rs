//! The authority and its leaves as the data of Secrets.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;

use super::{Authority, AuthorityError, Issued};

/// Key of the authority's certificates in its Secret.
pub const CA_CERT: &str = "tls.crt";
/// Key of the authority's private key in its Secret.
pub const CA_KEY: &str = "tls.key";
/// Key of a leaf's certificate in its Secret.
pub const LEAF_CERT: &str = "tls.crt";
/// Key of a leaf's private key in its Secret.
pub const LEAF_KEY: &str = "tls.key";
/// Key, in a leaf's Secret, of the certificates it must trust.
pub const LEAF_CA: &str = "ca.crt";

/// The Secret of the authority does not hold one.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A key is missing.
    #[error("the Secret has no key {0:?}")]
    Missing(&'static str),
    /// A value is not text.
    #[error("the Secret's {0:?} is not PEM text")]
    NotText(&'static str),
    /// The text is no authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// The data of the authority's Secret.
pub fn authority_secret_data(authority: &Authority, key_pem: &str) -> BTreeMap<String, ByteString> {
    data([(CA_CERT, authority.trust_pem().as_str()), (CA_KEY, key_pem)])
}

/// The authority in the data of its Secret.
///
/// # Errors
/// When a key is missing or is not what it should be.
pub fn authority_from(data: &BTreeMap<String, ByteString>) -> Result<Authority, BundleError> {
    let text = |key: &'static str| {
        let bytes = &data.get(key).ok_or(BundleError::Missing(key))?.0;
        std::str::from_utf8(bytes).map_err(|_| BundleError::NotText(key))
    };
    Ok(Authority::from_pem(text(CA_CERT)?, text(CA_KEY)?)?)
}

/// The data of a leaf's Secret.
pub fn leaf_secret_data(authority: &Authority, leaf: &Issued) -> BTreeMap<String, ByteString> {
    data([
        (LEAF_CERT, leaf.certificate_pem.as_str()),
        (LEAF_KEY, leaf.key_pem.as_str()),
        (LEAF_CA, authority.trust_pem().as_str()),
    ])
}

fn data<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, ByteString> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec()))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use hearth_tls::Identity;

    use super::super::{BACKDATE, LEAF_VALIDITY, life_of};
    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn an_authority_survives_its_secret() {
        let (made, key) = Authority::generate(now()).unwrap();
        let stored = authority_secret_data(&made, &key);
        let read = authority_from(&stored).unwrap();
        assert_eq!(read.trust_pem(), made.trust_pem());
        let leaf = read.issue(&Identity::Gateway, now(), LEAF_VALIDITY).unwrap();
        let data = leaf_secret_data(&read, &leaf);
        assert_eq!(data[LEAF_CA].0, made.trust_pem().into_bytes());
    }

    #[test]
    fn a_second_authority_in_the_bundle_is_trusted_but_does_not_sign() {
        let (old, _) = Authority::generate(now()).unwrap();
        let (new, key) = Authority::generate(now()).unwrap();
        let both = format!("{}{}", new.trust_pem(), old.trust_pem());
        let read = Authority::from_pem(&both, &key).unwrap();
        assert_eq!(read.trust_pem(), both);
        assert!(read.issue(&Identity::Controller, now(), LEAF_VALIDITY).is_ok());
    }

    #[test]
    fn a_leaf_is_due_at_two_thirds_of_its_life() {
        let (authority, _) = Authority::generate(now()).unwrap();
        let leaf = authority.issue(&Identity::Controller, now(), LEAF_VALIDITY).unwrap();
        let life = life_of(leaf.certificate_pem.as_bytes()).unwrap();
        assert_eq!(life.not_before, now() - BACKDATE);
        assert_eq!(life.not_after, now() + LEAF_VALIDITY);
        let due = now() - BACKDATE + (LEAF_VALIDITY + BACKDATE) * 2 / 3;
        assert!(!life.is_due(due - Duration::from_secs(1)));
        assert!(life.is_due(due));
        assert!(life.is_due(now() - BACKDATE * 2), "a clock far behind makes it due, too");
    }

    #[test]
    fn a_broken_secret_says_which_key() {
        let empty = BTreeMap::new();
        assert!(matches!(authority_from(&empty), Err(BundleError::Missing("tls.crt"))));
        let garbage = data([(CA_CERT, "no"), (CA_KEY, "no")]);
        assert!(matches!(authority_from(&garbage), Err(BundleError::Authority(AuthorityError::Stored(_)))));
        assert!(life_of(b"no").is_none());
    }
}
