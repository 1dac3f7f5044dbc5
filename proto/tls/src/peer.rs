//! Who sent a request, and whether they may.

use std::net::SocketAddr;

use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::identity::{Identity, Role};

/// The other end of a connection, as its certificate names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Whom the certificate names.
    pub identity: Identity,
    /// Where the connection comes from.
    pub address: SocketAddr,
}

/// Who sent a request that came in through [`Incoming`](crate::Incoming).
///
/// # Errors
/// `UNAUTHENTICATED` if the connection has no identity, because it is not TLS.
pub fn peer<T>(request: &Request<T>) -> Result<&Peer, Status> {
    request
        .extensions()
        .get::<Peer>()
        .ok_or_else(|| Status::unauthenticated("this call needs a client certificate"))
}

/// As [`peer`], for a call that only one role may make.
///
/// # Errors
/// `UNAUTHENTICATED` without an identity, `PERMISSION_DENIED` for another role.
pub fn require<T>(request: &Request<T>, role: Role) -> Result<&Peer, Status> {
    require_any(request, &[role])
}

fn require_any<'a, T>(request: &'a Request<T>, roles: &[Role]) -> Result<&'a Peer, Status> {
    let peer = peer(request)?;
    if roles.contains(&peer.identity.role()) {
        return Ok(peer);
    }
    let allowed: Vec<_> = roles.iter().map(|r| r.as_str()).collect();
    Err(Status::permission_denied(format!(
        "{} may not make this call; it is for: {}",
        peer.identity,
        allowed.join(", ")
    )))
}

/// An interceptor that lets only some roles reach a service.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    allowed: Option<&'static [Role]>,
}

impl Guard {
    /// Lets peers of these roles through.
    pub const fn roles(allowed: &'static [Role]) -> Self {
        Self { allowed: Some(allowed) }
    }

    /// Lets everybody through: for servers without TLS, on a person's own
    /// machine and in tests.
    pub const fn open() -> Self {
        Self { allowed: None }
    }
}

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(allowed) = self.allowed {
            require_any(&request, allowed)?;
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    fn from(identity: Option<Identity>) -> Request<()> {
        let mut request = Request::new(());
        if let Some(identity) = identity {
            request.extensions_mut().insert(Peer { identity, address: ([127, 0, 0, 1], 1).into() });
        }
        request
    }

    #[test]
    fn roles() {
        let mut guard = Guard::roles(&[Role::Controller]);
        assert!(guard.call(from(Some(Identity::Controller))).is_ok());
        let denied = guard.call(from(Some(Identity::Gateway))).unwrap_err();
        assert_eq!(denied.code(), Code::PermissionDenied);
        assert_eq!(denied.message(), "spiffe://hearth/gateway may not make this call; it is for: controller");
        assert_eq!(guard.call(from(None)).unwrap_err().code(), Code::Unauthenticated);
        assert!(Guard::open().call(from(None)).is_ok());
    }
}
