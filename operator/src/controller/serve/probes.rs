//! `/healthz`, `/readyz` and `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hearth_tls::plain::{self, Limits, Protocol};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the probes tell.
#[derive(Clone)]
pub struct Probes {
    ready: Arc<AtomicBool>,
    registry: Arc<Registry>,
}

impl Probes {
    /// Not ready yet; tells the metrics of `registry`.
    pub fn new(registry: Registry) -> Self {
        Self { ready: Arc::default(), registry: Arc::new(registry) }
    }

    /// From now on the process can do its part, as leader or as stand-by.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    fn router(self) -> Router {
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

/// Serves the probes on `listener` until `stop`.
pub async fn serve_probes(probes: Probes, listener: TcpListener, stop: CancellationToken) {
    let limits = Limits::of_probes();
    plain::serve(listener, probes.router(), Protocol::Http, limits, stop.cancelled_owned()).await;
}

async fn readyz(State(probes): State<Probes>) -> impl IntoResponse {
    if probes.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the caches of the cluster are not filled yet\n")
    }
}

async fn metrics(State(probes): State<Probes>) -> impl IntoResponse {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &probes.registry) {
        Ok(()) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
