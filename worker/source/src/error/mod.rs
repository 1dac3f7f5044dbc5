//! What can go wrong between a URI and a file. Each error says whether trying
//! again with the same input can help, and has a word for a condition's reason.

mod fetch;
mod http;
mod resolve;

use std::path::PathBuf;

pub use fetch::{FetchError, HeaderFetchError};
pub use http::HttpError;
pub use resolve::ResolveError;
use url::Url;

/// A URL for messages: without query, which may hold a signature, and without the
/// password that a redirect may carry.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // A URL that cannot have them has none.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.into()
}

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The extra certificates cannot be used.
    #[error("the CA file {path}: {why}; it must hold PEM certificates")]
    ExtraCa {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("setting up TLS")]
    Tls(#[source] rustls::Error),
    /// The HTTP client cannot be set up.
    #[error("setting up the HTTP client")]
    Client(#[source] reqwest::Error),
}
