//! Hearth's own certificate authority.
//!
//! Every process of Hearth trusts this authority and nothing else. Its key
//! lives in one Secret, which the leading controller makes once and never
//! overwrites; leaf certificates are short-lived and renewed at two thirds of
//! their life.

mod authority;
mod bundle;
mod renewal;

pub use authority::{Authority, AuthorityError, Issued};
pub use bundle::{
    BundleError, CA_CERT, CA_KEY, LEAF_CA, LEAF_CERT, LEAF_KEY, authority_from, authority_secret_data,
    leaf_secret_data,
};
pub use renewal::{Life, life_of};

use std::time::Duration;

/// How long a leaf certificate is valid.
pub const LEAF_VALIDITY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the authority itself is valid: ten years.
pub const AUTHORITY_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Certificates start to be valid this long before they are made, because the
/// clocks of two nodes differ.
pub const BACKDATE: Duration = Duration::from_secs(60 * 60);
