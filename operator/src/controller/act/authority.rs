//! The authority's Secret, and the certificates that are signed with it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use hearth_tls::{Credentials, CredentialsError, Identity, Live};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tracing::info;

use crate::ca::{
    Authority, AuthorityError, BundleError, LEAF_CA, LEAF_CERT, LEAF_VALIDITY, Life, authority_from,
    authority_secret_data, leaf_secret_data, life_of,
};
use crate::controller::answer::answered;
use crate::controller::build::{AUTHORITY_SECRET, authority_secret, leaf_secret};

/// The authority, and our own certificate.
pub struct Certificates {
    authority: Authority,
    /// The data of the Secret that it was read from.
    read: BTreeMap<String, ByteString>,
    live: Live,
    life: Life,
}

/// Certificates could not be made or stored.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// The authority's Secret could not be read.
    #[error("reading Secret {AUTHORITY_SECRET}")]
    Read(#[source] kube::Error),
    /// The authority's Secret could not be made.
    #[error("making Secret {AUTHORITY_SECRET}")]
    Write(#[source] kube::Error),
    /// The authority's Secret does not hold one. It is never overwritten:
    /// machines trust what was in it.
    #[error(
        "reading the authority in Secret {AUTHORITY_SECRET}; restore the Secret, or delete it for a new authority"
    )]
    Bundle(#[from] BundleError),
    /// A certificate could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Our own certificate cannot be used.
    #[error("using the controller's own certificate")]
    Credentials(#[from] CredentialsError),
    /// Our own certificate has no end.
    #[error("the controller's own certificate cannot be read back")]
    NoLife,
}

impl Certificates {
    /// Takes the authority from its Secret, or makes both, and signs our own
    /// certificate.
    ///
    /// # Errors
    /// When the Secret cannot be read or made, or holds no authority.
    pub async fn open(client: &Client, namespace: &str) -> Result<Self, CertificatesError> {
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let read = match answered(api.get_opt(AUTHORITY_SECRET)).await.map_err(CertificatesError::Read)? {
            Some(secret) => secret.data.unwrap_or_default(),
            None => Self::create(&api, namespace).await?,
        };
        Self::of(read)
    }

    fn of(read: BTreeMap<String, ByteString>) -> Result<Self, CertificatesError> {
        let authority = authority_from(&read)?;
        let (credentials, life) = own(&authority)?;
        Ok(Self { authority, read, live: Live::new(credentials), life })
    }

    async fn create(
        api: &Api<Secret>,
        namespace: &str,
    ) -> Result<BTreeMap<String, ByteString>, CertificatesError> {
        let (authority, key) = Authority::generate(SystemTime::now())?;
        let data = authority_secret_data(&authority, &key);
        let secret = authority_secret(namespace, data.clone());
        match answered(api.create(&PostParams::default(), &secret)).await {
            Ok(_) => {
                info!("a new certificate authority was made");
                Ok(data)
            }
            // Somebody was faster: theirs is the one.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let secret = answered(api.get(AUTHORITY_SECRET)).await.map_err(CertificatesError::Read)?;
                Ok(secret.data.unwrap_or_default())
            }
            Err(error) => Err(CertificatesError::Write(error)),
        }
    }

    /// Our own certificate, as it is renewed.
    pub fn live(&self) -> Live {
        self.live.clone()
    }

    /// Takes over what the authority's Secret came to hold: another authority, or one
    /// more to trust. What signs stays the same without a Secret, and as long as the
    /// Secret holds none: machines trust it.
    ///
    /// # Errors
    /// When the Secret holds no authority. Said once for each thing that it holds.
    pub fn follow(&mut self, secret: Option<&Secret>) -> Result<(), CertificatesError> {
        let Some(data) = secret.and_then(|secret| secret.data.as_ref()) else { return Ok(()) };
        if *data == self.read {
            return Ok(());
        }
        self.read.clone_from(data);
        let authority = authority_from(data)?;
        let (credentials, life) = own(&authority)?;
        self.live.replace(credentials);
        (self.authority, self.life) = (authority, life);
        info!("the certificate authority was replaced");
        Ok(())
    }

    /// Signs our own certificate anew if it is due.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn renew_own(&mut self) -> Result<(), CertificatesError> {
        if self.life.is_due(SystemTime::now()) {
            let (credentials, life) = own(&self.authority)?;
            self.live.replace(credentials);
            self.life = life;
            info!("the controller's certificate was renewed");
        }
        Ok(())
    }

    /// The Secret with a process's certificate, if the one that is there is due,
    /// missing, of another authority, or another's than `owner`'s.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn leaf(
        &self,
        identity: &Identity,
        there: Option<&Secret>,
        namespace: &str,
        name: &str,
        labels: BTreeMap<String, String>,
        owner: &OwnerReference,
    ) -> Result<Option<Secret>, CertificatesError> {
        let now = SystemTime::now();
        let data = there.and_then(|secret| secret.data.as_ref());
        let trusts = |data: &BTreeMap<String, ByteString>| {
            data.get(LEAF_CA).is_some_and(|ca| ca.0 == self.authority.trust_pem().into_bytes())
        };
        let is_fresh = data.filter(|data| trusts(data)).and_then(life).is_some_and(|life| !life.is_due(now));
        let owners = there.and_then(|secret| secret.metadata.owner_references.as_deref());
        let is_owned = owners.unwrap_or_default().iter().any(|other| other.uid == owner.uid);
        if is_fresh && is_owned {
            return Ok(None);
        }
        let issued = self.authority.issue(identity, now, LEAF_VALIDITY)?;
        let data = leaf_secret_data(&self.authority, &issued);
        Ok(Some(leaf_secret(namespace, name, labels, data, owner)))
    }
}

/// When the certificate in a Secret ends.
pub fn expiry(secret: &Secret) -> Option<Timestamp> {
    Timestamp::try_from(life(secret.data.as_ref()?)?.not_after).ok()
}

fn life(data: &BTreeMap<String, ByteString>) -> Option<Life> {
    life_of(&data.get(LEAF_CERT)?.0)
}

fn own(authority: &Authority) -> Result<(Credentials, Life), CertificatesError> {
    let issued = authority.issue(&Identity::Controller, SystemTime::now(), LEAF_VALIDITY)?;
    let (certificate, key) = (issued.certificate_pem.as_bytes(), issued.key_pem.as_bytes());
    let life = life_of(certificate).ok_or(CertificatesError::NoLife)?;
    Ok((Credentials::from_pem(certificate, key, authority.trust_pem().as_bytes())?, life))
}

#[cfg(test)]
impl Certificates {
    /// Of an authority that lies nowhere.
    pub(super) fn invented() -> Self {
        let (authority, key) = Authority::generate(SystemTime::now()).unwrap();
        Self::of(authority_secret_data(&authority, &key)).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn certificates() -> Certificates {
        Certificates::invented()
    }

    #[test]
    fn a_certificate_is_signed_when_it_is_missing_due_or_of_another_authority() {
        let (certificates, another) = (certificates(), certificates());
        let leaf = |certificates: &Certificates, there: Option<&Secret>| {
            let owner = OwnerReference::default();
            certificates.leaf(&Identity::Gateway, there, "hearth", "tls", BTreeMap::new(), &owner).unwrap()
        };
        let fresh = leaf(&certificates, None).expect("missing");
        assert!(expiry(&fresh).unwrap() > Timestamp::now());
        assert!(leaf(&certificates, Some(&fresh)).is_none(), "fresh");
        assert!(leaf(&another, Some(&fresh)).is_some(), "of another authority");
        let mut left = fresh.clone();
        left.metadata.owner_references.as_mut().unwrap()[0].uid = "of an earlier Worker".to_owned();
        assert!(leaf(&certificates, Some(&left)).is_some(), "it goes with another owner");
        let long_ago = SystemTime::now() - LEAF_VALIDITY;
        let issued = certificates.authority.issue(&Identity::Gateway, long_ago, LEAF_VALIDITY).unwrap();
        let data = leaf_secret_data(&certificates.authority, &issued);
        let due = Secret { data: Some(data), ..fresh };
        assert!(leaf(&certificates, Some(&due)).is_some(), "due");
    }

    #[test]
    fn another_authority_is_taken_over_and_none_is_not() {
        let (mut ours, theirs) = (certificates(), certificates());
        let secret =
            |data: &BTreeMap<String, ByteString>| Secret { data: Some(data.clone()), ..Secret::default() };
        let before = ours.live().current();
        ours.follow(None).unwrap();
        ours.follow(Some(&secret(&ours.read.clone()))).unwrap();
        let damaged = secret(&BTreeMap::new());
        assert!(ours.follow(Some(&damaged)).is_err());
        assert!(ours.follow(Some(&damaged)).is_ok(), "it was said");
        assert!(Arc::ptr_eq(&before, &ours.live().current()), "nothing is signed anew");
        ours.follow(Some(&secret(&theirs.read))).unwrap();
        assert_eq!(ours.authority.trust_pem(), theirs.authority.trust_pem());
        assert!(!Arc::ptr_eq(&before, &ours.live().current()), "our own is of the same authority");
    }
}
