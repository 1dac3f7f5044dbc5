//! The worker's gRPC port.

mod answer;
mod deadline;
mod inference;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use hearth_proto::inference::v1::inference_service_server::InferenceServiceServer;
use hearth_proto::worker::v1::worker_service_server::WorkerServiceServer;
use hearth_proto::{FILE_DESCRIPTOR_SET, FORWARDED_MESSAGE, unreadable};
use hearth_tls::{Guard, Role};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http::Response;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic_health::server::HealthReporter;
use tonic_health::{ServingStatus, pb as health};
use tower::layer::util::{Identity, Stack};
use tower::util::MapResponseLayer;

use crate::fleet::FleetHandle;
use crate::fleet::route::InFlight;
use crate::metrics::Metrics;

/// A message that a client may send: whatever a gateway sends.
pub const MESSAGE_LIMIT: usize = FORWARDED_MESSAGE;
/// Dead peers are noticed, and what they asked for is cancelled, this soon
/// after their last sign.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Who may call what.
#[derive(Clone, Copy, Debug)]
pub enum Access {
    /// By the role in the client's certificate.
    ByRole,
    /// Anybody everything: no TLS, on a person's own machine and in tests.
    Open,
}

impl Access {
    fn guard(self, roles: &'static [Role]) -> Guard {
        match self {
            Self::ByRole => Guard::roles(roles),
            Self::Open => Guard::open(),
        }
    }
}

/// All services, behind what makes answers clear that tonic gives by itself.
pub type Port = Router<Stack<MapResponseLayer<fn(Response<Body>) -> Response<Body>>, Identity>>;

fn clarify(response: Response<Body>) -> Response<Body> {
    unreadable::clarify(response, MESSAGE_LIMIT)
}

/// Ends what would otherwise keep a server from ending.
#[derive(Clone, Debug, Default)]
pub struct Closing {
    /// New requests are refused.
    pub refuse: CancellationToken,
    /// Streams end, whatever they still have to say.
    pub cut: CancellationToken,
}

/// Everything on the port, and the reporter that says whether it serves.
/// `in_flight` counts the generations that run.
///
/// # Errors
/// Never in practice: only descriptors that cannot be decoded would be one.
pub async fn router(
    fleet: FleetHandle,
    metrics: Arc<Metrics>,
    access: Access,
    closing: Closing,
    in_flight: InFlight,
) -> Result<(Port, Health), tonic_reflection::server::Error> {
    let worker = WorkerServiceServer::new(worker::WorkerApi::new(fleet.clone(), closing.clone()))
        .max_decoding_message_size(MESSAGE_LIMIT);
    let inference =
        InferenceServiceServer::new(inference::InferenceApi::new(fleet, metrics, closing, in_flight))
            .max_decoding_message_size(MESSAGE_LIMIT);
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let descriptors = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(health::FILE_DESCRIPTOR_SET)
    };
    let health = Health { reporter };
    health.set(ServingStatus::Serving).await;

    let controller = access.guard(&[Role::Controller]);
    let clients = access.guard(&[Role::Controller, Role::Gateway]);
    let layer = MapResponseLayer::new(clarify as fn(_) -> _);
    let router = Server::builder()
        .layer(layer)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(InterceptedService::new(worker, controller))
        .add_service(InterceptedService::new(inference, clients))
        .add_service(InterceptedService::new(health_service, clients))
        .add_service(InterceptedService::new(descriptors().build_v1()?, clients))
        .add_service(InterceptedService::new(descriptors().build_v1alpha()?, clients));
    Ok((router, health))
}

/// What `grpc.health.v1` says.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
}

impl Health {
    /// Sets the answer for the server and for each of its services.
    pub async fn set(&self, status: ServingStatus) {
        let names = ["", "hearth.worker.v1.WorkerService", "hearth.inference.v1.InferenceService"];
        for name in names {
            self.reporter.set_service_status(name, status).await;
        }
    }
}
