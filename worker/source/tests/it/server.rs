//! A hub of one repository, `owner/repo`, on 127.0.0.1 with a certificate of its
//! own CA.

use std::collections::VecDeque;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::stream;
use hearth_source::{Digest, Policy, Sources};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the next request for bytes meets; when there is none, [`Answer::Normal`].
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Normal,
    /// The connection is cut after this many bytes.
    CutAfter(usize),
    /// The whole, whatever range was asked for.
    IgnoreRange,
    /// These bytes, under the same headers.
    Wrong(Bytes),
    Status(StatusCode),
    /// A redirect to there.
    Redirect(String),
}

/// A request that was seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) if_range: Option<String>,
    pub(crate) authorization: Option<String>,
}

#[derive(Debug, Default)]
struct Inner {
    files: Vec<(String, Bytes)>,
    answers: VecDeque<Answer>,
    seen: Vec<Seen>,
    token: Option<String>,
    etag: Option<String>,
    linked_size: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Hub {
    inner: Arc<Mutex<Inner>>,
    pub(crate) address: SocketAddr,
    ca: Arc<tempfile::NamedTempFile>,
}

impl Hub {
    /// A hub with one file.
    pub(crate) async fn with(name: &str, bytes: impl Into<Bytes>) -> Self {
        let hub = Self::start().await;
        hub.add(name, bytes);
        hub
    }

    pub(crate) async fn start() -> Self {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer_certificate = params.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(params, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let leaf = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let mut ca = tempfile::NamedTempFile::new().unwrap();
        ca.write_all(issuer_certificate.pem().as_bytes()).unwrap();

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key.serialize_der().try_into().unwrap())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hub = Self { inner: Arc::default(), address: listener.local_addr().unwrap(), ca: Arc::new(ca) };
        let app = hub.routes();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(app.clone()));
                tokio::spawn(async move {
                    // A client that goes away is part of the tests.
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        hub
    }

    fn routes(&self) -> Router {
        Router::new()
            .route("/api/models/owner/repo/revision/{revision}", get(revision))
            .route("/api/models/owner/repo/tree/{commit}", get(tree))
            .route("/owner/repo/resolve/{commit}/{*path}", get(linked))
            .route("/files/{*path}", get(bytes))
            .with_state(self.clone())
    }

    pub(crate) fn add(&self, name: &str, bytes: impl Into<Bytes>) {
        self.lock().files.push((name.to_owned(), bytes.into()));
    }

    pub(crate) fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.lock().answers.extend(answers);
    }

    pub(crate) fn require_token(&self, token: &str) {
        self.lock().token = Some(format!("Bearer {token}"));
    }

    /// Sets the ETag of every file; `None` sends none.
    pub(crate) fn etag(&self, etag: Option<&str>) {
        self.lock().etag = etag.map(str::to_owned);
    }

    /// Sets the size that redirects tell, whatever the file has.
    pub(crate) fn linked_size(&self, bytes: u64) {
        self.lock().linked_size = Some(bytes);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    /// The ranges of the requests for bytes, in order.
    pub(crate) fn ranges(&self) -> Vec<Option<String>> {
        self.seen().into_iter().filter(|s| s.path.starts_with("/files/")).map(|s| s.range).collect()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// A policy under which this hub can be reached.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            allow_private: true,
            extra_ca: Some(self.ca.path().to_owned()),
            hub: self.url("/").parse().unwrap(),
            ..Policy::default()
        }
    }

    pub(crate) fn sources(&self) -> Sources {
        Sources::new(self.policy()).unwrap()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn see(&self, path: &str, headers: &HeaderMap) -> Result<(), StatusCode> {
        let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let seen = Seen {
            path: path.to_owned(),
            range: text(header::RANGE),
            if_range: text(header::IF_RANGE),
            authorization: text(header::AUTHORIZATION),
        };
        let mut inner = self.lock();
        let admitted = inner.token.is_none() || inner.token == seen.authorization;
        inner.seen.push(seen);
        if admitted { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
    }

    fn file(&self, path: &str) -> Result<Bytes, StatusCode> {
        let inner = self.lock();
        let file = inner.files.iter().find(|(name, _)| name == path);
        file.map(|(_, bytes)| bytes.clone()).ok_or(StatusCode::NOT_FOUND)
    }
}

async fn revision(
    State(hub): State<Hub>,
    Path(revision): Path<String>,
    request: Request,
) -> Result<Response, StatusCode> {
    hub.see(request.uri().path(), request.headers())?;
    match revision.as_str() {
        "main" | COMMIT | "refs/pr/1" => {
            Ok(axum::Json(serde_json::json!({"id": "owner/repo", "sha": COMMIT})).into_response())
        }
        _ => Err(StatusCode::NOT_FOUND),
    }
}

/// Two entries a page, so that paging is met.
async fn tree(State(hub): State<Hub>, request: Request) -> Result<Response, StatusCode> {
    hub.see(request.uri().path(), request.headers())?;
    let page: usize = request
        .uri()
        .query()
        .and_then(|q| q.split('&').find_map(|p| p.strip_prefix("cursor=")))
        .map_or(0, |n| n.parse().unwrap());
    let inner = hub.lock();
    let entries: Vec<_> = inner
        .files
        .iter()
        .map(|(name, bytes)| {
            serde_json::json!({"type": "file", "oid": "00", "size": bytes.len(), "path": name,
                "lfs": {"oid": Digest::of(bytes).to_string(), "size": bytes.len(), "pointerSize": 134}})
        })
        .chain([serde_json::json!({"type": "directory", "oid": "00", "size": 0, "path": "folder"})])
        .collect();
    let mut headers = HeaderMap::new();
    if (page + 1) * 2 < entries.len() {
        let next = hub.url(&format!("{}?recursive=true&cursor={}", request.uri().path(), page + 1));
        headers.insert(header::LINK, format!("<{next}>; rel=\"next\"").parse().unwrap());
    }
    let entries: Vec<_> = entries.into_iter().skip(page * 2).take(2).collect();
    Ok((headers, axum::Json(entries)).into_response())
}

/// As the hub: a redirect whose headers describe the file.
async fn linked(
    State(hub): State<Hub>,
    Path((_, path)): Path<(String, String)>,
    request: Request,
) -> Result<Response, StatusCode> {
    hub.see(request.uri().path(), request.headers())?;
    let bytes = hub.file(&path)?;
    let headers = [
        ("x-repo-commit", COMMIT.to_owned()),
        ("x-linked-etag", format!("\"{}\"", Digest::of(&bytes))),
        ("x-linked-size", hub.lock().linked_size.unwrap_or(bytes.len() as u64).to_string()),
        ("location", format!("/files/{path}")),
    ];
    Ok((StatusCode::FOUND, headers, "").into_response())
}

async fn bytes(
    State(hub): State<Hub>,
    Path(path): Path<String>,
    request: Request,
) -> Result<Response, StatusCode> {
    hub.see(request.uri().path(), request.headers())?;
    let whole = hub.file(&path)?;
    let answer = hub.lock().answers.pop_front().unwrap_or(Answer::Normal);
    let etag = hub.lock().etag.clone();
    let ignore_range = matches!(answer, Answer::IgnoreRange);
    let (whole, cut) = match answer {
        Answer::Normal | Answer::IgnoreRange => (whole, None),
        Answer::CutAfter(n) => (whole, Some(n)),
        Answer::Wrong(bytes) => (bytes, None),
        Answer::Status(status) => return Err(status),
        Answer::Redirect(to) => return Ok((StatusCode::FOUND, [("location", to)], "").into_response()),
    };
    let text = |name| request.headers().get(name).and_then(|v| v.to_str().ok());
    let same = text(header::IF_RANGE).is_none_or(|tag| Some(tag) == etag.as_deref());
    let range = text(header::RANGE).filter(|_| same && !ignore_range);
    let mut headers = HeaderMap::new();
    if let Some(etag) = &etag {
        headers.insert(header::ETAG, etag.parse().unwrap());
    }
    let (status, body) = match range.and_then(|r| r.strip_prefix("bytes=")?.split_once('-')) {
        None => (StatusCode::OK, whole),
        Some((first, last)) => {
            let first: usize = first.parse().unwrap();
            if first >= whole.len() {
                return Err(StatusCode::RANGE_NOT_SATISFIABLE);
            }
            let end = last.parse().map_or(whole.len(), |n: usize| whole.len().min(n + 1));
            let range = format!("bytes {first}-{}/{}", end - 1, whole.len());
            headers.insert(header::CONTENT_RANGE, range.parse().unwrap());
            (StatusCode::PARTIAL_CONTENT, whole.slice(first..end))
        }
    };
    headers.insert(header::CONTENT_LENGTH, body.len().to_string().parse().unwrap());
    let body = match cut {
        Some(n) if n < body.len() => cut_body(body.slice(..n)),
        _ => Body::from(body),
    };
    Ok((status, headers, body).into_response())
}

/// Bytes, time for them to arrive, and the end of the connection.
fn cut_body(bytes: Bytes) -> Body {
    Body::from_stream(stream::unfold(Some(Ok(bytes)), |step| async move {
        match step? {
            Ok(bytes) => Some((Ok(bytes), Some(Err(())))),
            Err(()) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Some((Err(std::io::Error::other("cut")), None))
            }
        }
    }))
}
