//! The HTTP client, and the guard before it.

mod address;
mod client;
mod guard;

pub use address::{AddressClass, classify};
pub(crate) use client::{Answer, Get, Http};
pub use guard::ForbiddenAddress;
