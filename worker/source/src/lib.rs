//! Where model files come from: URIs, resolution, headers by range, verified downloads.
//!
//! - [`Uri`] is what a person writes; [`Sources::resolve`] turns it into a
//!   [`Resolved`] file: a location, a revision, a size and, where the source
//!   knows it, a digest;
//! - [`Sources::header`] reads the header of that file, a few megabytes, and
//!   gives a [`hearth_model::Model`];
//! - [`Store`] holds whole files by their digest and fetches what is missing.
//!
//! Any namespace may name a URL, so every address that is dialled goes through
//! [`Policy`] first.

mod budget;
mod digest;
mod error;
mod header;
mod net;
mod policy;
mod resolve;
mod store;
mod token;
mod uri;

pub use digest::{Digest, DigestError};
pub use error::{FetchError, HeaderFetchError, HttpError, ResolveError, SetupError};
pub use net::{AddressClass, ForbiddenAddress, classify};
pub use policy::Policy;
pub use resolve::{AUTO_ORDER, Location, Quantization, Resolved, Sources};
pub use store::{Blob, Collected, Progress, Retry, Store};
pub use token::Token;
pub use uri::{PlainHttp, Uri, UriError};
