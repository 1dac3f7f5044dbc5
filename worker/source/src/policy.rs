//! What may be dialled, and with which trust.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use url::Url;

use crate::net::{AddressClass, classify};
use crate::uri::PlainHttp;

/// What sources may be reached. The default is what is safe when any namespace
/// may name any URL: public addresses, over TLS, as the Mozilla roots vouch.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether `http://` may be used.
    pub plain_http: PlainHttp,
    /// Whether private, loopback and unique-local addresses may be dialled.
    /// Link-local ones (where clouds serve credentials) still may not.
    pub allow_private: bool,
    /// Networks that may be dialled whatever else is said.
    pub allowed: Vec<IpNet>,
    /// A PEM file of certificates to trust besides the Mozilla roots.
    pub extra_ca: Option<PathBuf>,
    /// Where `hf://` looks: the hub or a mirror of it.
    pub hub: Url,
    /// The folder under which claims are mounted, each under its name.
    pub claims: PathBuf,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            plain_http: PlainHttp::Refuse,
            allow_private: false,
            allowed: Vec::new(),
            extra_ca: None,
            hub: hub(),
            claims: PathBuf::from("/claims"),
        }
    }
}

fn hub() -> Url {
    // A constant, which the tests parse.
    #[allow(clippy::expect_used)]
    Url::parse("https://huggingface.co/").expect("a constant URL")
}

impl Policy {
    /// Whether an address may be dialled.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        if self.allowed.iter().any(|net| net.contains(&address)) {
            return true;
        }
        match classify(address) {
            AddressClass::Public => true,
            AddressClass::Private => self.allow_private,
            AddressClass::LinkLocal | AddressClass::Reserved => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(s: &str) -> IpAddr {
        s.parse().unwrap()
    }

    #[test]
    fn the_default_dials_only_public_addresses() {
        let policy = Policy::default();
        assert!(policy.allows(ip("1.1.1.1")));
        for bad in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00:ec2::254", "::ffff:10.0.0.1"] {
            assert!(!policy.allows(ip(bad)), "{bad}");
        }
    }

    #[test]
    fn private_does_not_mean_link_local_but_a_named_network_does() {
        let private = Policy { allow_private: true, ..Policy::default() };
        assert!(private.allows(ip("10.0.0.1")) && private.allows(ip("127.0.0.1")));
        assert!(!private.allows(ip("169.254.169.254")));
        let named = Policy { allowed: vec!["169.254.0.0/16".parse().unwrap()], ..Policy::default() };
        assert!(named.allows(ip("169.254.169.254")) && !named.allows(ip("10.0.0.1")));
    }
}
