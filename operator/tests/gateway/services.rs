//! Health, reflection, probes.

use hearth_operator::gateway::routes::index::{Change, Update};
use tokio_stream::StreamExt as _;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

use crate::harness::{Harness, args, soon, text};

const SERVICE: &str = "hearth.inference.v1.InferenceService";

#[tokio::test]
async fn health_and_readiness_follow_what_is_there() {
    let harness = Harness::start_bare(args()).await;
    let mut client = HealthClient::new(harness.channel());
    let request = |service: &str| HealthCheckRequest { service: service.into() };
    let mut watch = client.watch(request(SERVICE)).await.unwrap().into_inner();
    let mut status = async || soon(watch.message()).await.unwrap().unwrap().status();
    assert_eq!(status().await, ServingStatus::NotServing);
    let response = harness.get("/readyz").await;
    assert_eq!(response.status(), 503);
    assert_eq!(text(response).await, "the models of the cluster have not been read yet\n");
    assert_eq!(harness.get("/healthz").await.status(), 200);

    harness.update(Update::Models(Change::Replace(vec![]))).await;
    harness.update(Update::Workers(Change::Replace(vec![]))).await;
    harness.give_credentials();
    harness.until_ready().await;
    assert_eq!(status().await, ServingStatus::Serving);
    assert_eq!(harness.get("/readyz").await.status(), 200);
    for service in ["", SERVICE] {
        let response = client.check(request(service)).await.unwrap().into_inner();
        assert_eq!(response.status(), ServingStatus::Serving);
    }
    let unknown = client.check(request("no.such.Service")).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
}

macro_rules! reflection_test {
    ($name:ident, $version:ident) => {
        #[tokio::test]
        async fn $name() {
            use $version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
            };
            let harness = Harness::start().await;
            let ask = |message: MessageRequest| ServerReflectionRequest {
                host: String::new(),
                message_request: Some(message),
            };
            let questions = tokio_stream::iter([
                ask(MessageRequest::ListServices(String::new())),
                ask(MessageRequest::FileContainingSymbol(SERVICE.into())),
            ]);
            let mut client = ServerReflectionClient::new(harness.channel());
            let mut answers = client.server_reflection_info(questions).await.unwrap().into_inner();
            let mut next = async || soon(answers.next()).await.unwrap().unwrap().message_response.unwrap();
            let MessageResponse::ListServicesResponse(services) = next().await else { panic!() };
            let names: Vec<_> = services.service.iter().map(|service| service.name.as_str()).collect();
            for name in [SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"] {
                assert!(names.contains(&name), "{name} is not in {names:?}");
            }
            assert!(!names.iter().any(|name| name.starts_with("hearth.control")), "{names:?}");
            let MessageResponse::FileDescriptorResponse(file) = next().await else { panic!() };
            assert!(!file.file_descriptor_proto.is_empty());
        }
    };
}

reflection_test!(reflection_v1, v1);
reflection_test!(reflection_v1alpha, v1alpha);
