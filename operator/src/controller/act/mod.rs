//! Act: makes it so. Holds the client that writes.

mod authority;
mod children;
mod hands;

pub use authority::{Certificates, CertificatesError, expiry};
pub use children::{ActError, act};
pub use hands::Hands;
