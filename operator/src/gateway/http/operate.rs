//! What Kubernetes and Prometheus ask.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header::CONTENT_TYPE};

use crate::gateway::forward::Forwarder;

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: requests can be served, or what is missing for that.
pub(super) async fn readyz(forwarder: State<Arc<Forwarder>>) -> Response {
    match forwarder.lifecycle.state().missing() {
        None => "ok\n".into_response(),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")).into_response(),
    }
}

/// `GET /metrics`
pub(super) async fn metrics(forwarder: State<Arc<Forwarder>>) -> Response {
    match forwarder.metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
