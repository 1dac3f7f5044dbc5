//! The guard between a name and a dial: it sees every address before a socket does.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::Policy;

/// An address that the policy does not let us dial.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host} is at {address}, which is not a public address; \
     allow its network in the source policy if it is meant"
)]
pub struct ForbiddenAddress {
    /// The host of the URL.
    pub host: String,
    /// The address that it has.
    pub address: IpAddr,
}

/// Checks a URL whose host is written as an address: the client never resolves those.
pub(super) fn check_literal(policy: &Policy, url: &Url) -> Result<(), ForbiddenAddress> {
    let address: IpAddr = match url.host() {
        Some(Host::Ipv4(v4)) => v4.into(),
        Some(Host::Ipv6(v6)) => v6.into(),
        Some(Host::Domain(_)) | None => return Ok(()),
    };
    if policy.allows(address) {
        return Ok(());
    }
    Err(ForbiddenAddress { host: url.host_str().unwrap_or_default().to_owned(), address })
}

/// Resolves names by the system, and gives only addresses that may be dialled.
/// What was checked is what is dialled: nothing resolves the name again.
pub(super) struct Guard(pub(super) Arc<Policy>);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let allowed: Vec<_> = found.iter().copied().filter(|a| policy.allows(a.ip())).collect();
            if let (true, Some(refused)) = (allowed.is_empty(), found.first()) {
                return Err(ForbiddenAddress { host, address: refused.ip() }.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}
