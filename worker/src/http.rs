//! The plain HTTP port: probes and metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::fleet::FleetHandle;
use crate::metrics::Metrics;

/// What the port tells of.
#[derive(Clone)]
pub struct Told {
    /// The state behind the gauges.
    pub fleet: FleetHandle,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// Cancelled when new requests are refused.
    pub refuse: CancellationToken,
}

/// `/healthz`, `/readyz`, `/metrics`.
pub fn router(told: Told) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(told)
}

/// Less than the kubelet waits.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// An engine that does not answer at once is left out.
const STATS_WITHIN: Duration = Duration::from_millis(500);

/// Whether the task that owns everything still answers.
async fn healthz(State(told): State<Told>) -> Response {
    match timeout(ANSWER_WITHIN, told.fleet.is_alive()).await {
        Ok(true) => "ok\n".into_response(),
        Ok(false) | Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "stuck\n").into_response(),
    }
}

async fn readyz(State(told): State<Told>) -> Response {
    if told.refuse.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    } else {
        "ok\n".into_response()
    }
}

async fn metrics(State(told): State<Told>) -> Response {
    let state = told.fleet.watch().borrow().clone();
    let engines = told.fleet.routes().stats(STATS_WITHIN).await;
    match told.metrics.render(&state, engines) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
