//! The HTTP side: the OpenAI API, probes and metrics on one plaintext port.

mod body;
mod calls;
mod choices;
pub mod error;
mod logprobs;
mod openai;
mod operate;
pub mod parse;
mod request_id;
mod shape;
mod stream;

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{get, post},
};
use hearth_tls::plain::{self, Limits, Protocol};
use tokio::net::TcpListener;

use super::forward::Forwarder;

/// The largest body that a client may send, in bytes: what gRPC takes too.
pub const MAX_BODY: usize = super::grpc::MAX_MESSAGE;

/// All routes.
pub fn router(forwarder: Arc<Forwarder>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(openai::chat))
        .route("/v1/completions", post(openai::completion))
        .route("/v1/models", get(openai::models))
        // A served name may hold slashes.
        .route("/v1/models/{*id}", get(openai::model))
        .route("/healthz", get(operate::healthz))
        .route("/readyz", get(operate::readyz))
        .route("/metrics", get(operate::metrics))
        .fallback(openai::not_found)
        .method_not_allowed_fallback(openai::wrong_method)
        .layer(middleware::from_fn(request_id::attach))
        .with_state(forwarder)
}

/// Serves until `shutdown` completes and the last response has ended.
pub async fn serve(listener: TcpListener, forwarder: Arc<Forwarder>, shutdown: impl Future<Output = ()>) {
    plain::serve(listener, router(forwarder), Protocol::Http, Limits::default(), shutdown).await;
}
