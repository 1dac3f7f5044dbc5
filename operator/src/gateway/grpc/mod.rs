//! The gRPC side: `hearth.inference.v1`, health and reflection on one plaintext HTTP/2 port.

mod health;
mod inference;
mod intake;
mod weight;

use std::sync::Arc;

use axum::middleware::from_fn_with_state;
use hearth_proto::inference::v1::inference_service_server::{InferenceServiceServer, SERVICE_NAME};
use hearth_proto::unreadable;
use hearth_tls::plain::{self, Limits, Protocol};
use tokio::{net::TcpListener, select};
use tonic::service::Routes;
use tower::util::MapResponseLayer;

use self::inference::Inference;
use super::forward::Forwarder;

/// The largest message that a client may send, in bytes.
pub const MAX_MESSAGE: usize = hearth_proto::CLIENT_MESSAGE;

/// Serves until `shutdown` completes and the last call has ended.
///
/// Not with tonic's server: that one ends a call whose `grpc-timeout` is over with `CANCELLED`,
/// and the specification says `DEADLINE_EXCEEDED`. Here deadlines are the handlers' business.
///
/// # Errors
/// When the descriptors that reflection shows are damaged.
pub async fn serve(
    listener: TcpListener,
    forwarder: Arc<Forwarder>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic_reflection::server::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let follow = health::follow(forwarder.lifecycle.clone(), reporter);
    let inference =
        InferenceServiceServer::new(Inference::new(forwarder.clone())).max_decoding_message_size(MAX_MESSAGE);
    let router = Routes::new(inference)
        .add_service(health)
        .add_service(reflection().build_v1()?.max_decoding_message_size(intake::SMALL))
        .add_service(reflection().build_v1alpha()?.max_decoding_message_size(intake::SMALL))
        .into_axum_router()
        .layer(from_fn_with_state(forwarder, intake::take))
        .layer(MapResponseLayer::new(|response| unreadable::clarify(response, MAX_MESSAGE)));
    select! {
        () = plain::serve(listener, router, Protocol::Grpc, Limits::default(), shutdown) => Ok(()),
        never = follow => match never {},
    }
}

/// What clients may see: not the services between Hearth's own processes.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(hearth_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(SERVICE_NAME)
        .with_service_name("grpc.health.v1.Health")
        .with_service_name("grpc.reflection.v1.ServerReflection")
        .with_service_name("grpc.reflection.v1alpha.ServerReflection")
}
