//! One GET: guarded, redirected by hand, with typed failures.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, IF_RANGE, LOCATION, RANGE};
use http::{HeaderMap, StatusCode};
use reqwest::Response;
use url::Url;

use super::guard::{Guard, check_literal};
use crate::error::shown;
use crate::uri::PlainHttp;
use crate::{HttpError, Policy, SetupError, Token};

/// Redirects that are followed; a hub needs two.
const MAX_REDIRECTS: usize = 8;

/// A dial that takes longer leads nowhere.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server that sends nothing for this long is gone.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A GET request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Get<'a> {
    pub(crate) url: &'a Url,
    pub(crate) token: Option<&'a Token>,
    /// First byte and, where not to the end, last byte.
    pub(crate) range: Option<(u64, Option<u64>)>,
    /// Send the range only if this is still the file's ETag.
    pub(crate) if_range: Option<&'a str>,
}

impl<'a> Get<'a> {
    pub(crate) fn new(url: &'a Url, token: Option<&'a Token>) -> Self {
        Self { url, token, range: None, if_range: None }
    }

    pub(crate) fn range(self, first: u64, last: Option<u64>) -> Self {
        Self { range: Some((first, last)), ..self }
    }
}

/// A successful response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// The headers of the redirects before it: a hub describes the file there.
    pub(crate) redirects: Vec<HeaderMap>,
}

impl Answer {
    /// A header of the first response that has it.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.redirects.iter().chain([self.response.headers()]);
        all.filter_map(|h| h.get(name)).find_map(|v| v.to_str().ok())
    }

    /// A header of the last response.
    pub(crate) fn last_header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).and_then(|v| v.to_str().ok())
    }

    /// First byte and size of the whole, from `Content-Range: bytes 5-9/10`.
    pub(crate) fn content_range(&self) -> Option<(u64, Option<u64>)> {
        let (range, total) = self.last_header("content-range")?.strip_prefix("bytes ")?.split_once('/')?;
        let first = range.split_once('-')?.0.trim().parse().ok()?;
        Some((first, total.trim().parse().ok()))
    }
}

/// The client. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    policy: Arc<Policy>,
}

impl Http {
    pub(crate) fn new(policy: Arc<Policy>) -> Result<Self, SetupError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(&policy)?)
            // A download fills a connection: one each, without HTTP/2's windows.
            .http1_only()
            // A proxy would resolve names where the guard cannot see them.
            .no_proxy()
            .dns_resolver(Guard(Arc::clone(&policy)))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("hearth/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(SetupError::Client)?;
        Ok(Self { client, policy })
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Sends a request and follows redirects. The token goes to the origin of the
    /// first URL and nowhere else.
    pub(crate) async fn get(&self, get: Get<'_>) -> Result<Answer, HttpError> {
        let origin = get.url.origin();
        let mut url = get.url.clone();
        let mut redirects = Vec::new();
        loop {
            self.check(&url)?;
            let mut request = self.client.get(url.clone()).header(ACCEPT_ENCODING, "identity");
            if let Some((first, last)) = get.range {
                let last = last.map(|n| n.to_string()).unwrap_or_default();
                request = request.header(RANGE, format!("bytes={first}-{last}"));
            }
            if let Some(etag) = get.if_range {
                request = request.header(IF_RANGE, etag);
            }
            if let Some(token) = get.token.filter(|_| url.origin() == origin) {
                // Marks the value as sensitive, so that no layer below prints it.
                request = request.bearer_auth(token.reveal());
            }
            let response = request.send().await.map_err(|e| HttpError::from_reqwest(&url, e))?;
            let status = response.status();
            if status.is_success() {
                return Ok(Answer { response, redirects });
            }
            let next = response.headers().get(LOCATION).and_then(|v| v.to_str().ok());
            let Some(next) = next.filter(|_| status.is_redirection()) else {
                return Err(refusal(&url, status));
            };
            if redirects.len() == MAX_REDIRECTS {
                return Err(HttpError::TooManyRedirects { url: shown(get.url), allowed: MAX_REDIRECTS });
            }
            let refused = |to: &str| {
                let to = to.chars().take(200).collect();
                HttpError::BadRedirect { url: shown(&url), to }
            };
            let before_query = |to: &str| to.split(['?', '#']).next().unwrap_or_default().to_owned();
            let next = url.join(next).map_err(|_| refused(&before_query(next)))?;
            // Never from TLS to plain text, whatever the policy.
            if next.scheme() != "https" && (url.scheme() == "https" || next.scheme() != "http") {
                return Err(refused(&shown(&next)));
            }
            redirects.push(response.headers().clone());
            url = next;
        }
    }

    fn check(&self, url: &Url) -> Result<(), HttpError> {
        let plain = self.policy.plain_http == PlainHttp::Allow;
        if url.scheme() != "https" && !(plain && url.scheme() == "http") {
            return Err(HttpError::PlainHttp { url: shown(url) });
        }
        check_literal(&self.policy, url).map_err(|e| HttpError::Forbidden { url: shown(url), source: e })
    }
}

fn refusal(url: &Url, status: StatusCode) -> HttpError {
    let url = shown(url);
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => HttpError::NotFound { url, status },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => HttpError::Unauthorized { url, status },
        StatusCode::RANGE_NOT_SATISFIABLE => HttpError::RangeNotSatisfiable { url },
        status => HttpError::Status { url, status },
    }
}

fn tls(policy: &Policy) -> Result<rustls::ClientConfig, SetupError> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    // A container image has no trust store of its own that we could rely on.
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = &policy.extra_ca {
        let refused = |why: String| SetupError::ExtraCa { path: path.clone(), why };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|e| refused(e.to_string()))?;
        let mut added = 0;
        for certificate in certificates {
            roots
                .add(certificate.map_err(|e| refused(e.to_string()))?)
                .map_err(|e| refused(e.to_string()))?;
            added += 1;
        }
        if added == 0 {
            return Err(refused("there is no certificate in it".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(SetupError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
