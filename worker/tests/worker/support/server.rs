//! A server of model files that can misbehave.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::{StreamExt, stream};

/// Serves one file at `/model.gguf`, with ranges and an ETag.
pub(crate) struct FileServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    bytes: Vec<u8>,
    /// Bytes of an answer after which the connection is cut; 0 never cuts.
    cut_after: AtomicU64,
    /// Says nothing more instead of cutting.
    stall: AtomicBool,
    requests: AtomicUsize,
    ranges: Mutex<Vec<String>>,
    /// What `Authorization` must say.
    token: Mutex<Option<String>>,
}

impl FileServer {
    pub(crate) async fn start(bytes: Vec<u8>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { bytes, ..Shared::default() });
        let router = Router::new().route("/model.gguf", get(serve)).with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/model.gguf", self.address)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.shared.bytes
    }

    /// Cuts each answer short from now on; 0 ends that.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.shared.cut_after.store(bytes, Ordering::SeqCst);
    }

    /// As [`FileServer::cut_after`], but the connection stays, and says nothing.
    pub(crate) fn stall_after(&self, bytes: u64) {
        self.shared.stall.store(true, Ordering::SeqCst);
        self.cut_after(bytes);
    }

    pub(crate) fn require_token(&self, token: &str) {
        *self.shared.token.lock().unwrap() = Some(format!("Bearer {token}"));
    }

    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// The ranges that were asked for.
    pub(crate) fn ranges(&self) -> Vec<String> {
        self.shared.ranges.lock().unwrap().clone()
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    shared.requests.fetch_add(1, Ordering::SeqCst);
    if let Some(token) = &*shared.token.lock().unwrap()
        && headers.get(header::AUTHORIZATION).is_none_or(|given| given != token)
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let total = shared.bytes.len();
    let range = headers.get(header::RANGE).and_then(|r| r.to_str().ok());
    let from: usize =
        range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()).unwrap_or(0);
    if let Some(range) = range {
        shared.ranges.lock().unwrap().push(range.to_owned());
    }
    let body = shared.bytes[from.min(total)..].to_vec();
    let length = body.len();
    let cut = usize::try_from(shared.cut_after.load(Ordering::SeqCst)).unwrap();
    let body = if cut > 0 && cut < length {
        let part = Bytes::from(body[..cut].to_vec());
        let rest = if shared.stall.load(Ordering::SeqCst) {
            stream::pending().boxed()
        } else {
            // The part is on its way before the cut is.
            stream::once(async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(std::io::Error::other("cut"))
            })
            .boxed()
        };
        Body::from_stream(stream::iter([Ok(part)]).chain(rest))
    } else {
        Body::from(body)
    };
    let mut response = Response::new(body);
    let set = |response: &mut Response, name, value: String| {
        response.headers_mut().insert(name, HeaderValue::from_str(&value).unwrap());
    };
    set(&mut response, header::CONTENT_LENGTH, length.to_string());
    set(&mut response, header::ETAG, "\"1\"".to_owned());
    set(&mut response, header::ACCEPT_RANGES, "bytes".to_owned());
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let last = total.saturating_sub(1);
        set(&mut response, header::CONTENT_RANGE, format!("bytes {from}-{last}/{total}"));
    }
    response
}
